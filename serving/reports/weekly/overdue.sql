-- one row per region directly below (the region itself where it has none) and responsible unit, most overdue events first
with child as (
    select region_code, region_name from mart.region where region_system = $system and parent_code = $code
    union all
    select region_code, region_name from mart.region
    where region_system = $system and region_code = $code
      and not exists (select 1 from mart.region where region_system = $system and parent_code = $code)
)
select
    child.region_name,
    coalesce(nullif(o.organisation_name, ''), '未填办理单位') as organisation_name,
    sum(o.overdue_count)::bigint as overdue_count,
    sum(o.open_overdue_count)::bigint as open_overdue_count
from child
join mart.region_closure as c on c.region_system = $system and c.ancestor_code = child.region_code
join mart.overdue as o on o.region_system = $system and o.region_code = c.region_code and o.business_date between $first and $last
group by child.region_code, child.region_name, o.organisation_name
order by overdue_count desc, child.region_code, o.organisation_name
limit 15
