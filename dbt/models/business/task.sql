-- one row per current task
{{ config(
    materialized='incremental', unique_key='task_id', meta={'compared': ['_source_position', 'object_count', 'done_count', 'is_finished', 'is_overdue']}
) }}
with progress as (
    select task_id, count(*) as object_count, sum(case when state_code = 'done' then 1 else 0 end) as done_count
    from {{ ref('task_object') }}
    group by task_id
)

select
    task.task_id,
    task.local_id,
    task._sender_code as sender_code,
    task.feed,
    task.region_system,
    task.task_name,
    task.type_code,
    task.region_code,
    task.issuer_organisation,
    task.period_code,
    task.target_count,
    task.description,
    task.issued_at,
    task.deadline_at,
    task.finished_at,
    task.state_code,
    task.origin_type,
    case task.origin_type when 'finding' then task.origin_id else concat(task._sender_code, '-', task.origin_id) end as origin_id,
    task.correlation_id,
    coalesce(progress.object_count, cast(0 as bigint)) as object_count,
    coalesce(progress.done_count, cast(0 as bigint)) as done_count,
    final_state.code is not null as is_finished,
    coalesce(task.finished_at, {{ as_of() }}) > task.deadline_at as is_overdue,
    task.changed_at,
    task.business_date,
    {{ prefixed('task', audit_columns()) }}
from {{ ref('stg_task') }} as task
left join progress on task.task_id = progress.task_id
left join {{ codes_marked('task_state', 'is_final') }} as final_state on task.state_code = final_state.code
