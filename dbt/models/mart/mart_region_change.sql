-- one row per region and region that it replaced, in whole or in part
{{ config(materialized='incremental', unique_key=['region_system', 'old_code', 'new_code']) }}
select
    region_system,
    old_code,
    old_name,
    new_code,
    new_name,
    region_level,
    changed_on,
    change_code,
    village_count,
    grid_count,
    resident_count,
    village_share,
    resident_share
from {{ ref('region_change') }}
