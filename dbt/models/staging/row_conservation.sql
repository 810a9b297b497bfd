-- one row per feed: what became of each of its bronze rows
{{ config(materialized='incremental', unique_key='feed') }}
{% for feed in feeds() %}
select
    '{{ feed }}' as feed,
    count(*) as bronze_count,
    count(case when is_newest and known_op = 'upsert' then 1 end) as current_count,
    count(case when is_newest and known_op = 'delete' then 1 end) as deleted_count,
    count(case when not is_newest and is_equal then 1 end) as repeated_count,
    count(case when not is_newest and not is_equal then 1 end) as superseded_count,
    (select count(*) from {{ ref('stg_' ~ feed) }}) as staged_count
from (
    select
        known._op as known_op,
        landed._source_position = known._source_position as is_newest,
        landed._payload_digest = known._payload_digest as is_equal
    from {{ source('bronze', feed) }} as landed
    left join {{ ref('stg_' ~ feed) }} as known
        on landed._sender_code = known._sender_code and {{ source_key(key_of(feed), 'landed.') }} = known._source_key
) as fate
{{ 'union all' if not loop.last }}
{% endfor %}
