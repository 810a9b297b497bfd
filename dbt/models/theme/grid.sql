-- one row per current grid
{{ config(materialized='incremental', unique_key='grid_id') }}
select
    grid.grid_id,
    grid.local_id,
    grid._sender_code as sender_code,
    grid.feed,
    grid.region_system,
    grid.region_code,
    code.grid_code,
    grid.grid_name,
    grid.grid_type_code,
    grid.household_count,
    grid.resident_count,
    grid.longitude,
    grid.latitude,
    grid.longitude_original,
    grid.latitude_original,
    grid.boundary as boundary_original,
    grid.established_date,
    grid.changed_at,
    {{ prefixed('grid', audit_columns()) }}
from {{ ref('stg_grid') }} as grid
left join {{ source('resolved', 'grid_code') }} as code on grid.grid_id = code.grid_id
