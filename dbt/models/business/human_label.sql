-- one row per current label of a reviewer; the reviewer's name as ciphertext and join token only
{{ config(materialized='incremental', unique_key='label_id', meta={'compared': ['_source_position']}) }}
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
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_human_label') }}
