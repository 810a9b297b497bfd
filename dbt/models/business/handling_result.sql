-- one row per current handling result
{{ config(
    materialized='incremental', unique_key='result_id', partition_by='business_month', meta={'compared': ['_source_position', 'handling_minutes'], 'looked_up': []}
) }}
{% set months = moved_months('handling_result') if follows() %}
{{ gives(months) if follows() }}
select
    result_id,
    local_id,
    _sender_code as sender_code,
    feed,
    region_system,
    region_code,
    grid_id,
    origin_type,
    origin_id,
    correlation_id,
    outcome_code,
    measures,
    organisation_name,
    dispatched_at,
    deadline_at,
    handled_at,
    reported_at,
    evidence_digest,
    changed_at,
    business_date,
    business_month,
    {{ minutes_between('dispatched_at', 'handled_at') }} as handling_minutes,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_handling_result') }}
where {{ in_months(months) }}
