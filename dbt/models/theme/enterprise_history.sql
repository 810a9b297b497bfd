-- one row per market entity and span of time in which its name, kind, place and status were the same
{{ config(materialized='incremental', unique_key=['enterprise_id', 'valid_from']) }}
{{ history('enterprise', ['enterprise_id'], [
    'region_system', 'region_code', 'grid_code', 'address_code', 'uscc', 'enterprise_name', 'enterprise_type_code', 'industry_code', 'status_code'
]) }}
