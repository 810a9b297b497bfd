-- one row per event whose reporter used its wording for at least the :uses-th time within :days; evidence is the use that began the row
with used as (
    select
        e.event_id,
        unix_timestamp(e.reported_at) as reported_s,
        lag(e.event_id, cast(:uses as int) - 1) over (partition by e.reporter_member_id, t.wording order by e.reported_at, e.event_id) as first_id,
        lag(unix_timestamp(e.reported_at), cast(:uses as int) - 1) over (
            partition by e.reporter_member_id, t.wording order by e.reported_at, e.event_id
        ) as first_s
    from business.event as e
    inner join event_text as t on e.event_id = t.event_id
    where e.reporter_member_id is not null and e.reported_at is not null and char_length(t.wording) >= :shortest
)

select
    event_id as subject_id,
    1.0d as value,
    first_id as evidence_id,
    'event' as evidence_type,
    cast(:uses as bigint) as uses,
    cast(:days as bigint) as days
from used
where reported_s - first_s <= :days * 86400
