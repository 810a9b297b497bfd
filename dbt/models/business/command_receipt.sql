-- one row per command message and whoever is to act on it
{{ config(materialized='incremental', unique_key='receipt_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('command_receipt', {'reply_minutes': minutes_between('sent_at', 'replied_at')}) }}
