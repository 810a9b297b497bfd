-- Of the region with everything below it: what the models found in the period and what became of it up to the snapshot.

-- name: numbers (one)
-- one row per region and period; no events at all in the period itself are a missing number, in the others they are none
with happened as (
    select below.subject, period.which, sum(e.event_count)::bigint as event_count
    from below
    join mart.event_daily as e using (region_system, region_code)
    join period on e.business_date between period.first_date and period.last_date
    where e.business_date between $compared_from and $last
    group by below.subject, period.which
),
counted as (
    select
        below.subject,
        period.which,
        sum(l.finding_count)::bigint as finding_count,
        sum(l.dispatched_count)::bigint as dispatched_count,
        sum(l.signed_count)::bigint as signed_count,
        sum(l.handled_count)::bigint as handled_count,
        sum(l.closed_count)::bigint as closed_count,
        sum(l.overdue_count)::bigint as overdue_count
    from below
    join mart.loop_closure as l using (region_system, region_code)
    join period on l.business_date between period.first_date and period.last_date
    group by below.subject, period.which
)
select
    subject.subject,
    period.which,
    case when period.which = 'now' then happened.event_count else coalesce(happened.event_count, 0) end as event_count,
    coalesce(counted.finding_count, 0) as finding_count,
    round(100.0 * coalesce(counted.finding_count, 0) / nullif(happened.event_count, 0), 1)::double as finding_share,
    coalesce(counted.dispatched_count, 0) as dispatched_count,
    coalesce(counted.signed_count, 0) as signed_count,
    coalesce(counted.handled_count, 0) as handled_count,
    coalesce(counted.closed_count, 0) as closed_count,
    round(100.0 * counted.closed_count / nullif(counted.dispatched_count, 0), 1)::double as closed_pct,
    coalesce(counted.overdue_count, 0) as overdue_count
from subject
cross join period
left join happened using (subject, which)
left join counted using (subject, which)
order by subject.subject, period.which

-- name: trend (some)
-- one row per period shown, from the first one that the region system's data cover
select
    subject.subject,
    trend.label,
    coalesce(sum(l.finding_count), 0)::bigint as finding_count,
    coalesce(sum(l.closed_count), 0)::bigint as closed_count
from subject
cross join trend
left join below using (subject)
left join mart.loop_closure as l
    on l.region_system = below.region_system
    and l.region_code = below.region_code
    and l.business_date between trend.first_date and trend.last_date
group by subject.subject, trend.place, trend.label
order by subject.subject, trend.place

-- name: ranking (any)
-- one row per region directly below, most findings first
with child as (
    select subject.subject, r.region_system, r.region_code, r.region_name
    from subject
    join mart.region as r on r.region_system = subject.region_system and r.parent_code = subject.region_code
),
within_child as (
    select child.subject, child.region_code as child_code, c.region_system, c.region_code
    from child
    join mart.region_closure as c on c.region_system = child.region_system and c.ancestor_code = child.region_code
),
happened as (
    select w.subject, w.child_code, sum(e.event_count)::bigint as event_count
    from within_child as w
    join mart.event_daily as e using (region_system, region_code)
    where e.business_date between $first and $last
    group by w.subject, w.child_code
),
counted as (
    select
        w.subject,
        w.child_code,
        sum(l.finding_count)::bigint as finding_count,
        sum(l.dispatched_count)::bigint as dispatched_count,
        sum(l.handled_count)::bigint as handled_count,
        sum(l.closed_count)::bigint as closed_count,
        sum(l.overdue_count)::bigint as overdue_count
    from within_child as w
    join mart.loop_closure as l using (region_system, region_code)
    where l.business_date between $first and $last
    group by w.subject, w.child_code
)
select
    child.subject,
    row_number() over (
        partition by child.subject order by coalesce(counted.finding_count, 0) desc, coalesce(happened.event_count, 0) desc, child.region_code
    ) as place,
    child.region_code,
    child.region_name,
    coalesce(happened.event_count, 0) as event_count,
    coalesce(counted.finding_count, 0) as finding_count,
    round(100.0 * coalesce(counted.finding_count, 0) / nullif(happened.event_count, 0), 1)::double as finding_share,
    coalesce(counted.dispatched_count, 0) as dispatched_count,
    coalesce(counted.handled_count, 0) as handled_count,
    coalesce(counted.closed_count, 0) as closed_count,
    coalesce(counted.overdue_count, 0) as overdue_count
from child
left join happened on happened.subject = child.subject and happened.child_code = child.region_code
left join counted on counted.subject = child.subject and counted.child_code = child.region_code
order by child.subject, place

-- name: models (any)
-- one row per model that found something in the period
select
    below.subject,
    l.model,
    coalesce(any_value(model.title), l.model) as model_title,
    sum(l.finding_count)::bigint as finding_count,
    sum(l.dispatched_count)::bigint as dispatched_count,
    sum(l.signed_count)::bigint as signed_count,
    sum(l.handled_count)::bigint as handled_count,
    sum(l.closed_count)::bigint as closed_count,
    sum(l.overdue_count)::bigint as overdue_count
from below
join mart.loop_closure as l using (region_system, region_code)
left join model on model.model = l.model
where l.business_date between $first and $last
group by below.subject, l.model
order by below.subject, finding_count desc, l.model

-- name: reasons (any)
-- one row per model and factor: findings of the period in which the factor spoke; counts only, numbers of single findings left out of the wording
with found as (
    select below.subject, f.finding_id, f.model
    from below
    join mart.finding as f using (region_system, region_code)
    where f.business_date between $first and $last
),
spoke as (
    select r.finding_id, r.factor, regexp_replace(r.reason_zh, '[0-9]+([.,][0-9]+)*', '…', 'g') as reason
    from mart.finding_reason as r
    where r.contribution > 0 and r.finding_id in (select finding_id from found)
)
select
    found.subject,
    coalesce(any_value(model.title), found.model) as model_title,
    mode(spoke.reason order by spoke.reason) as reason,
    count(distinct spoke.finding_id)::bigint as finding_count
from found
join spoke using (finding_id)
left join model on model.model = found.model
group by found.subject, found.model, spoke.factor
order by found.subject, finding_count desc, found.model, spoke.factor
