{#- From one numbering to another in so many steps: a region that was renumbered more often is met by the test that all codes reach today. -#}
{% set steps = 3 -%}
-- one row per code that a change of regions has touched, span of days, and code that stood for its territory in that span; its own in its own time
-- A region that only cedes a part keeps its code and stands for itself.
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'standing_code', 'valid_from']) }}
-- multiplies rows: a region by those that it replaces
with succession as (
    select region_system, region_code as new_code, valid_from as changed_on, explode(split(replaces_codes, ',')) as old_code
    from {{ ref('region') }}
    where replaces_codes is not null and valid_from is not null
),

ended as (
    select succession.region_system, succession.old_code as region_code, min(succession.changed_on) as ended_on
    from succession
    inner join {{ ref('region') }} as old
        on succession.region_system = old.region_system and succession.old_code = old.region_code and old.valid_to is not null
    group by succession.region_system, succession.old_code
),

begun as (
    select region_system, new_code as region_code, min(changed_on) as begun_on
    from succession
    group by region_system, new_code
),

touched as (
    select region_system, new_code as region_code from succession
    union
    select region_system, old_code as region_code from succession
),

life as (
    select
        touched.region_system,
        touched.region_code,
        coalesce(begun.begun_on, date '1900-01-01') as begun_on,
        ended.ended_on
    from touched
    left join begun on touched.region_system = begun.region_system and touched.region_code = begun.region_code
    left join ended on touched.region_system = ended.region_system and touched.region_code = ended.region_code
),

itself as (
    select region_system, region_code, region_code as standing_code, begun_on as valid_from, ended_on as valid_to
    from life
),
{% for step in range(steps) %}

later_{{ step + 1 }} as (
    select
        before.region_system,
        before.region_code,
        succession.new_code as standing_code,
        life.begun_on as valid_from,
        life.ended_on as valid_to
    from {{ 'later_' ~ step if step else 'itself' }} as before
    inner join succession on before.region_system = succession.region_system and before.standing_code = succession.old_code
    inner join life on succession.region_system = life.region_system and succession.new_code = life.region_code
    where before.valid_to is not null
),

earlier_{{ step + 1 }} as (
    select
        after.region_system,
        after.region_code,
        succession.old_code as standing_code,
        life.begun_on as valid_from,
        succession.changed_on as valid_to
    from {{ 'earlier_' ~ step if step else 'itself' }} as after
    inner join succession on after.region_system = succession.region_system and after.standing_code = succession.new_code
    inner join life on succession.region_system = life.region_system and succession.old_code = life.region_code
),
{% endfor %}

every as (
    select region_system, region_code, standing_code, valid_from, valid_to from itself
    {% for step in range(steps) %}
    union all
    select region_system, region_code, standing_code, valid_from, valid_to from later_{{ step + 1 }}
    union all
    select region_system, region_code, standing_code, valid_from, valid_to from earlier_{{ step + 1 }}
    {% endfor %}
),

-- Of the same code by several ways the longest span.
span as (
    select region_system, region_code, standing_code, valid_from, case when count(valid_to) = count(*) then max(valid_to) end as valid_to
    from every
    group by region_system, region_code, standing_code, valid_from
)

select
    region_system,
    region_code,
    standing_code,
    valid_from,
    valid_to,
    -- Nothing else of the same region reaches into this span.
    coalesce(ended_before <= valid_from, true) and coalesce(followed_on >= valid_to, followed_on is null) as is_whole
from (
    select
        *,
        max(coalesce(valid_to, date '9999-12-31')) over (
            partition by region_system, region_code
            order by valid_from, standing_code rows between unbounded preceding and 1 preceding
        ) as ended_before,
        lead(valid_from) over (partition by region_system, region_code order by valid_from, standing_code) as followed_on
    from span
) as placed
