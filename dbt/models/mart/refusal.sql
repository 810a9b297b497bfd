-- one row per feed, sender, rule and field: how many refused rows name it
{{ config(materialized='incremental', unique_key=['feed', 'sender_code', 'rule', 'field']) }}
{% for feed in feeds() %}
select
    '{{ feed }}' as feed,
    refused._sender_code as sender_code,
    reason.rule,
    coalesce(reason.field, '') as field,
    count(distinct refused._source_position) as row_count
from {{ source('quarantine', feed) }} as refused
-- multiplies rows: a refused row by its reasons
    lateral view explode(refused.reasons) reasons as reason
group by refused._sender_code, reason.rule, coalesce(reason.field, '')
{{ 'union all' if not loop.last }}
{% endfor %}
