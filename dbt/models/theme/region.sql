-- one row per region, province to village
{{ config(materialized='incremental', unique_key=['region_system', 'region_code']) }}
select
    region_system,
    region_code,
    region_name,
    region_level,
    parent_code,
    valid_from,
    valid_to,
    replaces_codes
from {{ source('resolved', 'region') }}
