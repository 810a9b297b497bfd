-- one row per region and span of days in which its name, level and parent were the same; before its first day a region is as it began
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'valid_from']) }}
{{ history(
    'region', ['region_system', 'region_code'], ['region_name', 'region_level', 'parent_code'], begins='valid_from', ends='valid_to', days=true
) }}
