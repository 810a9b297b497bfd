-- one row per finding and factor; contributions add up to the finding's score
{{ config(materialized='incremental', unique_key=['finding_id', 'factor'], partition_by='business_month', meta={'looked_up': []}) }}
{% set months = months_moved_in(['finding.reason']) if follows() %}
{{ gives(months) if follows() }}
select
    business_month,
    finding_id,
    model,
    factor,
    weight,
    value,
    contribution,
    reason_zh,
    reason_en
from {{ source('finding', 'reason') }}
where {{ in_months(months) }}
