-- one row per feed, sender, rule and field: how many rows that are refused now name it
{{ config(materialized='incremental', unique_key=['feed', 'sender_code', 'rule', 'field']) }}
{% for feed in feeds() %}
select
    '{{ feed }}' as feed,
    refused._sender_code as sender_code,
    reason.rule,
    coalesce(reason.field, '') as field,
    count(distinct refused._source_position) as row_count
from (
    select _sender_code, _source_position, reasons
    from (
        -- A replay appends a row's new state. Only rows that it has moved are compared, by narrow columns.
        select kept._sender_code, kept._source_position, kept.reasons, kept.state, coalesce(kept.state_number, 0) as number, moved.newest
        from (
            select _source_position, max(state_number) as newest
            from {{ source('quarantine', feed) }}
            where state_number > 0
            group by _source_position
        ) as moved
        right outer join {{ source('quarantine', feed) }} as kept on moved._source_position = kept._source_position
    ) as states
    where state = 'refused' and number = coalesce(newest, 0)
) as refused
-- multiplies rows: a refused row by its reasons
    lateral view explode(refused.reasons) reasons as reason
group by refused._sender_code, reason.rule, coalesce(reason.field, '')
{{ 'union all' if not loop.last }}
{% endfor %}
