-- one row per finding
{{ config(materialized='incremental', unique_key='finding_id', partition_by='business_month', meta={'looked_up': []}) }}
{% set months = months_moved_in(['finding.finding']) if follows() %}
{{ gives(months) if follows() }}
select
    business_month,
    finding_id,
    model,
    model_version,
    subject_type,
    subject_id,
    sender_code,
    region_system,
    region_code,
    grid_id,
    business_date,
    score,
    threshold,
    reason_zh,
    reason_en
from {{ source('finding', 'finding') }}
where {{ in_months(months) }}
