-- one row per indicator of the pilot assessment: its dimension, full score and who answers for it
{{ config(materialized='incremental', unique_key='indicator_code') }}
select
    code as indicator_code,
    name_zh as indicator_name,
    name_en as indicator_name_en,
    get_json_object(attributes, '$.dimension_code') as dimension_code,
    cast(get_json_object(attributes, '$.full_score') as double) as full_score,
    get_json_object(attributes, '$.responsible_department') as responsible_department
from {{ source('reference', 'code_list') }}
where list_name = 'pilot_indicator'
