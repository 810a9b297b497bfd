-- one row per region and neighbour of the same level; each pair both ways
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'neighbour_code']) }}
with pair as (
    select
        get_json_object(attributes, '$.region_code') as region_code,
        get_json_object(attributes, '$.neighbour_code') as neighbour_code,
        cast(get_json_object(attributes, '$.region_level') as bigint) as region_level
    from {{ source('reference', 'code_list') }}
    where list_name = 'region_neighbour'
)

select 'cn' as region_system, region_code, neighbour_code, region_level
from pair
union all
select 'cn' as region_system, neighbour_code as region_code, region_code as neighbour_code, region_level
from pair
