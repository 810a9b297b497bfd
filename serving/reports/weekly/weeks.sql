-- one row per week: the eight weeks up to the period's last day, from the first week in which the region system sent anything
with place as (
    select region_code from mart.region_closure where region_system = $system and ancestor_code = $code
),
began as (
    select min(business_date) as business_date from mart.event_daily where region_system = $system
),
week as (
    select monday::date as monday
    from generate_series($last::date - 55, $last::date, interval 7 day) as w(monday), began
    where monday >= began.business_date
)
select
    week.monday,
    '第' || weekofyear(week.monday) || '周' as label,
    coalesce(sum(e.event_count), 0)::bigint as event_count,
    coalesce(sum(e.closed_count), 0)::bigint as closed_count
from week
left join mart.event_daily as e
    on e.region_system = $system and e.business_date between week.monday and week.monday + 6 and e.region_code in (select region_code from place)
group by week.monday
order by week.monday
