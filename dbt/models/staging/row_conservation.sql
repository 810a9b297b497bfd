-- one row per feed: what became of each of its bronze rows
-- Counted by key and content, not joined row by row: an aggregate goes on on disk where it does not fit the memory, a join cannot.
{{ config(materialized='incremental', unique_key='feed', meta={'complete': false}) }}
-- A feed that brought nothing since the last build is as it was; one that is declared no more makes another project, which is built anew.
{% for feed in (arrived_feeds() if is_incremental() else feeds()) %}
select
    '{{ feed }}' as feed,
    coalesce(sum(landed_count), cast(0 as bigint)) as bronze_count,
    count(case when known_op = 'upsert' and newest_count = 1 then 1 end) as current_count,
    count(case when known_op = 'delete' and newest_count = 1 then 1 end) as deleted_count,
    coalesce(sum(equal_count - newest_count), cast(0 as bigint)) as repeated_count,
    -- Rows of a key that staging has lost are in no count.
    coalesce(sum(case when known_op is not null then landed_count - equal_count end), cast(0 as bigint)) as superseded_count,
    coalesce(sum(staged_count), cast(0 as bigint)) as staged_count
from (
    -- one row per sender and key
    select
        sum(landed_count) as landed_count,
        sum(case when staged_count > 0 then landed_count else 0 end) as equal_count,
        sum(staged_count) as staged_count,
        max(known_op) as known_op,
        -- Of equal rows the last one is the newest.
        max(case when landed_position = known_position then 1 else 0 end) as newest_count
    from (
        -- one row per sender, key and content
        select
            _sender_code,
            _source_key,
            count(landed_position) as landed_count,
            count(known_position) as staged_count,
            max(landed_position) as landed_position,
            max(known_position) as known_position,
            max(known_op) as known_op
        from (
            select
                _sender_code,
                {{ source_key(key_of(feed)) }} as _source_key,
                _payload_digest,
                _source_position as landed_position,
                cast(null as string) as known_position,
                cast(null as string) as known_op
            from {{ source('bronze', feed) }}
            union all
            select
                _sender_code,
                _source_key,
                _payload_digest,
                cast(null as string) as landed_position,
                _source_position as known_position,
                _op as known_op
            from {{ ref('stg_' ~ feed) }}
        ) as rows_of_both
        group by _sender_code, _source_key, _payload_digest
    ) as content
    group by _sender_code, _source_key
) as fate
{{ 'union all' if not loop.last }}
{% endfor %}
