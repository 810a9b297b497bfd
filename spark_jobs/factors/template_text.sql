-- one row per event whose reporter used its wording for at least the :uses-th time within :days; evidence is the use that began the row
with used as (
    select
        event_id,
        unix_timestamp(reported_at) as reported_s,
        lag(event_id, cast(:uses as int) - 1) over (partition by reporter_member_id, wording order by reported_at, event_id) as first_id,
        lag(unix_timestamp(reported_at), cast(:uses as int) - 1) over (
            partition by reporter_member_id, wording order by reported_at, event_id
        ) as first_s
    from event_text
    where
        reporter_member_id is not null
        and reported_at is not null
        and char_length(wording) >= :shortest
        -- what all reporters together used less often, none of them used often enough
        and wording_count >= :uses
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
