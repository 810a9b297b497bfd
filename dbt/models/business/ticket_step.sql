-- one row per step of a ticket
{{ config(materialized='incremental', unique_key='step_id', meta={'compared': ['_source_position', 'minutes_since_previous']}) }}
{{ as_reported('ticket_step', {
    'minutes_since_previous': minutes_between('lag(happened_at) over (partition by ticket_id order by step_no, happened_at, step_id)', 'happened_at')
}) }}
