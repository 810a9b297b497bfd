-- one row per event that is at least its reporter's :reports-th within :minutes; evidence is the first of them
with filed as (
    select
        event_id,
        unix_timestamp(reported_at) as reported_s,
        lag(event_id, cast(:reports as int) - 1) over (partition by reporter_member_id order by reported_at, event_id) as first_id,
        lag(unix_timestamp(reported_at), cast(:reports as int) - 1) over (partition by reporter_member_id order by reported_at, event_id) as first_s
    from event
    where reporter_member_id is not null and reported_at is not null
)

select
    event_id as subject_id,
    1.0d as value,
    first_id as evidence_id,
    'event' as evidence_type,
    cast(:reports as bigint) as reports,
    cast(:minutes as bigint) as minutes
from filed
where reported_s - first_s <= :minutes * 60
