-- one row per step of handling an event
-- depends_on: {{ ref('stg_event_step') }}
{{ config(
    materialized='incremental', unique_key='step_id', partition_by='business_month',
    meta={'compared': ['_source_position', 'minutes_since_previous'], 'looked_up': []}
) }}
{{ steps_of('event_step', 'event_id') }}
