-- one row per functional zone and region that it covers, whole or in part
{{ config(materialized='incremental', unique_key=['zone_code', 'region_code']) }}
with zone as (
    select
        code as zone_code,
        name_zh as zone_name,
        get_json_object(attributes, '$.zone_type') as zone_type,
        cast(get_json_object(attributes, '$.valid_from') as date) as valid_from,
        get_json_object(attributes, '$.whole_codes') as whole_codes,
        get_json_object(attributes, '$.part_codes') as part_codes
    from {{ source('reference', 'code_list') }}
    where list_name = 'functional_zone'
),

-- multiplies rows: a zone by its regions
covered as (
    select *, explode(split(whole_codes, ' ')) as region_code, true as is_whole
    from zone
    where whole_codes is not null
    union all
    select *, explode(split(part_codes, ' ')) as region_code, false as is_whole
    from zone
    where part_codes is not null
)

select zone_code, zone_name, zone_type, 'cn' as region_system, region_code, is_whole, valid_from
from covered
