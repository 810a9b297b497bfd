-- one row per city (level 2) and day from its region system's first event to the last whole day: did it report?
{{ config(
    materialized='incremental',
    unique_key=['region_system', 'region_code', 'business_date'],
    meta={'looked_up': ['as_of', 'resolved.region_closure']}
) }}
-- depends_on: {{ ref('event') }}
{# Few rows for many events: they are compared in whole. Counted anew are the months in which events changed or days have become whole. #}
{% set months = months_moved_in(['business.event']) + months_of_moved_grids(ref('event')) + months_of_new_days() if follows() %}
with daily as (
    select
        event.region_system,
        closure.ancestor_code as region_code,
        event.business_date,
        sum(event.event_count) as event_count
    from {{ rows_in(ref('event_daily'), months) }} as event
    inner join {{ source('resolved', 'region_closure') }} as closure
        on event.region_system = closure.region_system and event.region_code = closure.region_code and closure.ancestor_level = 2
    group by event.region_system, closure.ancestor_code, event.business_date
    {% if follows() %}
    union all
    select region_system, region_code, business_date, event_count
    from (select *, substring(cast(business_date as string), 1, 7) as business_month from {{ this }}) as known
    where has_reported and not ({{ in_months(months) }})
    {% endif %}
),

-- multiplies rows: a region system by its days
calendar as (
    select region_system, explode(sequence(first_date, greatest(first_date, {{ last_day('region_system') }}))) as business_date
    from (
        select region_system, min(business_date) as first_date
        from daily
        group by region_system
    ) as span
)

select
    region.region_system,
    region.region_code,
    region.region_name,
    calendar.business_date,
    coalesce(daily.event_count, cast(0 as bigint)) as event_count,
    daily.event_count is not null as has_reported
from {{ ref('region') }} as region
-- multiplies rows: a city by the days of its system
inner join calendar on region.region_system = calendar.region_system
left join daily
    on
        region.region_system = daily.region_system
        and region.region_code = daily.region_code
        and calendar.business_date = daily.business_date
where region.region_level = 2
