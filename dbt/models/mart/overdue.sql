-- one row per day, lowest region, organisation and class of events that overran their deadline
{{ config(materialized='incremental', unique_key=['business_date', 'region_system', 'region_code', 'organisation_name', 'class_code']) }}
select
    business_date,
    region_system,
    region_code,
    coalesce(organisation_name, '') as organisation_name,
    class_code,
    count(*) as overdue_count,
    count(case when not is_closed then 1 end) as open_overdue_count
from {{ ref('event') }}
where is_overdue
group by business_date, region_system, region_code, coalesce(organisation_name, ''), class_code
