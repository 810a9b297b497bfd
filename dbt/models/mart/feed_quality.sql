-- one row per feed, sender and day of receipt (in the feed's zone)
-- Receipts of replays move rows between states: they receive nothing and count for the day on which their rows were received.
{{ config(materialized='incremental', unique_key=['feed', 'sender_code', 'business_date']) }}
with counted as (
    select *, coalesce(counted_at, received_at) as counts_at
    from {{ source('ops', 'receipt') }}
),

receipt as (
    select
        *,
        case feed
            {% for feed in feeds() %}when '{{ feed }}' then {{ business_date('counts_at', zone_of(feed)) }}
            {% endfor %}else {{ business_date('counts_at', 'UTC') }}
        end as business_date
    from counted
)

select
    feed,
    sender_code,
    business_date,
    sum(received) as received,
    sum(accepted) as accepted,
    sum(refused) as refused,
    sum(duplicate) as duplicate,
    sum(waiting) as waiting,
    cast(100 as double) * cast(sum(refused) as double) / nullif(cast(sum(received) as double), cast(0 as double)) as refused_pct,
    max(counts_at) as last_received_at
from receipt
group by feed, sender_code, business_date
