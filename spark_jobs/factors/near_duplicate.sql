-- one row per event that repeats an earlier one; evidence is the earlier one
with located as (
    select
        event_id,
        region_system,
        region_code,
        class_code,
        channel_code,
        grid_id,
        unix_timestamp(reported_at) as reported_s,
        case when events_at_spot <= :most_at_a_spot then longitude end as longitude,
        case when events_at_spot <= :most_at_a_spot then latitude end as latitude,
        wording_count,
        text
    from event_text
    where reported_at is not null
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
            '|',
            'place',
            region_system,
            class_code,
            cast(cast(round(longitude * 2000) as bigint) as string),
            cast(cast(round(latitude * 2000) as bigint) as string)
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

-- two rows per pair, so that what is known of events is looked up once for both
side as (
    select event_id, earlier_id, seconds, explode(array(event_id, earlier_id)) as described_id
    from pair
),

known as (
    select
        event_id,
        class_code,
        channel_code,
        longitude,
        latitude,
        wording_count,
        regexp_replace(text, :again_phrases, '') as text
    from located
),

described as (
    select
        s.event_id,
        s.earlier_id,
        s.seconds,
        max(k.wording_count) as wording_count,
        min(k.class_code) = max(k.class_code) as is_same_class,
        count(case when k.channel_code = :own_work_channel then 1 end) = 2 as is_own_work,
        -- plane distance in metres, good to a per mille within a town; null where one of the two has no place
        case
            when count(k.longitude) = 2
                then
                    111320.0d * sqrt(
                        power((max(k.longitude) - min(k.longitude)) * cos(radians(max(k.latitude))), 2.0d)
                        + power(max(k.latitude) - min(k.latitude), 2.0d)
                    )
        end as apart_m,
        max(case when s.described_id = s.event_id then k.text end) as later_text,
        max(case when s.described_id = s.earlier_id then k.text end) as earlier_text
    from side as s
    inner join known as k on s.described_id = k.event_id
    group by s.event_id, s.earlier_id, s.seconds
),

compared as (
    select
        event_id,
        earlier_id,
        seconds,
        1.0d - cast(levenshtein(later_text, earlier_text) as double) / greatest(char_length(later_text), char_length(earlier_text)) as similarity
    from described
    where
        char_length(later_text) > 0
        and char_length(earlier_text) > 0
        and coalesce(apart_m <= :most_apart_m, true)
        and (wording_count <= :common_wording or (is_same_class and not is_own_work and coalesce(apart_m <= :same_place_m, false)))
        -- the difference in length alone bounds the similarity
        and abs(char_length(later_text) - char_length(earlier_text))
        <= (1.0d - :similarity) * greatest(char_length(later_text), char_length(earlier_text))
),

ranked as (
    select
        event_id,
        earlier_id,
        seconds,
        similarity,
        row_number() over (partition by event_id order by similarity desc, seconds asc, earlier_id asc) as rank
    from compared
    where similarity >= :similarity
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
