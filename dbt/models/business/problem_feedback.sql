-- one row per current feedback on a finding
{{ config(
    materialized='incremental', unique_key='feedback_id', partition_by='business_month', meta={'compared': ['_source_position'], 'looked_up': []}
) }}
{% set months = moved_months('problem_feedback') if follows() %}
{{ gives(months) if follows() }}
select
    feedback_id,
    local_id,
    _sender_code as sender_code,
    feed,
    region_system,
    region_code,
    finding_id,
    model,
    subject_type,
    subject_id,
    state_code,
    opinion_code,
    reason_code,
    field_name,
    corrected_value,
    note,
    organisation_name,
    dispatched_at,
    signed_at,
    reported_at,
    closed_at,
    changed_at,
    business_date,
    business_month,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_problem_feedback') }}
where {{ in_months(months) }}
