-- one row per grid and span of time in which its village, name, kind and counts were the same
{{ config(materialized='incremental', unique_key=['grid_id', 'valid_from']) }}
{{ history('grid', ['grid_id'], ['region_system', 'region_code', 'grid_name', 'grid_type_code', 'household_count', 'resident_count']) }}
