-- one row per month, lowest region and role: what members of grid teams learned, were examined in and earned
-- A course counts in the month in which it was assigned.
{{ config(materialized='incremental', unique_key=['month_date', 'region_system', 'region_code', 'role_code']) }}
with of_member as (
    select
        {{ month_of(local_date('assigned_at', 'region_system')) }} as month_date,
        region_system,
        region_code,
        role_code,
        member_id,
        count(*) as course_count,
        count(case when state_code = 'finished' then 1 end) as finished_course_count,
        count(case when coalesce(finished_at, {{ as_of() }}) > deadline_at then 1 end) as late_course_count,
        sum(studied_minutes) as studied_minutes_sum,
        cast(null as bigint) as attempt_count,
        cast(null as bigint) as marked_attempt_count,
        cast(null as bigint) as passed_attempt_count,
        cast(null as bigint) as points_sum,
        cast(null as bigint) as deducted_points_sum
    from {{ ref('course_progress') }}
    group by {{ month_of(local_date('assigned_at', 'region_system')) }}, region_system, region_code, role_code, member_id
    union all
    select
        {{ month_of(local_date('submitted_at', 'region_system')) }} as month_date,
        region_system,
        region_code,
        role_code,
        member_id,
        cast(null as bigint) as course_count,
        cast(null as bigint) as finished_course_count,
        cast(null as bigint) as late_course_count,
        cast(null as bigint) as studied_minutes_sum,
        count(*) as attempt_count,
        count(is_passed) as marked_attempt_count,
        count(case when is_passed then 1 end) as passed_attempt_count,
        cast(null as bigint) as points_sum,
        cast(null as bigint) as deducted_points_sum
    from {{ ref('exam_attempt') }}
    group by {{ month_of(local_date('submitted_at', 'region_system')) }}, region_system, region_code, role_code, member_id
    union all
    select
        {{ month_of(local_date('earned_at', 'region_system')) }} as month_date,
        region_system,
        region_code,
        role_code,
        member_id,
        cast(null as bigint) as course_count,
        cast(null as bigint) as finished_course_count,
        cast(null as bigint) as late_course_count,
        cast(null as bigint) as studied_minutes_sum,
        cast(null as bigint) as attempt_count,
        cast(null as bigint) as marked_attempt_count,
        cast(null as bigint) as passed_attempt_count,
        sum(points) as points_sum,
        sum(case when points < 0 then points end) as deducted_points_sum
    from {{ ref('training_point') }}
    group by {{ month_of(local_date('earned_at', 'region_system')) }}, region_system, region_code, role_code, member_id
)

select
    month_date,
    region_system,
    region_code,
    role_code,
    count(distinct member_id) as learner_count,
    coalesce(sum(course_count), cast(0 as bigint)) as course_count,
    coalesce(sum(finished_course_count), cast(0 as bigint)) as finished_course_count,
    coalesce(sum(late_course_count), cast(0 as bigint)) as late_course_count,
    coalesce(sum(studied_minutes_sum), cast(0 as bigint)) as studied_minutes_sum,
    coalesce(sum(attempt_count), cast(0 as bigint)) as attempt_count,
    coalesce(sum(marked_attempt_count), cast(0 as bigint)) as marked_attempt_count,
    coalesce(sum(passed_attempt_count), cast(0 as bigint)) as passed_attempt_count,
    coalesce(sum(points_sum), cast(0 as bigint)) as points_sum,
    coalesce(sum(deducted_points_sum), cast(0 as bigint)) as deducted_points_sum
from of_member
group by month_date, region_system, region_code, role_code
