-- one row per current grid, as departments may draw it: where it is, how large, how staffed; nothing about a person
{{ config(materialized='incremental', unique_key='grid_id') }}
with path as (
    select
        closure.region_system,
        closure.region_code as grid_id,
        max(case when closure.ancestor_level = 1 then region.region_name end) as province_name,
        max(case when closure.ancestor_level = 2 then region.region_code end) as city_code,
        max(case when closure.ancestor_level = 2 then region.region_name end) as city_name,
        max(case when closure.ancestor_level = 3 then region.region_code end) as county_code,
        max(case when closure.ancestor_level = 3 then region.region_name end) as county_name,
        max(case when closure.ancestor_level = 4 then region.region_code end) as township_code,
        max(case when closure.ancestor_level = 4 then region.region_name end) as township_name,
        max(case when closure.ancestor_level = 5 then region.region_code end) as village_code,
        max(case when closure.ancestor_level = 5 then region.region_name end) as village_name
    from {{ ref('region_closure') }} as closure
    inner join {{ ref('region') }} as region
        on closure.region_system = region.region_system and closure.ancestor_code = region.region_code
    where closure.region_level = 6
    group by closure.region_system, closure.region_code
)

select
    grid.grid_id,
    grid.grid_code,
    grid.grid_name,
    grid.grid_type_code,
    grid.region_system,
    grid.region_code,
    path.province_name,
    path.city_code,
    path.city_name,
    path.county_code,
    path.county_name,
    path.township_code,
    path.township_name,
    path.village_code,
    path.village_name,
    grid.household_count,
    grid.resident_count,
    grid.longitude,
    grid.latitude,
    grid.established_date,
    team.leader_count,
    team.dedicated_count,
    team.part_time_count,
    team.adviser_count,
    team.other_count,
    team.member_count,
    grid.changed_at
from {{ ref('grid') }} as grid
left join path on grid.region_system = path.region_system and grid.grid_id = path.grid_id
left join {{ ref('team') }} as team on grid.grid_id = team.grid_id
