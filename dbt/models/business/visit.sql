-- one row per current visit
{{ config(
    materialized='incremental', unique_key='visit_id', partition_by='business_month', meta={'compared': ['_source_position'], 'looked_up': []}
) }}
{% set months = moved_months('visit') if follows() %}
{{ gives(months) if follows() }}
select
    visit_id,
    local_id,
    _sender_code as sender_code,
    feed,
    region_system,
    region_code,
    grid_id,
    member_id,
    subject_type,
    case subject_type when 'enterprise' then subject_id else concat(_sender_code, '-', subject_id) end as subject_id,
    started_at,
    ended_at,
    reported_at,
    longitude,
    latitude,
    content,
    has_problem,
    origin_type,
    case origin_type when 'finding' then origin_id else concat(_sender_code, '-', origin_id) end as origin_id,
    correlation_id,
    {{ minutes_between('started_at', 'ended_at') }} as stay_minutes,
    changed_at,
    business_date,
    business_month,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_visit') }}
where {{ in_months(months) }}
