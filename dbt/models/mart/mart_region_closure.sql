-- one row per region or grid and each of its ancestors, itself included; without micro-grids, as nothing in the marts is counted by them
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'ancestor_code']) }}
select
    region_system,
    ancestor_code,
    ancestor_level,
    region_code,
    region_level,
    distance
from {{ ref('region_closure') }}
where region_level <= 6
