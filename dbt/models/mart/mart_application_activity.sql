-- one row per month, county and major application: its business there, over all who report it
{{ config(materialized='incremental', unique_key=['month_date', 'region_system', 'region_code', 'application_code']) }}
select
    activity_month as month_date,
    region_system,
    region_code,
    application_code,
    sum(received_count) as received_count,
    sum(completed_count) as completed_count,
    sum(on_time_count) as on_time_count,
    sum(coordinated_count) as coordinated_count,
    sum(active_user_count) as active_user_count,
    sum(township_count) as township_count
from {{ ref('application_activity') }}
group by activity_month, region_system, region_code, application_code
