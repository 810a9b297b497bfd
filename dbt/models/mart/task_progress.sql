-- one row per task and lowest region of its objects; a task has one day of issue and one type
{{ config(materialized='incremental', unique_key=['task_id', 'region_system', 'region_code']) }}
with answered as (
    select
        object_id,
        max(case when is_abnormal then 1 else 0 end) as is_abnormal,
        count(raised_event_id) as raised_event_count
    from {{ ref('task_result') }}
    group by object_id
),

placed as (
    {{ at_lowest_region(ref('task_object')) }}
),

object as (
    select
        placed.*,
        answered.is_abnormal,
        answered.raised_event_count
    from answered
    right outer join placed on answered.object_id = placed.object_id
)

select
    object.task_id,
    object.region_system,
    object.lowest_region_code as region_code,
    max({{ local_date('task.issued_at', 'task.region_system') }}) as issued_date,
    max(task.type_code) as type_code,
    count(*) as object_count,
    count(case when object.state_code = 'done' then 1 end) as done_count,
    count(case when object.state_code = 'missed' then 1 end) as missed_count,
    count(case when object.state_code = 'returned' then 1 end) as returned_count,
    count(case when object.state_code = 'cancelled' then 1 end) as cancelled_count,
    count(case when object.is_overdue then 1 end) as overdue_count,
    coalesce(sum(object.is_abnormal), cast(0 as bigint)) as abnormal_count,
    coalesce(sum(object.raised_event_count), cast(0 as bigint)) as raised_event_count,
    coalesce(sum(object.handling_minutes), cast(0 as bigint)) as handling_minutes_sum,
    count(object.handling_minutes) as handling_count,
    coalesce(sum(object.working_handling_minutes), cast(0 as bigint)) as working_handling_minutes_sum,
    count(object.working_handling_minutes) as working_handling_count
from {{ ref('task') }} as task
right outer join object on task.task_id = object.task_id
group by object.task_id, object.region_system, object.lowest_region_code
