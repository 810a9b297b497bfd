-- one row per current team_member of a sender, over every feed that conforms to it
{{ config(materialized='incremental', unique_key=['feed', '_source_position'], meta={'compared': []}) }}
{{ current_rows('team_member') }}
