-- one row per key person and span of time in which grid, kind, risk level, manager and status were the same; nothing that names him
{{ config(materialized='incremental', unique_key=['key_person_id', 'valid_from']) }}
{{ history('key_person', ['key_person_id'], [
    'region_system', 'region_code', 'grid_id', 'person_type_code', 'risk_level_code', 'manager_member_id', 'status_code'
]) }}
