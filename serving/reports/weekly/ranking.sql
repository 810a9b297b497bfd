-- one row per region directly below, most events first
with child as (
    select region_code, region_name from mart.region where region_system = $system and parent_code = $code
),
counted as (
    select
        child.region_code,
        child.region_name,
        coalesce(sum(e.event_count) filter (e.business_date >= $first), 0)::bigint as event_count,
        coalesce(sum(e.event_count) filter (e.business_date < $first), 0)::bigint as previous_event_count,
        coalesce(sum(e.closed_count) filter (e.business_date >= $first), 0)::bigint as closed_count,
        coalesce(sum(e.overdue_count) filter (e.business_date >= $first), 0)::bigint as overdue_count
    from child
    left join mart.region_closure as c on c.region_system = $system and c.ancestor_code = child.region_code
    left join mart.event_daily as e
        on e.region_system = $system and e.region_code = c.region_code and e.business_date between $before and $last
    group by child.region_code, child.region_name
)
select
    row_number() over (order by event_count desc, region_code) as place,
    region_code,
    region_name,
    event_count,
    previous_event_count,
    round(100.0 * closed_count / nullif(event_count, 0), 1)::double as closed_pct,
    case when event_count > 0 then
        rank() over (partition by event_count > 0 order by round(100.0 * closed_count / nullif(event_count, 0), 1) desc)
    end as closed_rank,
    overdue_count
from counted
order by place
