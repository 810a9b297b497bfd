-- one row per finding
{{ config(materialized='incremental', unique_key='finding_id') }}
select
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
