-- one row per model and factor: findings of the period in which the factor spoke; counts only, numbers of single findings left out of the wording
with place as (
    select region_code from mart.region_closure where region_system = $system and ancestor_code = $code
),
found as (
    select finding_id, model from mart.finding
    where region_system = $system and business_date between $first and $last and region_code in (select region_code from place)
)
select
    found.model,
    r.factor,
    mode(regexp_replace(r.reason_zh, '[0-9]+([.,][0-9]+)*', '…', 'g') order by r.reason_zh) as reason,
    count(distinct r.finding_id)::bigint as finding_count
from found
join mart.finding_reason as r using (finding_id)
where r.contribution > 0
group by found.model, r.factor
order by finding_count desc, found.model, r.factor
