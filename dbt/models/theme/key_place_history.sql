-- one row per key place and span of time in which its grid, kind, risk level, manager and status were the same
{{ config(materialized='incremental', unique_key=['key_place_id', 'valid_from']) }}
{{ history('key_place', ['key_place_id'], [
    'region_system', 'region_code', 'grid_id', 'place_type_code', 'risk_level_code', 'manager_member_id', 'status_code'
]) }}
