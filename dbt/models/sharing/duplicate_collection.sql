-- one row per two columns of two feeds that ask the same of the same subjects
-- The contracts say so (name, title and code list alike), or half of what was told to both is alike. Told of fewer than five subjects is no evidence.
{{ config(materialized='incremental', unique_key=['feed', 'column_name', 'other_feed', 'other_column_name', 'subject_key']) }}
with told as (
    {{ told_twice() }}
)

select
    feed,
    column_name,
    other_feed,
    other_column_name,
    subject_key,
    feed_title,
    column_title,
    other_feed_title,
    other_column_title,
    is_same_by_contract,
    alike_count * 2 >= told_count as is_same_by_data,
    told_count,
    alike_count,
    cast(100 as double) * cast(alike_count as double) / cast(told_count as double) as alike_pct,
    concat(
        '“', feed_title, '”的“', column_title, '”与“', other_feed_title, '”的“', other_column_title, '”重复采集：',
        cast(told_count as string), ' 个对象在两处都已填报，其中 ', cast(alike_count as string), ' 个内容相同（',
        cast(cast(floor(cast(100 as double) * cast(alike_count as double) / cast(told_count as double)) as bigint) as string), '%）'
    ) as finding_zh
from told
where told_count >= 5 and (is_same_by_contract or alike_count * 2 >= told_count)
