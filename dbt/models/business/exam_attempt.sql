-- one row per member's attempt at an exam
{{ config(materialized='incremental', unique_key='attempt_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('exam_attempt', {'exam_minutes': minutes_between('started_at', 'submitted_at')}) }}
