-- Of one sender: what it sent, by the platform's day of receipt, and what was refused of it.

-- name: numbers (one)
-- one row per sender and period
with sent as (
    select q.feed, q.sender_code, q.business_date, q.received, q.accepted, q.refused, q.waiting
    from mart.feed_quality as q
    where q.feed in (select f.feed from feed as f)
),
counted as (
    select
        sent.sender_code,
        period.which,
        sum(sent.received)::bigint as received,
        sum(sent.refused)::bigint as refused
    from sent
    join period on sent.business_date between period.first_date and period.last_date
    group by sent.sender_code, period.which
),
total as (
    select
        sender_code,
        count(distinct feed)::bigint as feed_count,
        sum(received)::bigint as all_received,
        sum(accepted)::bigint as all_accepted,
        sum(refused)::bigint as all_refused,
        sum(waiting)::bigint as all_waiting,
        round(100.0 * sum(refused) / nullif(sum(received), 0), 2)::double as all_refused_pct
    from sent
    group by sender_code
),
ranked as (
    select *, rank() over (order by all_refused_pct) as refused_rank, count(*) over () as sender_count from total
)
select
    subject.subject,
    period.which,
    coalesce(counted.received, 0) as received,
    coalesce(counted.refused, 0) as refused,
    round(100.0 * counted.refused / nullif(counted.received, 0), 2)::double as refused_pct,
    ranked.feed_count,
    ranked.all_received,
    ranked.all_accepted,
    ranked.all_refused,
    ranked.all_waiting,
    ranked.all_refused_pct,
    ranked.refused_rank,
    ranked.sender_count
from subject
cross join period
left join ranked on ranked.sender_code = subject.sender_code
left join counted on counted.sender_code = subject.sender_code and counted.which = period.which
order by subject.subject, period.which

-- name: feeds (some)
-- one row per feed that the sender has sent
select
    subject.subject,
    feed.title as feed_title,
    sum(q.received)::bigint as received,
    sum(q.accepted)::bigint as accepted,
    sum(q.refused)::bigint as refused,
    sum(q.duplicate)::bigint as duplicate,
    sum(q.waiting)::bigint as waiting,
    coalesce(round(100.0 * sum(q.refused) / nullif(sum(q.received), 0), 2), 0)::double as refused_pct,
    max(q.business_date) as last_received_date
from subject
join mart.feed_quality as q using (sender_code)
join feed using (feed)
group by subject.subject, q.feed, feed.title
order by subject.subject, received desc, q.feed

-- name: reasons (any)
-- one row per feed, rule and field for which rows are still refused, most rows first; twenty at most
select
    subject.subject,
    feed.title as feed_title,
    r.rule,
    r.field,
    coalesce(field.title, nullif(r.field, ''), '整行') as field_title,
    coalesce(own.meaning, common.meaning, r.rule) as meaning,
    coalesce(own.remedy, common.remedy, '按合约改正后重报') as remedy,
    r.row_count
from subject
join mart.refusal as r using (sender_code)
join feed on feed.feed = r.feed
left join field on field.feed = r.feed and field.field = r.field
left join rule as own on own.feed = r.feed and own.rule = r.rule
left join rule as common on common.feed is null and common.rule = r.rule
qualify row_number() over (partition by subject.subject order by r.row_count desc, r.feed, r.rule, r.field) <= 20
order by subject.subject, r.row_count desc, r.feed, r.rule, r.field
