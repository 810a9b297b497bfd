-- one row per region of any level that has events, grids or members below it; provinces, cities and counties also without
{{ config(materialized='incremental', unique_key=['region_system', 'region_code']) }}
with event as (
    select
        region_system,
        region_code,
        sum(event_count) as event_count,
        sum(case when business_date between date_sub(last_day, 6) and last_day then event_count else 0 end) as event_count_7d,
        sum(case when business_date between date_sub(last_day, 13) and date_sub(last_day, 7) then event_count else 0 end) as event_count_previous_7d,
        sum(closed_count) as closed_count,
        sum(overdue_count) as overdue_count,
        sum(invalid_count) as invalid_count
    from (select *, {{ last_day('region_system') }} as last_day from {{ ref('event_daily') }}) as daily
    group by region_system, region_code
),

rolled_up as (
    select
        closure.region_system,
        closure.ancestor_code as region_code,
        sum(event.event_count) as event_count,
        sum(event.event_count_7d) as event_count_7d,
        sum(event.event_count_previous_7d) as event_count_previous_7d,
        sum(event.closed_count) as closed_count,
        sum(event.overdue_count) as overdue_count,
        sum(event.invalid_count) as invalid_count
    from event
    -- multiplies rows: a region by its ancestors
    inner join {{ ref('mart_region_closure') }} as closure
        on event.region_system = closure.region_system and event.region_code = closure.region_code
    group by closure.region_system, closure.ancestor_code
),

staffing as (
    select
        closure.region_system,
        closure.ancestor_code as region_code,
        sum(team.grid_count) as grid_count,
        sum(team.member_count) as member_count
    from {{ ref('team_staffing') }} as team
    -- multiplies rows: a grid by its ancestors
    inner join {{ ref('mart_region_closure') }} as closure
        on team.region_system = closure.region_system and team.region_code = closure.region_code
    where team.month_date = {{ month_of(last_day('team.region_system')) }}
    group by closure.region_system, closure.ancestor_code
)

select
    region.region_system,
    region.region_code,
    region.region_name,
    region.region_level,
    region.parent_code,
    coalesce(rolled_up.event_count, cast(0 as bigint)) as event_count,
    coalesce(rolled_up.event_count_7d, cast(0 as bigint)) as event_count_7d,
    coalesce(rolled_up.event_count_previous_7d, cast(0 as bigint)) as event_count_previous_7d,
    coalesce(rolled_up.event_count - rolled_up.closed_count, cast(0 as bigint)) as open_count,
    coalesce(rolled_up.overdue_count, cast(0 as bigint)) as overdue_count,
    coalesce(rolled_up.invalid_count, cast(0 as bigint)) as invalid_count,
    cast(100 as double) * cast(rolled_up.closed_count as double) / cast(rolled_up.event_count as double) as closed_pct,
    coalesce(staffing.grid_count, cast(0 as bigint)) as grid_count,
    coalesce(staffing.member_count, cast(0 as bigint)) as member_count
from {{ ref('mart_region') }} as region
left join rolled_up on region.region_system = rolled_up.region_system and region.region_code = rolled_up.region_code
left join staffing
    on region.region_system = staffing.region_system and region.region_code = staffing.region_code
where region.region_level <= 3 or rolled_up.event_count is not null or staffing.grid_count is not null
