-- one row per region directly below (the region itself where it has none) and responsible sender, most overdue events first
with child as (
    select region_code, region_name from mart.region where region_system = $system and parent_code = $code
    union all
    select region_code, region_name from mart.region
    where region_system = $system and region_code = $code
      and not exists (select 1 from mart.region where region_system = $system and parent_code = $code)
),
named as (
    select sender_code, any_value(sender_name) as sender_name from mart.sender group by sender_code
)
select
    child.region_name,
    coalesce(any_value(named.sender_name), e.sender_code) as sender_name,
    sum(e.overdue_count)::bigint as overdue_count,
    sum(e.event_count)::bigint as event_count,
    round(100.0 * sum(e.overdue_count) / sum(e.event_count), 1)::double as overdue_pct
from child
join mart.region_closure as c on c.region_system = $system and c.ancestor_code = child.region_code
join mart.event_daily as e on e.region_system = $system and e.region_code = c.region_code and e.business_date between $first and $last
left join named on named.sender_code = e.sender_code
group by child.region_code, child.region_name, e.sender_code
having sum(e.overdue_count) > 0
order by overdue_count desc, child.region_code, e.sender_code
limit 15
