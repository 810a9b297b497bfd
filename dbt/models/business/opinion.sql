-- one row per current post of the public; who wrote it is in no column, so that nobody can be counted
{{ config(materialized='incremental', unique_key='post_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('opinion_post', {'answer_minutes': minutes_between('reported_at', 'answered_at')}) }}
