-- one row per micro-grid and span of time in which its grid, name and counts were the same
{{ config(materialized='incremental', unique_key=['micro_grid_id', 'valid_from']) }}
{{ history('micro_grid', ['micro_grid_id'], ['region_system', 'region_code', 'grid_id', 'micro_grid_name', 'household_count', 'resident_count']) }}
