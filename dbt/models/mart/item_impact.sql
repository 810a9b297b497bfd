-- one row per version of an item and version that came in its place: what of it is open, what came in the last 90 days, how its time limit changed
{{ config(materialized='incremental', unique_key=['old_item_code', 'old_item_version', 'new_item_code', 'new_item_version']) }}
with dated as (
    -- Items are the province's.
    select *, business_date > date_sub({{ last_day("'cn'") }}, 90) as is_recent
    from {{ ref('item_daily') }}
    where item_code is not null
),

counted as (
    select
        item_code,
        item_version,
        sum(case when subject_type = 'event' then open_count else 0 end) as open_event_count,
        sum(case when subject_type = 'task' then open_count else 0 end) as open_task_count,
        sum(case when subject_type = 'dispute' then open_count else 0 end) as open_dispute_count,
        sum(case when is_recent and subject_type = 'event' then subject_count else 0 end) as recent_event_count,
        sum(case when is_recent and subject_type = 'task' then subject_count else 0 end) as recent_task_count,
        sum(case when is_recent and subject_type = 'dispute' then subject_count else 0 end) as recent_dispute_count
    from dated
    group by item_code, item_version
)

select
    mapping.old_item_code,
    mapping.old_item_version,
    mapping.old_item_name,
    mapping.new_item_code,
    mapping.new_item_version,
    mapping.new_item_name,
    mapping.changed_on,
    mapping.change_code,
    mapping.is_renamed,
    mapping.old_limit_hours,
    mapping.new_limit_hours,
    mapping.old_limit_kind_code,
    mapping.new_limit_kind_code,
    mapping.limit_hours_change,
    mapping.old_responsible_role,
    mapping.new_responsible_role,
    coalesce(counted.open_event_count, cast(0 as bigint)) as open_event_count,
    coalesce(counted.open_task_count, cast(0 as bigint)) as open_task_count,
    coalesce(counted.open_dispute_count, cast(0 as bigint)) as open_dispute_count,
    coalesce(counted.recent_event_count, cast(0 as bigint)) as recent_event_count,
    coalesce(counted.recent_task_count, cast(0 as bigint)) as recent_task_count,
    coalesce(counted.recent_dispute_count, cast(0 as bigint)) as recent_dispute_count
from {{ ref('item_mapping') }} as mapping
left join counted on mapping.old_item_code = counted.item_code and mapping.old_item_version = counted.item_version
