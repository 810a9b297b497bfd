-- one row per day, lowest region, sender and kind of subject of visits
{{ config(materialized='incremental', unique_key=['business_date', 'region_system', 'region_code', 'sender_code', 'subject_type']) }}
with placed as (
    {{ at_lowest_region(ref('visit')) }}
)

select
    business_date,
    region_system,
    lowest_region_code as region_code,
    sender_code,
    subject_type,
    count(*) as visit_count,
    count(case when has_problem then 1 end) as problem_count,
    count(case when origin_type = 'task_object' then 1 end) as task_visit_count,
    coalesce(sum(stay_minutes), cast(0 as bigint)) as stay_minutes_sum,
    count(stay_minutes) as stay_count
from placed
group by business_date, region_system, lowest_region_code, sender_code, subject_type
