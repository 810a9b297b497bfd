-- one row per current house; owner and address as ciphertext and join token only
{{ config(materialized='incremental', unique_key='house_id', meta={'compared': ['_source_position', 'grid_id']}) }}
select
    house.house_id,
    house.local_id,
    house._sender_code as sender_code,
    house.feed,
    house.region_system,
    house.region_code,
    grid.grid_id,
    house.grid_code,
    house.address_code,
    house.house_use_code,
    house.is_rented,
    house.area_m2,
    house.room_count,
    house.occupant_count,
    house.house_address_sealed,
    house.house_address_token,
    house.owner_name_sealed,
    house.owner_name_token,
    house.owner_phone_sealed,
    house.owner_phone_token,
    house.changed_at,
    house.business_date,
    {{ prefixed('house', audit_columns()) }}
from {{ ref('stg_house') }} as house
left join {{ ref('grid') }} as grid on house.grid_code = grid.grid_code
