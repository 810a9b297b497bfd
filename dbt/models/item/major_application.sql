-- one row per major application: who is responsible for it, and what is counted as its business
{{ config(materialized='incremental', unique_key='application_code') }}
select
    code as application_code,
    name_zh as application_name,
    name_en as application_name_en,
    get_json_object(attributes, '$.responsible_department') as responsible_department,
    get_json_object(attributes, '$.connection_mode') as connection_mode,
    get_json_object(attributes, '$.business_name') as business_name
from {{ source('reference', 'code_list') }}
where list_name = 'major_application'
