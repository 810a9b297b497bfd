-- one row per month and grid: its team against 1+3+N on the month's last day, in the running month on the last whole day; thirteen months
{{ config(materialized='incremental', unique_key=['month_date', 'region_system', 'region_code']) }}
with required as (
    select
        max(case when code = 'leader' then needed end) as leader,
        max(case when code = 'dedicated' then needed end) as dedicated,
        max(case when code = 'part_time' then needed end) as part_time,
        max(case when code = 'adviser' then needed end) as adviser
    from (
        select code, cast(get_json_object(attributes, '$.required_count') as bigint) as needed
        from {{ source('reference', 'code_list') }}
        where list_name = 'team_role'
    ) as role
),

-- multiplies rows: a grid by its months
month as (
    select
        region_system,
        grid_id,
        established_date,
        last_day,
        add_months({{ month_of('last_day') }}, -months_ago) as month_date
    from (
        select *, {{ last_day('region_system') }} as last_day, explode(sequence(0, 12)) as months_ago
        from {{ ref('grid') }}
    ) as grid
),

standing as (
    select
        region_system,
        grid_id,
        month_date,
        least(last_day, date_sub(add_months(month_date, 1), 1)) as counted_on
    from month
    where coalesce(established_date <= least(last_day, date_sub(add_months(month_date, 1), 1)), true)
),

counted as (
    select
        standing.month_date,
        standing.region_system,
        standing.grid_id,
        count(case when member.role_code = 'leader' then 1 end) as leader_count,
        count(case when member.role_code = 'dedicated' then 1 end) as dedicated_count,
        count(case when member.role_code = 'part_time' then 1 end) as part_time_count,
        count(case when member.role_code = 'adviser' then 1 end) as adviser_count,
        count(case when member.role_code not in ('leader', 'dedicated', 'part_time', 'adviser') then 1 end) as other_count,
        count(member.member_id) as member_count
    from standing
    -- multiplies rows: a grid by its members
    left join {{ ref('team_member') }} as member
        on
            standing.grid_id = member.grid_id
            and standing.counted_on >= member.joined_date
            and coalesce(standing.counted_on < member.left_date, true)
    group by standing.month_date, standing.region_system, standing.grid_id
),

short as (
    select
        counted.*,
        greatest(required.leader - counted.leader_count, cast(0 as bigint)) as leader_short,
        greatest(required.dedicated - counted.dedicated_count, cast(0 as bigint)) as dedicated_short,
        greatest(required.part_time - counted.part_time_count, cast(0 as bigint)) as part_time_short,
        greatest(required.adviser - counted.adviser_count, cast(0 as bigint)) as adviser_short
    from counted
    -- one row
    cross join required
)

select
    month_date,
    region_system,
    grid_id as region_code,
    cast(1 as bigint) as grid_count,
    leader_count,
    dedicated_count,
    part_time_count,
    adviser_count,
    other_count,
    member_count,
    leader_short as leader_short_count,
    dedicated_short as dedicated_short_count,
    part_time_short as part_time_short_count,
    adviser_short as adviser_short_count,
    cast(leader_short + dedicated_short + part_time_short + adviser_short > 0 as bigint) as short_grid_count,
    cast(leader_short > 0 as bigint) as grid_without_leader_count
from short
