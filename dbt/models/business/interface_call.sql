-- one row per call between two systems, repeated attempts each their own
{{ config(
    materialized='incremental', unique_key='call_id', partition_by='business_month', meta={'compared': ['_source_position'], 'looked_up': []}
) }}
{% set months = moved_months('interface_call') if follows() %}
{{ gives(months) if follows() }}
select
    call_id,
    local_id,
    _sender_code as sender_code,
    feed,
    region_system,
    region_code,
    request_id,
    attempt_no,
    interface_code,
    caller_system,
    callee_system,
    correlation_type,
    correlation_id,
    called_at,
    duration_ms,
    status_code,
    http_status,
    error_class,
    request_bytes,
    response_bytes,
    changed_at,
    business_date,
    business_month,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_interface_call') }}
where {{ in_months(months) }}
