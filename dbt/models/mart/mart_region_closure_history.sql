-- one row per region or grid that has ever been, level, and span of days: what stood above it, or in its place, at that level in that span
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'ancestor_level', 'valid_from']) }}
select
    region_system,
    region_code,
    ancestor_code,
    ancestor_level,
    valid_from,
    valid_to
from {{ ref('region_closure_history') }}
