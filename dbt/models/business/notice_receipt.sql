-- one row per notice and whoever receives it
{{ config(materialized='incremental', unique_key='receipt_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('notice_receipt', {'read_minutes': minutes_between('delivered_at', 'read_at')}) }}
