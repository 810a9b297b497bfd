-- one row per entry of points; a total is the sum of them
{{ config(materialized='incremental', unique_key='point_id', meta={'compared': ['_source_position']}) }}
{{ as_reported('training_point') }}
