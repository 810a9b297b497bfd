-- one row per event level
{{ config(materialized='incremental', unique_key='level_code') }}
select
    code as level_code,
    name_zh as level_name,
    name_en as level_name_en
from {{ source('reference', 'code_list') }}
where list_name = 'event_level'
