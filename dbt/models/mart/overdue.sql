-- one row per day, lowest region, sender, organisation and class of events that overran their limit
{{ config(
    materialized='incremental',
    unique_key=['business_date', 'region_system', 'region_code', 'sender_code', 'organisation_name', 'class_code'],
    partition_by='business_month',
    meta={'looked_up': ['resolved.region_closure']}
) }}
{% set months = months_moved_in(['business.event']) + months_of_moved_grids(ref('event')) if follows() %}
{{ gives(months) if follows() }}
with placed as (
    {{ at_lowest_region(rows_in(ref('event'), months)) }}
)

select
    business_date,
    business_month,
    region_system,
    lowest_region_code as region_code,
    sender_code,
    -- A name is one within its sender.
    coalesce(organisation_name, '') as organisation_name,
    class_code,
    count(*) as overdue_count,
    count(case when not is_closed then 1 end) as open_overdue_count
from placed
where is_overdue
group by business_date, business_month, region_system, lowest_region_code, sender_code, coalesce(organisation_name, ''), class_code
