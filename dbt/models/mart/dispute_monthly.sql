-- one row per month of registration, lowest region, sender, type and level of disputes
{{ config(materialized='incremental', unique_key=['month_date', 'region_system', 'region_code', 'sender_code', 'type_code', 'level_code']) }}
with placed as (
    {{ at_lowest_region(ref('dispute')) }}
)

select
    {{ month_of('placed.business_date') }} as month_date,
    placed.region_system,
    placed.lowest_region_code as region_code,
    placed.sender_code,
    placed.type_code,
    placed.level_code,
    count(*) as dispute_count,
    count(case when placed.is_closed then 1 end) as closed_count,
    count(settled.code) as settled_count,
    count(case when placed.is_overdue then 1 end) as overdue_count,
    sum(placed.mediation_count) as mediation_count,
    coalesce(sum(placed.handling_minutes), cast(0 as bigint)) as handling_minutes_sum,
    count(placed.handling_minutes) as handling_count,
    coalesce(sum(placed.working_handling_minutes), cast(0 as bigint)) as working_handling_minutes_sum,
    count(placed.working_handling_minutes) as working_handling_count
from {{ codes_marked('dispute_result', 'is_settled') }} as settled
right outer join placed on settled.code = placed.result_code
group by
    {{ month_of('placed.business_date') }},
    placed.region_system,
    placed.lowest_region_code,
    placed.sender_code,
    placed.type_code,
    placed.level_code
