-- one row per event, with what two reports are compared by: its description without case, blanks and punctuation (text), also without digits
-- (wording), how many events of its month share the wording, and how many lie at its spot of one metre
with normalised as (
    select
        event_id,
        business_date,
        coalesce(substring(cast(business_date as string), 1, 7), '0000-00') as business_month,
        region_system,
        region_code,
        class_code,
        channel_code,
        grid_id,
        reporter_member_id,
        reported_at,
        longitude,
        latitude,
        cast(round(longitude * 100000) as bigint) as spot_x,
        cast(round(latitude * 100000) as bigint) as spot_y,
        regexp_replace(lower(coalesce(description, '')), '[^a-z0-9\u4e00-\u9fff]+', '') as text,
        regexp_replace(lower(coalesce(description, '')), '[^a-z\u4e00-\u9fff]+', '') as wording
    from seen_event
),

shared_wording as (
    select region_system, business_month, wording, count(*) as wording_count
    from normalised
    group by region_system, business_month, wording
    having count(*) > 1
),

shared_spot as (
    select region_system, business_month, spot_x, spot_y, count(*) as events_at_spot
    from normalised
    where spot_x is not null
    group by region_system, business_month, spot_x, spot_y
    having count(*) > 1
),

-- The smaller side of a join first: the embedded engine holds it in memory.
worded as (
    select
        normalised.*,
        shared_wording.wording_count
    from shared_wording
    right outer join normalised
        on
            shared_wording.region_system = normalised.region_system
            and shared_wording.business_month = normalised.business_month
            and shared_wording.wording = normalised.wording
)

select
    worded.event_id,
    worded.business_date,
    -- how the table is partitioned: a slice of days opens its months only
    worded.business_month,
    worded.region_system,
    worded.region_code,
    worded.class_code,
    worded.channel_code,
    worded.grid_id,
    worded.reporter_member_id,
    worded.reported_at,
    worded.longitude,
    worded.latitude,
    -- Levenshtein takes the product of both lengths; the first 200 characters tell texts apart.
    substring(worded.text, 1, 200) as text,
    worded.wording,
    coalesce(worded.wording_count, cast(1 as bigint)) as wording_count,
    coalesce(shared_spot.events_at_spot, cast(1 as bigint)) as events_at_spot
from shared_spot
right outer join worded
    on
        shared_spot.region_system = worded.region_system
        and shared_spot.business_month = worded.business_month
        and shared_spot.spot_x = worded.spot_x
        and shared_spot.spot_y = worded.spot_y
