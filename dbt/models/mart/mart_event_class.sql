-- one row per event class, in the version that holds today (the newest, where none does)
{{ config(materialized='incremental', unique_key='class_code') }}
with version as (
    select
        *,
        row_number() over (
            partition by class_code
            order by
                valid_from <= {{ last_day("'cn'") }} and coalesce(valid_to > {{ last_day("'cn'") }}, true) desc,
                valid_from desc
        ) as version_rank
    from {{ ref('event_class') }}
)

select
    class.class_code,
    class.class_name,
    class.parent_code,
    parent.class_name as parent_name
from version as class
left join version as parent on class.parent_code = parent.class_code and parent.version_rank = 1
where class.version_rank = 1
