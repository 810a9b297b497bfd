-- one row per house and span of time in which its place, use, letting and occupants were the same
{{ config(materialized='incremental', unique_key=['house_id', 'valid_from']) }}
{{ history('house', ['house_id'], ['region_system', 'region_code', 'grid_code', 'address_code', 'house_use_code', 'is_rented', 'occupant_count']) }}
