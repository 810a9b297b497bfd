-- one row per registration of a person and span of time in which home, kind and status were the same; nothing that names him
{{ config(materialized='incremental', unique_key=['person_id', 'valid_from']) }}
{{ history('person', ['person_id'], [
    'region_system', 'region_code', 'grid_code', 'house_id', 'household_relation_code', 'person_type_code', 'status_code'
]) }}
