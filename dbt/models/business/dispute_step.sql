-- one row per step of settling a dispute
-- depends_on: {{ ref('stg_dispute_step') }}
{{ config(
    materialized='incremental', unique_key='step_id', partition_by='business_month',
    meta={'compared': ['_source_position', 'minutes_since_previous'], 'looked_up': []}
) }}
{{ steps_of('dispute_step', 'dispute_id') }}
