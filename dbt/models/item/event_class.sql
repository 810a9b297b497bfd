-- one row per event class and version of it
{{ config(materialized='incremental', unique_key=['class_code', 'valid_from']) }}
select
    code as class_code,
    name_zh as class_name,
    name_en as class_name_en,
    get_json_object(attributes, '$.parent_code') as parent_code,
    coalesce(cast(get_json_object(attributes, '$.valid_from') as date), date '1900-01-01') as valid_from,
    cast(get_json_object(attributes, '$.valid_to') as date) as valid_to,
    cast(get_json_object(attributes, '$.limit_hours') as bigint) as limit_hours,
    get_json_object(attributes, '$.responsible_role') as responsible_role
from {{ source('reference', 'code_list') }}
where list_name = 'event_class'
