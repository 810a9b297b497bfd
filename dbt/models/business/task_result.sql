-- one row per current result of a task's object
{{ config(
    materialized='incremental', unique_key='result_id', partition_by='business_month', meta={'compared': ['_source_position'], 'looked_up': []}
) }}
{% set months = moved_months('task_result') if follows() %}
{{ gives(months) if follows() }}
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
    business_month,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_task_result') }}
where {{ in_months(months) }}
