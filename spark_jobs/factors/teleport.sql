-- one row per event that its reporter could not have reached from the one before; evidence is the one before
with trail as (
    select
        event_id,
        longitude,
        latitude,
        unix_timestamp(reported_at) as reported_s,
        lag(event_id) over (partition by reporter_member_id order by reported_at, event_id) as before_id,
        lag(longitude) over (partition by reporter_member_id order by reported_at, event_id) as before_longitude,
        lag(latitude) over (partition by reporter_member_id order by reported_at, event_id) as before_latitude,
        lag(unix_timestamp(reported_at)) over (partition by reporter_member_id order by reported_at, event_id) as before_s
    from event
    where reporter_member_id is not null and reported_at is not null and longitude is not null and latitude is not null
),

moved as (
    select
        event_id,
        before_id,
        reported_s - before_s as seconds,
        -- great circle, sphere of 6371 km
        2.0d * 6371.0d * asin(
            sqrt(
                power(sin(radians(latitude - before_latitude) / 2.0d), 2.0d)
                + cos(radians(latitude)) * cos(radians(before_latitude)) * power(sin(radians(longitude - before_longitude) / 2.0d), 2.0d)
            )
        ) as km
    from trail
    where before_id is not null
),

timed as (
    -- a minute at least: clocks are kept to the second and lists are filed in one go
    select event_id, before_id, seconds, km, km / (cast(greatest(seconds, 60) as double) / 3600.0d) as speed_kmh
    from moved
)

select
    event_id as subject_id,
    -- half at the limit, whole from twice the limit on
    least(1.0d, speed_kmh / (2.0d * :speed_kmh)) as value,
    before_id as evidence_id,
    'event' as evidence_type,
    cast(round(km) as bigint) as km,
    cast(floor(seconds / 60) as bigint) as minutes
from timed
where speed_kmh > :speed_kmh and km >= :shortest_km
