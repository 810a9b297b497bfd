-- one row per city or county and step of its connection: a stage of an application, or a component of its platform; the others are empty then
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'application_code', 'component_code', 'stage_code']) }}
with step as (
    select
        region_system,
        region_code,
        application_code,
        '' as component_code,
        stage_code,
        state_code,
        planned_date,
        finished_date,
        open_problem_count
    from {{ ref('application_connection') }}
    union all
    select
        region_system,
        region_code,
        '' as application_code,
        component_code,
        '' as stage_code,
        state_code,
        planned_date,
        finished_date,
        cast(0 as bigint) as open_problem_count
    from {{ ref('platform_upgrade') }}
)

select
    region_system,
    region_code,
    application_code,
    component_code,
    stage_code,
    count(*) as step_count,
    count(case when state_code = 'done' then 1 end) as done_count,
    count(case when state_code = 'in_progress' then 1 end) as in_progress_count,
    count(case when state_code = 'blocked' then 1 end) as blocked_count,
    count(case when coalesce(finished_date, {{ last_day('region_system') }}) > planned_date then 1 end) as late_count,
    coalesce(sum(open_problem_count), cast(0 as bigint)) as open_problem_count
from step
group by region_system, region_code, application_code, component_code, stage_code
