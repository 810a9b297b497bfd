-- one row per event that a grid member reported between :from_hour and :to_hour, local time
with local as (
    select e.event_id, e.channel_code, hour(from_utc_timestamp(e.reported_at, f.time_zone)) as local_hour
    from event as e
    inner join staging.feed as f on e.feed = f.feed
)

select
    event_id as subject_id,
    1.0d as value,
    event_id as evidence_id,
    'event' as evidence_type,
    cast(local_hour as bigint) as hour
from local
where channel_code = :channel and (local_hour >= :from_hour or local_hour < :to_hour)
