-- one row per day, lowest region, organisation and class of events that overran their deadline
{{ config(
    materialized='incremental',
    unique_key=['business_date', 'region_system', 'region_code', 'organisation_name', 'class_code'],
    partition_by='business_month',
    meta={'looked_up': []}
) }}
{% set months = months_moved_in(['business.event']) if follows() %}
{{ gives(months) if follows() }}
select
    business_date,
    business_month,
    region_system,
    region_code,
    coalesce(organisation_name, '') as organisation_name,
    class_code,
    count(*) as overdue_count,
    count(case when not is_closed then 1 end) as open_overdue_count
from {{ ref('event') }}
where is_overdue and {{ in_months(months) }}
group by business_date, business_month, region_system, region_code, coalesce(organisation_name, ''), class_code
