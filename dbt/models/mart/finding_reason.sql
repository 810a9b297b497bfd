-- one row per finding and factor; contributions add up to the finding's score
{{ config(materialized='incremental', unique_key=['finding_id', 'factor']) }}
select
    finding_id,
    model,
    factor,
    weight,
    value,
    contribution,
    reason_zh,
    reason_en
from {{ source('finding', 'reason') }}
