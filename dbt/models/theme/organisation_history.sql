-- one row per organisation and span of time in which its name, kind, parent, place and external id were the same
{{ config(materialized='incremental', unique_key=['organisation_id', 'valid_from']) }}
{{ history('organisation', ['organisation_id'], [
    'region_system', 'region_code', 'grid_id', 'organisation_name', 'organisation_type_code',
    'organisation_level', 'parent_organisation_id', 'dingtalk_id'
]) }}
