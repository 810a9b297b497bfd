-- one row per region directly below: whether it has events in the period
with child as (
    select region_code, region_name from mart.region where region_system = $system and parent_code = $code
)
select
    child.region_code,
    child.region_name,
    coalesce(sum(e.event_count), 0)::bigint as event_count
from child
left join mart.region_closure as c on c.region_system = $system and c.ancestor_code = child.region_code
left join mart.event_daily as e
    on e.region_system = $system and e.region_code = c.region_code and e.business_date between $first and $last
group by child.region_code, child.region_name
order by child.region_code
