-- one row per feed: what became of each of its bronze rows
{{ config(materialized='incremental', unique_key='feed') }}
{% for feed in feeds() %}
select
    '{{ feed }}' as feed,
    count(*) as bronze_count,
    count(case when known._source_position = landed._source_position and known._op = 'upsert' then 1 end) as current_count,
    count(case when known._source_position = landed._source_position and known._op = 'delete' then 1 end) as deleted_count,
    count(
        case when known._source_position <> landed._source_position and known._payload_digest = landed._payload_digest then 1 end
    ) as repeated_count,
    count(
        case when known._source_position <> landed._source_position and known._payload_digest <> landed._payload_digest then 1 end
    ) as superseded_count,
    max(staged.staged_count) as staged_count
from {{ source('bronze', feed) }} as landed
left join {{ ref('stg_' ~ feed) }} as known
    on landed._sender_code = known._sender_code and {{ source_key(key_of(feed), 'landed.') }} = known._source_key
-- one row
cross join (select count(*) as staged_count from {{ ref('stg_' ~ feed) }}) as staged
{{ 'union all' if not loop.last }}
{% endfor %}
