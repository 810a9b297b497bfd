-- one row per region, province to grid
{{ config(materialized='incremental', unique_key=['region_system', 'region_code']) }}
select region_system, region_code, region_name, region_level, parent_code
from {{ ref('region') }}
union all
select region_system, grid_id as region_code, grid_name as region_name, cast(6 as bigint) as region_level, region_code as parent_code
from {{ ref('grid') }}
