-- one row per current result of a task's object
{{ config(materialized='incremental', unique_key='result_id', meta={'compared': ['_source_position']}) }}
select
    result_id,
    local_id,
    object_id,
    _sender_code as sender_code,
    feed,
    region_system,
    region_code,
    member_id,
    happened_at,
    reported_at,
    longitude,
    latitude,
    result_code,
    is_abnormal,
    raised_event_id,
    note,
    correlation_id,
    changed_at,
    business_date,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_task_result') }}
