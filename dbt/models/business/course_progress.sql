-- one row per member and course
{{ config(materialized='incremental', unique_key='progress_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('course_progress') }}
