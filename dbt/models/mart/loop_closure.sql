-- one row per day and lowest region of findings, sender and model: how far they have come from finding to closure
{{ config(
    materialized='incremental',
    unique_key=['business_date', 'region_system', 'region_code', 'sender_code', 'model'],
    partition_by='business_month',
    meta={'looked_up': ['as_of', 'resolved.region_closure', 'business.task']}
) }}
-- depends_on: {{ ref('problem_feedback') }} {{ ref('handling_result') }} {{ ref('task') }} {{ source('finding', 'finding') }}
{% set months = months_of_moved_loops() if follows() %}
{{ gives(months) if follows() }}
with feedback as (
    select *
    from (
        select *, row_number() over (partition by finding_id order by changed_at desc, feedback_id asc) as newest
        from {{ ref('problem_feedback') }}
    ) as version
    where newest = 1
),

handled as (
    select *
    from (
        select *, row_number() over (partition by origin_id order by changed_at desc, result_id asc) as newest
        from {{ ref('handling_result') }}
        where origin_type = 'finding'
    ) as version
    where newest = 1
),

tasked as (
    select origin_id, min(issued_at) as issued_at
    from {{ ref('task') }}
    where origin_type = 'finding'
    group by origin_id
),

followed as (
    select
        finding.*,
        coalesce(feedback.dispatched_at, handled.dispatched_at, tasked.issued_at) as dispatched_at,
        feedback.signed_at,
        feedback.reported_at as answered_at,
        feedback.opinion_code,
        feedback.closed_at,
        tasked.issued_at,
        case when final_outcome.code is not null then handled.handled_at end as handled_at,
        -- A closed loop is over, however it was handled.
        coalesce(coalesce(handled.handled_at, feedback.closed_at, {{ as_of() }}) > handled.deadline_at, false) as is_overdue
    from {{ rows_in(source('finding', 'finding'), months) }} as finding
    left join feedback on finding.finding_id = feedback.finding_id
    left join handled on finding.finding_id = handled.origin_id
    left join tasked on finding.finding_id = tasked.origin_id
    left join {{ codes_marked('handling_outcome', 'is_final') }} as final_outcome on handled.outcome_code = final_outcome.code
),

{{ clocked('followed', 'dispatched_at', 'closed_at') }},

placed as (
    {{ at_lowest_region('clocked') }}
)

select
    business_date,
    business_month,
    region_system,
    lowest_region_code as region_code,
    sender_code,
    model,
    count(*) as finding_count,
    count(dispatched_at) as dispatched_count,
    count(issued_at) as tasked_count,
    count(signed_at) as signed_count,
    count(answered_at) as answered_count,
    count(case when opinion_code = 'disagree' then 1 end) as disputed_count,
    count(handled_at) as handled_count,
    count(closed_at) as closed_count,
    count(case when is_overdue then 1 end) as overdue_count,
    coalesce(sum({{ minutes_between('dispatched_at', 'signed_at') }}), cast(0 as bigint)) as signing_minutes_sum,
    coalesce(sum({{ minutes_between('dispatched_at', 'answered_at') }}), cast(0 as bigint)) as answering_minutes_sum,
    coalesce(sum({{ minutes_between('dispatched_at', 'closed_at') }}), cast(0 as bigint)) as closing_minutes_sum,
    coalesce(sum(working_minutes), cast(0 as bigint)) as working_closing_minutes_sum,
    count(working_minutes) as working_closing_count
from placed
group by business_date, business_month, region_system, lowest_region_code, sender_code, model
