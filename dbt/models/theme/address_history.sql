-- one row per standard address and span of time in which its code, text, place and status were the same
{{ config(materialized='incremental', unique_key=['address_id', 'valid_from']) }}
{{ history('address', ['address_id'], [
    'region_system', 'region_code', 'grid_code', 'address_code', 'address_type_code', 'address_text', 'status_code'
]) }}
