-- one row per current micro-grid, below its grid
{{ config(materialized='incremental', unique_key='micro_grid_id', meta={'compared': ['_source_position', 'micro_grid_code']}) }}
select
    micro_grid.micro_grid_id,
    micro_grid.local_id,
    micro_grid._sender_code as sender_code,
    micro_grid.feed,
    micro_grid.region_system,
    micro_grid.region_code,
    micro_grid.grid_id,
    code.micro_grid_code,
    micro_grid.micro_grid_name,
    micro_grid.household_count,
    micro_grid.resident_count,
    micro_grid.established_date,
    micro_grid.longitude,
    micro_grid.longitude_original,
    micro_grid.latitude,
    micro_grid.latitude_original,
    micro_grid.leader_name_sealed,
    micro_grid.leader_name_token,
    micro_grid.leader_phone_sealed,
    micro_grid.leader_phone_token,
    micro_grid.changed_at,
    micro_grid.business_date,
    {{ prefixed('micro_grid', audit_columns()) }}
from {{ ref('stg_micro_grid') }} as micro_grid
left join {{ source('resolved', 'micro_grid_code') }} as code on micro_grid.micro_grid_id = code.micro_grid_id
