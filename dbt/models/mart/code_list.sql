-- one row per list and code: the labels that readers see
{{ config(materialized='incremental', unique_key=['list_name', 'code']) }}
select list_name, code, name_zh, name_en
from (
    select
        list_name,
        code,
        name_zh,
        name_en,
        row_number() over (
            partition by list_name, code
            order by get_json_object(attributes, '$.valid_to') is null desc, get_json_object(attributes, '$.valid_from') desc, name_zh
        ) as version_rank
    from {{ source('reference', 'code_list') }}
) as version
where version_rank = 1
