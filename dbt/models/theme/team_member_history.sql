-- one row per member of a grid team and span of time in which his grid, role, office and dates were the same
{{ config(materialized='incremental', unique_key=['member_id', 'valid_from']) }}
{{ history('team_member', ['member_id'], ['region_system', 'grid_id', 'role_code', 'organisation_name', 'joined_date', 'left_date']) }}
