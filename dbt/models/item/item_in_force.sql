-- one row per kind of matter, class or type of it, and span of days in which one version of an item held for it
-- Of several items of one class the first stands for it; of its versions the newest that has begun.
{{ config(materialized='incremental', unique_key=['subject_type', 'subject_code', 'valid_from']) }}
with named as (
    select 'event' as subject_type, class_code as subject_code, item_code, item_version, valid_from, valid_to
    from {{ ref('item') }}
    where class_code is not null
    union all
    select 'dispute' as subject_type, dispute_type_code as subject_code, item_code, item_version, valid_from, valid_to
    from {{ ref('item') }}
    where dispute_type_code is not null
    union all
    select 'task' as subject_type, task_type_code as subject_code, item_code, item_version, valid_from, valid_to
    from {{ ref('item') }}
    where task_type_code is not null
),

-- Where a class went from one item to another, each stands in its time.
begun as (
    select
        *,
        row_number() over (partition by subject_type, subject_code, valid_from order by item_code asc, item_version desc) as rank_of_day
    from named
    where valid_to is null or valid_to > valid_from
),

followed as (
    select *, lead(valid_from) over (partition by subject_type, subject_code order by valid_from) as followed_on
    from begun
    where rank_of_day = 1
)

select
    subject_type,
    subject_code,
    item_code,
    item_version,
    valid_from,
    case when valid_to is null or followed_on < valid_to then followed_on else valid_to end as valid_to
from followed
