-- one row per feed, sender and day of receipt (in the feed's zone)
{{ config(materialized='incremental', unique_key=['feed', 'sender_code', 'business_date']) }}
with receipt as (
    select
        *,
        case feed
            {% for feed in feeds() %}when '{{ feed }}' then {{ business_date('received_at', zone_of(feed)) }}
            {% endfor %}else {{ business_date('received_at', 'UTC') }}
        end as business_date
    from {{ source('ops', 'receipt') }}
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
    max(received_at) as last_received_at
from receipt
group by feed, sender_code, business_date
