-- one row per event that repeats an earlier one; evidence is the earlier one
with event as (
    select
        event_id,
        region_system,
        region_code,
        class_code,
        grid_id,
        unix_timestamp(reported_at) as reported_s,
        -- a spot of one metre
        count(*) over (
            partition by region_system, cast(round(longitude * 100000) as bigint), cast(round(latitude * 100000) as bigint)
        ) as events_at_spot,
        longitude,
        latitude
    from business.event
    where reported_at is not null
),

located as (
    select
        event_id,
        region_system,
        region_code,
        class_code,
        grid_id,
        reported_s,
        case when events_at_spot <= :most_at_a_spot then longitude end as longitude,
        case when events_at_spot <= :most_at_a_spot then latitude end as latitude
    from event
),

blocked as (
    select event_id, reported_s, concat('grid|', grid_id) as block
    from located
    where grid_id is not null
    union all
    -- 0.0005 degrees are about 50 m
    select
        event_id,
        reported_s,
        concat_ws(
            '|', 'place', region_system, class_code, cast(cast(round(longitude * 2000) as bigint) as string), cast(cast(round(latitude * 2000) as bigint) as string)
        ) as block
    from located
    where longitude is not null
    union all
    select event_id, reported_s, concat_ws('|', 'region', region_system, region_code, class_code) as block
    from located
    where grid_id is null and longitude is null
),

placed as (
    select
        event_id,
        reported_s,
        block,
        row_number() over (partition by block order by reported_s, event_id) as place,
        lag(reported_s) over (partition by block order by reported_s, event_id) as previous_s
    from blocked
),

-- may multiply rows: by :predecessors, and only for events with a predecessor in time
pair as (
    select distinct
        later.event_id,
        earlier.event_id as earlier_id,
        later.reported_s - earlier.reported_s as seconds
    from (
        select event_id, reported_s, block, place, explode(sequence(1, cast(:predecessors as int))) as back
        from placed
        where reported_s - previous_s <= :days * 86400
    ) as later
    inner join placed as earlier on later.block = earlier.block and later.place - later.back = earlier.place
    where later.reported_s - earlier.reported_s <= :days * 86400
),

described as (
    select event_id, regexp_replace(text, :again_phrases, '') as text, wording_count
    from event_text
),

compared as (
    select
        pair.event_id,
        pair.earlier_id,
        pair.seconds,
        1.0d - cast(levenshtein(a.text, b.text) as double) / greatest(char_length(a.text), char_length(b.text)) as similarity,
        greatest(a.wording_count, b.wording_count) as wording_count,
        -- plane distance in metres; good to a per mille within a town
        111320.0d * sqrt(
            power((x.longitude - y.longitude) * cos(radians(x.latitude)), 2.0d) + power(x.latitude - y.latitude, 2.0d)
        ) as apart_m,
        x.class_code = y.class_code as is_same_class
    from pair
    inner join described as a on pair.event_id = a.event_id
    inner join described as b on pair.earlier_id = b.event_id
    inner join located as x on pair.event_id = x.event_id
    inner join located as y on pair.earlier_id = y.event_id
    where
        char_length(a.text) > 0
        and char_length(b.text) > 0
        -- the difference in length alone bounds the similarity
        and abs(char_length(a.text) - char_length(b.text)) <= (1.0d - :similarity) * greatest(char_length(a.text), char_length(b.text))
),

ranked as (
    select
        event_id,
        earlier_id,
        seconds,
        similarity,
        row_number() over (partition by event_id order by similarity desc, seconds, earlier_id) as rank
    from compared
    where
        similarity >= :similarity
        and (wording_count <= :common_wording or (is_same_class and coalesce(apart_m <= :same_place_m, false)))
)

select
    event_id as subject_id,
    similarity as value,
    earlier_id as evidence_id,
    'event' as evidence_type,
    cast(floor(similarity * 100) as bigint) as similarity_pct,
    cast(greatest(1, ceil(seconds / 3600)) as bigint) as hours
from ranked
where rank = 1
