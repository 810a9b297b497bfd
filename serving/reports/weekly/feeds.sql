-- one row per feed of the region system: everything received up to the snapshot from senders of the region, of regions below or above it, or of all
with place as (
    select region_code from mart.region_closure where region_system = $system and ancestor_code = $code
    union
    select ancestor_code from mart.region_closure where region_system = $system and region_code = $code
)
select
    feed,
    count(distinct sender_code)::bigint as sender_count,
    sum(received)::bigint as received,
    sum(accepted)::bigint as accepted,
    sum(refused)::bigint as refused,
    round(100.0 * sum(refused) / nullif(sum(received), 0), 2)::double as refused_pct
from mart.feed_quality
where feed in (select unnest($feeds))
  and sender_code in (select sender_code from mart.sender where region_code = '*' or region_code in (select region_code from place))
group by feed
order by feed
