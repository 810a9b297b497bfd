-- one row per event closed within :minutes of its report without a handling step or without a closing note
with stepped as (
    select
        event_id,
        max(case when action_code rlike concat('^(', :handling_actions, ')$') then 1 else 0 end) as has_handling
    from business.event_step
    group by event_id
),

-- a sender whose events never have steps does not report steps
reporting_sender as (
    select distinct e.sender_code
    from business.event as e
    inner join stepped as s on e.event_id = s.event_id
),

closed as (
    select
        e.event_id,
        unix_timestamp(e.closed_at) - unix_timestamp(e.reported_at) as seconds,
        coalesce(s.has_handling, 0) = 0 and r.sender_code is not null as is_unhandled,
        char_length(regexp_replace(lower(coalesce(e.closing_note, '')), '[^a-z0-9\u4e00-\u9fff]+', '')) < :shortest_note as is_unexplained
    from business.event as e
    left join stepped as s on e.event_id = s.event_id
    left join reporting_sender as r on e.sender_code = r.sender_code
    where
        e.closed_at >= e.reported_at
        and unix_timestamp(e.closed_at) - unix_timestamp(e.reported_at) <= :minutes * 60
)

select
    event_id as subject_id,
    -- one of the two alone is half a signal: short notes and unrecorded steps are also plain bad habits
    case when is_unhandled and is_unexplained then 1.0d else 0.5d end as value,
    event_id as evidence_id,
    'event' as evidence_type,
    cast(floor(seconds / 60) as bigint) as minutes,
    cast(seconds as bigint) as seconds
from closed
where is_unhandled or is_unexplained
