-- one row per region: the region whose calendar holds there, itself or the nearest one above it; none where there is no calendar above
{{ config(materialized='incremental', unique_key=['region_system', 'region_code']) }}
with own as (
    select distinct region_system, region_code
    from {{ ref('work_calendar') }}
),

ranked as (
    select
        closure.region_system,
        closure.region_code,
        own.region_code as calendar_region_code,
        row_number() over (partition by closure.region_system, closure.region_code order by closure.distance, closure.ancestor_code) as nearest
    from own
    inner join {{ ref('region_closure') }} as closure on own.region_system = closure.region_system and own.region_code = closure.ancestor_code
    where closure.region_level <= 5
)

select region_system, region_code, calendar_region_code
from ranked
where nearest = 1
