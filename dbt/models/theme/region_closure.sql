-- one row per region, grid or micro-grid and each of its ancestors, itself included
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'ancestor_code']) }}
select
    region_system,
    ancestor_code,
    ancestor_level,
    region_code,
    region_level,
    distance
from {{ source('resolved', 'region_closure') }}
