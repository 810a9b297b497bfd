-- one row per day, lowest region, sender, class and level of events
{{ config(
    materialized='incremental',
    unique_key=['business_date', 'region_system', 'region_code', 'sender_code', 'class_code', 'level_code'],
    partition_by='business_month',
    meta={'looked_up': ['resolved.region_closure']}
) }}
{% set months = months_moved_in(['business.event', 'finding.finding']) + months_of_moved_grids(ref('event')) if follows() %}
{{ gives(months) if follows() }}
with invalid as (
    select distinct subject_id as event_id
    from {{ source('finding', 'finding') }}
    where model = 'invalid_event' and score >= threshold and {{ in_months(months) }}
),

placed as (
    {{ at_lowest_region(rows_in(ref('event'), months)) }}
)

select
    placed.business_date,
    placed.business_month,
    placed.region_system,
    placed.lowest_region_code as region_code,
    placed.sender_code,
    placed.class_code,
    placed.level_code,
    count(*) as event_count,
    count(case when placed.is_closed then 1 end) as closed_count,
    count(case when placed.is_overdue then 1 end) as overdue_count,
    count(invalid.event_id) as invalid_count,
    coalesce(sum(placed.handling_minutes), cast(0 as bigint)) as handling_minutes_sum,
    count(placed.handling_minutes) as handling_count
from invalid
right outer join placed on invalid.event_id = placed.event_id
group by
    placed.business_date,
    placed.business_month,
    placed.region_system,
    placed.lowest_region_code,
    placed.sender_code,
    placed.class_code,
    placed.level_code
