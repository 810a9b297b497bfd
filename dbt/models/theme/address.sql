-- one row per current standard address; nobody is tied to it here
{{ config(materialized='incremental', unique_key='address_id', meta={'compared': ['_source_position', 'grid_id']}) }}
select
    address.address_id,
    address.local_id,
    address._sender_code as sender_code,
    address.feed,
    address.region_system,
    address.region_code,
    grid.grid_id,
    address.grid_code,
    address.address_code,
    address.address_type_code,
    address.road_name,
    address.road_number,
    address.compound_name,
    address.hamlet_name,
    address.group_number,
    address.building_number,
    address.unit_number,
    address.room_number,
    address.address_text,
    address.status_code,
    address.longitude,
    address.longitude_original,
    address.latitude,
    address.latitude_original,
    address.changed_at,
    address.business_date,
    {{ prefixed('address', audit_columns()) }}
from {{ ref('stg_address') }} as address
left join {{ ref('grid') }} as grid on address.grid_code = grid.grid_code
