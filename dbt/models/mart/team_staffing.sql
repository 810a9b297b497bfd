-- one row per region of any level that has grids, rolled up from its grids' teams
{{ config(materialized='incremental', unique_key=['region_system', 'region_code']) }}
with staffing as (
    select
        closure.region_system,
        closure.ancestor_code as region_code,
        max(closure.ancestor_level) as region_level,
        count(*) as grid_count,
        sum(team.leader_count) as leader_count,
        sum(team.dedicated_count) as dedicated_count,
        sum(team.part_time_count) as part_time_count,
        sum(team.adviser_count) as adviser_count,
        sum(team.other_count) as other_count,
        count(case when not team.has_leader then 1 end) as grids_without_leader_count,
        sum(team.member_count) as member_count
    from {{ ref('team') }} as team
    -- multiplies rows: a grid by its ancestors
    inner join {{ ref('region_closure') }} as closure
        on team.region_system = closure.region_system and team.grid_id = closure.region_code
    group by closure.region_system, closure.ancestor_code
)

select
    *,
    cast(member_count as double) / cast(grid_count as double) as member_per_grid
from staffing
