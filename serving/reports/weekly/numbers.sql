-- one row: the region with everything below it, in the period and in the one before (null where the region system had not begun by then)
with place as (
    select region_code from mart.region_closure where region_system = $system and ancestor_code = $code
),
counted as (
    select
        business_date >= $first as is_current,
        sum(event_count)::bigint as event_count,
        sum(closed_count)::bigint as closed_count,
        round(100.0 * sum(closed_count) / nullif(sum(event_count), 0), 1)::double as closed_pct,
        sum(overdue_count)::bigint as overdue_count,
        round(sum(handling_minutes_sum) / 60.0 / nullif(sum(handling_count), 0), 1)::double as average_handling_hours,
        sum(invalid_count)::bigint as invalid_count
    from mart.event_daily
    where region_system = $system and business_date between $before and $last and region_code in (select region_code from place)
    group by is_current
),
began as (
    select min(business_date) as business_date from mart.event_daily where region_system = $system
)
select
    now.event_count, now.closed_count, now.closed_pct, now.overdue_count, now.average_handling_hours, now.invalid_count,
    case when began.business_date <= $before then coalesce(ago.event_count, 0) end::bigint as previous_event_count,
    case when began.business_date <= $before then coalesce(ago.closed_count, 0) end::bigint as previous_closed_count,
    ago.closed_pct as previous_closed_pct,
    case when began.business_date <= $before then coalesce(ago.overdue_count, 0) end::bigint as previous_overdue_count,
    ago.average_handling_hours as previous_average_handling_hours,
    case when began.business_date <= $before then coalesce(ago.invalid_count, 0) end::bigint as previous_invalid_count,
    overview.grid_count, overview.member_count
from mart.region_overview as overview
cross join began
left join counted as now on now.is_current
left join counted as ago on not ago.is_current
where overview.region_system = $system and overview.region_code = $code
