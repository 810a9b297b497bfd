-- one row per event class, most events first; classes after the fifteenth together in the last row
with place as (
    select region_code from mart.region_closure where region_system = $system and ancestor_code = $code
),
named as (
    select class_code, any_value(class_name) as class_name from mart.event_class group by class_code
),
counted as (
    select
        e.class_code,
        coalesce(any_value(named.class_name), e.class_code) as class_name,
        coalesce(sum(e.event_count) filter (e.business_date >= $first), 0)::bigint as event_count,
        coalesce(sum(e.event_count) filter (e.business_date < $first), 0)::bigint as previous_event_count,
        coalesce(sum(e.closed_count) filter (e.business_date >= $first), 0)::bigint as closed_count,
        coalesce(sum(e.overdue_count) filter (e.business_date >= $first), 0)::bigint as overdue_count
    from mart.event_daily as e
    left join named using (class_code)
    where e.region_system = $system and e.business_date between $before and $last and e.region_code in (select region_code from place)
    group by e.class_code
),
ranked as (
    select *, row_number() over (order by event_count desc, class_code) as place from counted where event_count > 0
),
shown as (
    select least(place, 16) as place, case when place <= 15 then class_name end as class_name, * exclude (place, class_name) from ranked
)
select
    place,
    coalesce(any_value(class_name), '其余 ' || count(*) || ' 类') as class_name,
    sum(event_count)::bigint as event_count,
    sum(previous_event_count)::bigint as previous_event_count,
    round(100.0 * sum(closed_count) / sum(event_count), 1)::double as closed_pct,
    sum(overdue_count)::bigint as overdue_count
from shown
group by place
order by place
