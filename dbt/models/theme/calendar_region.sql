-- one row per region: the region whose calendar holds there, itself or the nearest one above it; none where there is no calendar above
{{ config(materialized='incremental', unique_key=['region_system', 'region_code']) }}
with own as (
    select distinct region_system, region_code
    from {{ ref('work_calendar') }}
),

region as (
    {{ regions_above() }}
),

ranked as (
    select
        region.region_system,
        region.region_code,
        own.region_code as calendar_region_code,
        row_number() over (partition by region.region_system, region.region_code order by region.distance) as nearest
    from own
    inner join region on own.region_system = region.region_system and own.region_code = region.ancestor_code
)

select region_system, region_code, calendar_region_code
from ranked
where nearest = 1
