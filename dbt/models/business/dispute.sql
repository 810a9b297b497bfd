-- one row per current dispute; parties as ciphertext and join token only
{{ config(
    materialized='incremental', unique_key='dispute_id',
    meta={'compared': [
        '_source_position', 'is_closed', 'limit_kind_code', 'working_handling_minutes', 'is_overdue', 'step_count', 'mediation_count',
    ]}
) }}
with step as (
    select dispute_id, count(*) as step_count, sum(case when action_code = 'mediate' then 1 else 0 end) as mediation_count
    from {{ ref('dispute_step') }}
    group by dispute_id
),

measured as (
    select
        dispute.*,
        final_state.code is not null as is_closed,
        -- A dispute may end without being closed (withdrawn, not accepted): its clock stops with that change.
        coalesce(dispute.closed_at, case when final_state.code is not null then dispute.changed_at end, {{ as_of() }}) as measured_until,
        item.limit_hours,
        item.limit_kind_code
    from {{ ref('stg_dispute') }} as dispute
    left join {{ codes_marked('dispute_state', 'is_final') }} as final_state on dispute.state_code = final_state.code
    left join {{ item_limits('dispute_type_code') }} as item
        on dispute.type_code = item.dispute_type_code and {{ in_force('item', 'dispute.business_date') }}
),

{{ clocked('measured', 'reported_at', 'measured_until') }}

select
    dispute.dispute_id,
    dispute.local_id,
    dispute._sender_code as sender_code,
    dispute.feed,
    dispute.region_system,
    dispute.region_code,
    dispute.grid_id,
    dispute.type_code,
    dispute.level_code,
    dispute.channel_code,
    dispute.description,
    dispute.party_count,
    dispute.applicant_name_sealed,
    dispute.applicant_name_token,
    dispute.applicant_id_number_sealed,
    dispute.applicant_id_number_token,
    dispute.applicant_phone_sealed,
    dispute.applicant_phone_token,
    dispute.respondent_name_sealed,
    dispute.respondent_name_token,
    dispute.respondent_id_number_sealed,
    dispute.respondent_id_number_token,
    dispute.respondent_credit_code,
    dispute.amount_yuan,
    dispute.organisation_name,
    dispute.occurred_at,
    dispute.reported_at,
    dispute.accepted_at,
    dispute.deadline_at,
    dispute.closed_at,
    dispute.state_code,
    dispute.result_code,
    dispute.closing_note,
    dispute.origin_type,
    case dispute.origin_type when 'finding' then dispute.origin_id else concat(dispute._sender_code, '-', dispute.origin_id) end as origin_id,
    dispute.correlation_id,
    coalesce(step.step_count, cast(0 as bigint)) as step_count,
    coalesce(step.mediation_count, cast(0 as bigint)) as mediation_count,
    {{ minutes_between('dispute.reported_at', 'dispute.closed_at') }} as handling_minutes,
    case when dispute.closed_at is not null then dispute.working_minutes end as working_handling_minutes,
    dispute.is_closed,
    dispute.limit_kind_code,
    {{ overrun('dispute', 'dispute.measured_until') }} as is_overdue,
    dispute.changed_at,
    dispute.business_date,
    {{ prefixed('dispute', audit_columns()) }}
from clocked as dispute
left join step on dispute.dispute_id = step.dispute_id
