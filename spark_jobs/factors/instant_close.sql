-- one row per event closed within :minutes of its report without a handling step or without a closing note
with quick as (
    select
        event_id,
        sender_code,
        handling_step_count,
        unix_timestamp(closed_at) - unix_timestamp(reported_at) as seconds,
        char_length(regexp_replace(lower(coalesce(closing_note, '')), '[^a-z0-9\u4e00-\u9fff]+', '')) < :shortest_note as is_unexplained
    from event
    where
        closed_at >= reported_at
        and unix_timestamp(closed_at) - unix_timestamp(reported_at) <= :minutes * 60
),

-- a sender whose events never have steps does not report steps
reporting_sender as (
    select distinct sender_code
    from business.event
    where step_count > 0
),

closed as (
    select
        quick.event_id,
        quick.seconds,
        quick.is_unexplained,
        quick.handling_step_count = 0 and sender.sender_code is not null as is_unhandled
    from quick
    left join reporting_sender as sender on quick.sender_code = sender.sender_code
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
