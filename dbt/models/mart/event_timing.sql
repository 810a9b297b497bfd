-- one row per day, county and hour in which events were reported; the region itself where an event names one above a county
{{ config(
    materialized='incremental',
    unique_key=['business_date', 'region_system', 'region_code', 'hour_of_day'],
    partition_by='business_month',
    meta={'looked_up': []}
) }}
{% set months = months_moved_in(['business.event']) if follows() %}
{{ gives(months) if follows() }}
with county as (
    select
        above.region_system,
        above.region_code,
        above.ancestor_code as county_code
    from ({{ regions_above() }}) as above
    inner join {{ ref('region') }} as place
        on above.region_system = place.region_system and above.ancestor_code = place.region_code
    where place.region_level = 3
),

timed as (
    select
        event.business_date,
        event.business_month,
        event.region_system,
        coalesce(county.county_code, event.region_code) as county_code,
        {{ local_hour('event.reported_at', 'event.region_system') }} as hour_of_day,
        event.is_overdue,
        event.is_closed,
        unix_timestamp(event.deadline_at) - unix_timestamp(event.reported_at) as limit_seconds,
        unix_timestamp(event.closed_at) - unix_timestamp(event.reported_at) as taken_seconds
    -- The smaller side first: the embedded engine holds it in memory.
    from county
    right outer join {{ rows_in(ref('event'), months) }} as event
        on county.region_system = event.region_system and county.region_code = event.region_code
)

select
    business_date,
    business_month,
    region_system,
    county_code as region_code,
    hour_of_day,
    count(*) as event_count,
    count(case when is_overdue then 1 end) as overdue_count,
    count(case when not is_overdue and is_closed and limit_seconds is not null and taken_seconds * 2 <= limit_seconds then 1 end) as early_count,
    count(
        case when not is_overdue and is_closed and limit_seconds is not null and not coalesce(taken_seconds * 2 <= limit_seconds, false) then 1 end
    ) as timely_count,
    count(case when not is_overdue and not is_closed and limit_seconds is not null then 1 end) as running_count,
    count(case when not is_overdue and limit_seconds is null then 1 end) as unlimited_count
from timed
group by business_date, business_month, region_system, county_code, hour_of_day
