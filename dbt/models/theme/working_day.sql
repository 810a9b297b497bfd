-- one row per region with a calendar of its own and day: when it is worked, and how long was worked on all days before
-- A region's day is that of its own calendar, else of the nearest one above it.
{{ config(materialized='incremental', unique_key=['region_system', 'calendar_region_code', 'calendar_date']) }}
with own as (
    select distinct region_system, region_code
    from {{ ref('work_calendar') }}
),

hours as (
    select
        code as day_type,
        coalesce(get_json_object(attributes, '$.work_from'), '00:00') as work_from,
        coalesce(get_json_object(attributes, '$.work_to'), '00:00') as work_to
    from {{ source('reference', 'code_list') }}
    where list_name = 'day_type'
),

region as (
    {{ regions_above() }}
),

day as (
    select
        own.region_system,
        own.region_code as calendar_region_code,
        calendar.calendar_date,
        calendar.day_type,
        calendar.is_working_day,
        row_number() over (partition by own.region_system, own.region_code, calendar.calendar_date order by region.distance) as nearest
    from own
    -- multiplies rows: a calendar by the regions above it, and those by their days
    inner join region on own.region_system = region.region_system and own.region_code = region.region_code
    inner join {{ ref('work_calendar') }} as calendar
        on region.region_system = calendar.region_system and region.ancestor_code = calendar.region_code
),

timed as (
    select
        day.region_system,
        day.calendar_region_code,
        day.calendar_date,
        day.is_working_day,
        {{ local_time('day.region_system', 'day.calendar_date', 'hours.work_from') }} as opens_at,
        {{ local_time('day.region_system', 'day.calendar_date', 'hours.work_to') }} as closes_at
    from day
    inner join hours on day.day_type = hours.day_type
    where day.nearest = 1
),

measured as (
    select
        *,
        case when is_working_day then unix_timestamp(closes_at) - unix_timestamp(opens_at) else cast(0 as bigint) end as work_seconds
    from timed
)

select
    region_system,
    calendar_region_code,
    calendar_date,
    is_working_day,
    opens_at,
    closes_at,
    work_seconds,
    coalesce(
        sum(work_seconds) over (
            partition by region_system, calendar_region_code order by calendar_date rows between unbounded preceding and 1 preceding
        ), cast(0 as bigint)
    ) as seconds_before
from measured
