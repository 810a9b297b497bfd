-- Of the region with everything below it. Tables without `mart.` are laid out for the report: docs/how-to/reports.md.

-- name: numbers (one)
-- one row per region and period; no events at all in the period itself are a missing number, in the others they are none
with counted as (
    select
        below.subject,
        period.which,
        sum(e.event_count)::bigint as event_count,
        sum(e.closed_count)::bigint as closed_count,
        round(100.0 * sum(e.closed_count) / nullif(sum(e.event_count), 0), 1)::double as closed_pct,
        sum(e.overdue_count)::bigint as overdue_count,
        round(sum(e.handling_minutes_sum) / 60.0 / nullif(sum(e.handling_count), 0), 1)::double as average_handling_hours,
        sum(e.invalid_count)::bigint as invalid_count
    from below
    join mart.event_daily as e using (region_system, region_code)
    join period on e.business_date between period.first_date and period.last_date
    where e.business_date between $compared_from and $last
    group by below.subject, period.which
),
key_person as (
    select region_system, region_code, sum(person_count)::bigint as key_person_count
    from mart.key_person_current
    where not is_suppressed
    group by region_system, region_code
)
select
    subject.subject,
    period.which,
    case when period.which = 'now' then counted.event_count else coalesce(counted.event_count, 0) end as event_count,
    coalesce(counted.closed_count, 0) as closed_count,
    counted.closed_pct,
    coalesce(counted.overdue_count, 0) as overdue_count,
    counted.average_handling_hours,
    coalesce(counted.invalid_count, 0) as invalid_count,
    coalesce(overview.grid_count, 0) as grid_count,
    coalesce(overview.member_count, 0) as member_count,
    key_person.key_person_count
from subject
cross join period
left join counted using (subject, which)
left join mart.region_overview as overview on overview.region_system = subject.region_system and overview.region_code = subject.region_code
left join key_person on key_person.region_system = subject.region_system and key_person.region_code = subject.region_code
order by subject.subject, period.which

-- name: completeness (any)
-- one row per region directly below: whether it has events in the period, and on how many of its days
with child as (
    select subject.subject, r.region_system, r.region_code, r.region_name
    from subject
    join mart.region as r on r.region_system = subject.region_system and r.parent_code = subject.region_code
)
select
    child.subject,
    child.region_code,
    any_value(child.region_name) as region_name,
    coalesce(sum(e.event_count), 0)::bigint as event_count,
    count(distinct e.business_date)::bigint as day_count,
    ($last::date - $first::date + 1)::bigint as period_day_count
from child
join mart.region_closure as c on c.region_system = child.region_system and c.ancestor_code = child.region_code
left join mart.event_daily as e
    on e.region_system = c.region_system and e.region_code = c.region_code and e.business_date between $first and $last
group by child.subject, child.region_code
order by child.subject, child.region_code

-- name: feeds (some)
-- one row per feed: everything received up to the snapshot from senders of the region, of regions below or above it, or of all
with related as (
    select subject, region_code from below
    union
    select subject.subject, c.ancestor_code
    from subject
    join mart.region_closure as c on c.region_system = subject.region_system and c.region_code = subject.region_code
),
answering as (
    select distinct related.subject, s.sender_code from related join mart.sender as s on s.region_code = related.region_code
    union
    select subject.subject, s.sender_code from subject cross join mart.sender as s where s.region_code = '*'
)
select
    answering.subject,
    feed.title as feed_title,
    count(distinct q.sender_code)::bigint as sender_count,
    sum(q.received)::bigint as received,
    sum(q.accepted)::bigint as accepted,
    sum(q.refused)::bigint as refused,
    coalesce(round(100.0 * sum(q.refused) / nullif(sum(q.received), 0), 2), 0)::double as refused_pct
from answering
join mart.feed_quality as q using (sender_code)
join feed on feed.feed = q.feed
group by answering.subject, q.feed, feed.title
order by answering.subject, q.feed

-- name: trend (some)
-- one row per period shown, from the first one that the region system's data cover
select
    subject.subject,
    trend.label,
    coalesce(sum(e.event_count), 0)::bigint as event_count,
    coalesce(sum(e.closed_count), 0)::bigint as closed_count
from subject
cross join trend
left join below using (subject)
left join mart.event_daily as e
    on e.region_system = below.region_system
    and e.region_code = below.region_code
    and e.business_date between trend.first_date and trend.last_date
    and e.business_date between $shown_from and $last
group by subject.subject, trend.place, trend.label
order by subject.subject, trend.place

-- name: ranking (any)
-- one row per region directly below, most events first
with child as (
    select subject.subject, r.region_system, r.region_code, r.region_name
    from subject
    join mart.region as r on r.region_system = subject.region_system and r.parent_code = subject.region_code
),
counted as (
    select
        child.subject,
        child.region_code,
        any_value(child.region_name) as region_name,
        coalesce(sum(e.event_count) filter (period.which = 'now'), 0)::bigint as event_count,
        coalesce(sum(e.event_count) filter (period.which = 'before'), 0)::bigint as before_count,
        coalesce(sum(e.closed_count) filter (period.which = 'now'), 0)::bigint as closed_count,
        coalesce(sum(e.overdue_count) filter (period.which = 'now'), 0)::bigint as overdue_count
    from child
    join mart.region_closure as c on c.region_system = child.region_system and c.ancestor_code = child.region_code
    left join mart.event_daily as e
        on e.region_system = c.region_system and e.region_code = c.region_code and e.business_date between $compared_from and $last
    left join period on e.business_date between period.first_date and period.last_date
    group by child.subject, child.region_code
),
measured as (
    select *, round(100.0 * closed_count / nullif(event_count, 0), 1)::double as closed_pct from counted
)
select
    subject,
    row_number() over (partition by subject order by event_count desc, region_code) as place,
    region_code,
    region_name,
    event_count,
    case when exists (select 1 from period as p where p.which = 'before') then before_count end as before_count,
    closed_pct,
    case when event_count > 0 then rank() over (partition by subject, event_count > 0 order by closed_pct desc) end as closed_rank,
    overdue_count
from measured
order by subject, place

-- name: classes (some)
-- one row per event class, most events first; classes after the fifteenth together in the last row
with named as (
    select class_code, any_value(class_name) as class_name from mart.event_class group by class_code
),
counted as (
    select
        below.subject,
        e.class_code,
        coalesce(any_value(named.class_name), e.class_code) as class_name,
        coalesce(sum(e.event_count) filter (period.which = 'now'), 0)::bigint as event_count,
        coalesce(sum(e.event_count) filter (period.which = 'before'), 0)::bigint as before_count,
        coalesce(sum(e.closed_count) filter (period.which = 'now'), 0)::bigint as closed_count,
        coalesce(sum(e.overdue_count) filter (period.which = 'now'), 0)::bigint as overdue_count
    from below
    join mart.event_daily as e using (region_system, region_code)
    join period on e.business_date between period.first_date and period.last_date
    left join named using (class_code)
    where e.business_date between $compared_from and $last
    group by below.subject, e.class_code
),
ranked as (
    select *, row_number() over (partition by subject order by event_count desc, class_code) as place from counted where event_count > 0
),
shown as (
    select * replace (least(place, 16) as place, case when place <= 15 then class_name end as class_name) from ranked
)
select
    subject,
    coalesce(any_value(class_name), '其余 ' || count(*) || ' 类') as class_name,
    sum(event_count)::bigint as event_count,
    case when exists (select 1 from period as p where p.which = 'before') then sum(before_count)::bigint end as before_count,
    round(100.0 * sum(closed_count) / sum(event_count), 1)::double as closed_pct,
    sum(overdue_count)::bigint as overdue_count
from shown
group by subject, place
order by subject, place

-- name: standouts (any)
-- one row per region directly below or event class whose events are far from their mean over the earlier periods shown: at least five events and
-- three standard deviations of a count that scatters around its mean (Poisson); five rows at most. Years are not compared with months.
with earlier as (
    select place, first_date, last_date from trend where last_date < $first and last_date - first_date < 31 and $last::date - $first::date < 31
),
several as (
    select count(*) as period_count from earlier having count(*) >= 3
),
child as (
    select subject.subject, r.region_name as name, c.region_system, c.region_code
    from subject
    join mart.region as r on r.region_system = subject.region_system and r.parent_code = subject.region_code
    join mart.region_closure as c on c.region_system = r.region_system and c.ancestor_code = r.region_code
),
told as (
    select child.subject, '区域' as kind, child.name, e.business_date, e.event_count
    from child join mart.event_daily as e using (region_system, region_code)
    where e.business_date between $shown_from and $last
    union all
    select below.subject, '类别', coalesce(n.class_name, e.class_code), e.business_date, e.event_count
    from below
    join mart.event_daily as e using (region_system, region_code)
    left join (select class_code, any_value(class_name) as class_name from mart.event_class group by class_code) as n using (class_code)
    where e.business_date between $shown_from and $last
),
counted as (
    select
        told.subject,
        told.kind,
        told.name,
        coalesce(sum(told.event_count) filter (told.business_date between $first and $last), 0)::bigint as event_count,
        coalesce(sum(told.event_count) filter (earlier.place is not null), 0) / any_value(several.period_count) as mean_count
    from told
    cross join several
    left join earlier on told.business_date between earlier.first_date and earlier.last_date
    group by told.subject, told.kind, told.name
)
select subject, kind, name, event_count, round(mean_count, 1)::double as mean_count
from counted
where abs(event_count - mean_count) >= greatest(5, 3 * sqrt(mean_count))
qualify row_number() over (partition by subject order by abs(event_count - mean_count) / sqrt(greatest(mean_count, 1)) desc, kind, name) <= 5
order by subject, abs(event_count - mean_count) / sqrt(greatest(mean_count, 1)) desc, kind, name

-- name: overdue (any)
-- one row per region directly below (the region itself where it has none) and responsible unit, most overdue events first; fifteen at most
with child as (
    select subject.subject, r.region_system, r.region_code, r.region_name
    from subject
    join mart.region as r on r.region_system = subject.region_system and r.parent_code = subject.region_code
    union all
    select subject.subject, subject.region_system, subject.region_code, subject.region_name
    from subject
    where not exists (select 1 from mart.region as r where r.region_system = subject.region_system and r.parent_code = subject.region_code)
),
counted as (
    select
        child.subject,
        child.region_code,
        child.region_name,
        coalesce(nullif(o.organisation_name, ''), '未填办理单位') as organisation_name,
        sum(o.overdue_count)::bigint as overdue_count,
        sum(o.open_overdue_count)::bigint as open_overdue_count
    from child
    join mart.region_closure as c on c.region_system = child.region_system and c.ancestor_code = child.region_code
    join mart.overdue as o on o.region_system = c.region_system and o.region_code = c.region_code and o.business_date between $first and $last
    group by child.subject, child.region_code, child.region_name, o.organisation_name
)
select subject, region_code, region_name, organisation_name, overdue_count, open_overdue_count
from counted
qualify row_number() over (partition by subject order by overdue_count desc, region_code, organisation_name) <= 15
order by subject, overdue_count desc, region_code, organisation_name

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
    mode(spoke.reason order by spoke.reason) as reason,
    count(distinct spoke.finding_id)::bigint as finding_count
from found
join spoke using (finding_id)
group by found.subject, found.model, spoke.factor
order by found.subject, finding_count desc, found.model, spoke.factor
