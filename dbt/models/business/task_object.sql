-- one row per current object of a task
{{ config(materialized='incremental', unique_key='object_id', meta={'compared': ['_source_position', 'working_handling_minutes', 'is_overdue']}) }}
with {{ clocked(ref('stg_task_object'), 'assigned_at', 'finished_at') }}

select
    object_id,
    local_id,
    _sender_code as sender_code,
    feed,
    region_system,
    -- A task's number is unique at the platform that issued it, which is not the object's sender.
    concat(task_sender_code, '-', task_id) as task_id,
    subject_type,
    case subject_type when 'enterprise' then subject_id else concat(_sender_code, '-', subject_id) end as subject_id,
    region_code,
    grid_id,
    member_id,
    assigned_at,
    deadline_at,
    finished_at,
    state_code,
    correlation_id,
    {{ minutes_between('assigned_at', 'finished_at') }} as handling_minutes,
    working_minutes as working_handling_minutes,
    coalesce(state_code <> 'cancelled' and coalesce(finished_at, {{ as_of() }}) > deadline_at, false) as is_overdue,
    changed_at,
    business_date,
    {{ audit_columns() | join(', ') }}
from clocked
