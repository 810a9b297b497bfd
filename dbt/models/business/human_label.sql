-- one row per current label of a reviewer; the reviewer's name as ciphertext and join token only
{{ config(
    materialized='incremental', unique_key='label_id', partition_by='business_month', meta={'compared': ['_source_position'], 'looked_up': []}
) }}
{% set months = moved_months('human_label') if follows() %}
{{ gives(months) if follows() }}
select
    label_id,
    local_id,
    _sender_code as sender_code,
    feed,
    region_system,
    region_code,
    finding_id,
    model,
    model_version,
    subject_type,
    subject_id,
    other_subject_type,
    other_subject_id,
    label_code,
    remark,
    reviewer_id,
    reviewer_name_sealed,
    reviewer_name_token,
    organisation_name,
    sampling_probability,
    sample_id,
    purpose_code,
    labelled_at,
    changed_at,
    business_date,
    business_month,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_human_label') }}
where {{ in_months(months) }}
