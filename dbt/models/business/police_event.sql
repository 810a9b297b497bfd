-- one row per current police event; who called, and from where, as ciphertext and join token only
{{ config(materialized='incremental', unique_key='police_event_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('police_event', {'transfer_minutes': minutes_between('reported_at', 'transferred_at')}) }}
