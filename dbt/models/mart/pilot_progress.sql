-- one row per quarter, city and indicator of the pilot assessment: full score, the city's own, that of the last acceptance by city and by province
{{ config(materialized='incremental', unique_key=[
    'quarter_start_date', 'region_system', 'region_code', 'dimension_code', 'responsible_department', 'indicator_code'
]) }}
with assessed as (
    select
        quarter_start_date,
        region_system,
        region_code,
        indicator_code,
        count(*) as assessment_count,
        count(case when state_code <> 'filling' then 1 end) as submitted_count,
        count(case when state_code = 'reviewed' then 1 end) as reviewed_count,
        sum(full_score) as full_score_sum,
        sum(self_score) as self_score_sum,
        sum(evidence_count) as evidence_count
    from {{ ref('self_assessment') }}
    group by quarter_start_date, region_system, region_code, indicator_code
),

-- Of several rounds the last one counts.
round as (
    select
        *,
        row_number() over (
            partition by quarter_start_date, region_system, region_code, indicator_code, level_code
            order by round_no desc, accepted_at desc, acceptance_id asc
        ) as _place
    from {{ ref('acceptance') }}
),

last_round as (
    select *
    from round
    where _place = 1
),

accepted as (
    select
        last_round.quarter_start_date,
        last_round.region_system,
        last_round.region_code,
        last_round.indicator_code,
        count(case when last_round.level_code = 'city' then 1 end) as city_acceptance_count,
        count(case when last_round.level_code = 'city' then passed.code end) as city_passed_count,
        sum(case when last_round.level_code = 'city' then last_round.score end) as city_score_sum,
        count(case when last_round.level_code = 'province' then 1 end) as province_acceptance_count,
        count(case when last_round.level_code = 'province' then passed.code end) as province_passed_count,
        sum(case when last_round.level_code = 'province' then last_round.score end) as province_score_sum,
        count(last_round.supervision_deadline_date) as supervised_count,
        count(
            case when last_round.supervision_deadline_date < {{ last_day('last_round.region_system') }} then 1 end
        ) as late_supervision_count
    from {{ codes_marked('acceptance_conclusion', 'is_passed') }} as passed
    right outer join last_round on passed.code = last_round.conclusion_code
    group by last_round.quarter_start_date, last_round.region_system, last_round.region_code, last_round.indicator_code
)

select
    assessed.quarter_start_date,
    assessed.region_system,
    assessed.region_code,
    coalesce(indicator.dimension_code, '') as dimension_code,
    coalesce(indicator.responsible_department, '') as responsible_department,
    assessed.indicator_code,
    assessed.assessment_count,
    assessed.submitted_count,
    assessed.reviewed_count,
    assessed.evidence_count,
    assessed.full_score_sum,
    coalesce(assessed.self_score_sum, cast(0 as double)) as self_score_sum,
    coalesce(accepted.city_acceptance_count, cast(0 as bigint)) as city_acceptance_count,
    coalesce(accepted.city_passed_count, cast(0 as bigint)) as city_passed_count,
    coalesce(accepted.city_score_sum, cast(0 as double)) as city_score_sum,
    coalesce(accepted.province_acceptance_count, cast(0 as bigint)) as province_acceptance_count,
    coalesce(accepted.province_passed_count, cast(0 as bigint)) as province_passed_count,
    coalesce(accepted.province_score_sum, cast(0 as double)) as province_score_sum,
    coalesce(accepted.supervised_count, cast(0 as bigint)) as supervised_count,
    coalesce(accepted.late_supervision_count, cast(0 as bigint)) as late_supervision_count
from assessed
left join {{ ref('pilot_indicator') }} as indicator on assessed.indicator_code = indicator.indicator_code
left join accepted
    on
        assessed.quarter_start_date = accepted.quarter_start_date
        and assessed.region_system = accepted.region_system
        and assessed.region_code = accepted.region_code
        and assessed.indicator_code = accepted.indicator_code
