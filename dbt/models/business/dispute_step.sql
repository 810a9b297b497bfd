-- one row per step of settling a dispute
{{ config(materialized='incremental', unique_key='step_id', meta={'compared': ['_source_position', 'minutes_since_previous']}) }}
select
    step_id,
    local_id,
    dispute_id,
    _sender_code as sender_code,
    feed,
    region_system,
    step_no,
    action_code,
    from_state,
    to_state,
    actor_organisation,
    happened_at,
    deadline_at,
    evidence_digest,
    changed_at,
    business_date,
    {{ minutes_between('previous_at', 'happened_at') }} as minutes_since_previous,
    {{ audit_columns() | join(', ') }}
from (
    select *, lag(happened_at) over (partition by dispute_id order by step_no, happened_at, step_id) as previous_at
    from {{ ref('stg_dispute_step') }}
) as step
