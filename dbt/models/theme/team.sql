-- one row per grid: its team as of today; a grid without members has a team of none
{{ config(materialized='incremental', unique_key='grid_id') }}
select
    grid.grid_id,
    grid.region_system,
    grid.region_code,
    count(case when member.role_code = 'leader' then 1 end) as leader_count,
    count(case when member.role_code = 'dedicated' then 1 end) as dedicated_count,
    count(case when member.role_code = 'part_time' then 1 end) as part_time_count,
    count(case when member.role_code = 'adviser' then 1 end) as adviser_count,
    count(case when member.role_code not in ('leader', 'dedicated', 'part_time', 'adviser') then 1 end) as other_count,
    count(member.member_id) as member_count,
    count(case when member.role_code = 'leader' then 1 end) > 0 as has_leader
from {{ ref('grid') }} as grid
-- multiplies rows: a grid by its members
left join {{ ref('team_member') }} as member on grid.grid_id = member.grid_id and member.is_current
group by grid.grid_id, grid.region_system, grid.region_code
