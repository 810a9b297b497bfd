{% set forever = "date '9999-12-31'" -%}
{% set ever = "date '1900-01-01'" -%}
-- one row per region or grid that has ever been, level, and span of days: what stood above it, or in its place, at that level in that span
-- `business_date >= valid_from and (valid_to is null or business_date < valid_to)` counts a record by the regions of its own day; any other day in
-- the place of `business_date` counts it by the regions of that day. What was divided, and names no village, counts for the region above.
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'ancestor_level', 'valid_from']) }}
with reported as (
    select
        region_system,
        region_code,
        region_level,
        parent_code,
        valid_from,
        row_number() over (partition by region_system, region_code order by valid_from) as _place,
        lead(valid_from) over (partition by region_system, region_code order by valid_from) as followed_on
    from {{ ref('region_history') }}
    -- What was called off before it began never was.
    where valid_to is null or valid_to > valid_from
),

-- Before its first day a region is as it began, after its last as it ended: what names it then counts nevertheless.
node as (
    select
        region_system,
        region_code,
        region_level,
        parent_code,
        case when _place = 1 then {{ ever }} else valid_from end as valid_from,
        coalesce(followed_on, {{ forever }}) as valid_to
    from reported
    union all
    select listed.region_system, listed.region_code, listed.region_level, listed.parent_code, {{ ever }} as valid_from, {{ forever }} as valid_to
    from {{ ref('region') }} as listed
    left anti join {{ ref('region_history') }} as told on listed.region_system = told.region_system and listed.region_code = told.region_code
),

above_0 as (
    select region_system, region_code, region_code as ancestor_code, region_level as ancestor_level, parent_code, valid_from, valid_to
    from node
),
{% for distance in range(4) %}

above_{{ distance + 1 }} as (
    select
        below.region_system,
        below.region_code,
        node.region_code as ancestor_code,
        node.region_level as ancestor_level,
        node.parent_code,
        greatest(below.valid_from, node.valid_from) as valid_from,
        least(below.valid_to, node.valid_to) as valid_to
    from above_{{ distance }} as below
    -- multiplies rows: a span of a region by those of its parent in it
    inner join node
        on
            below.region_system = node.region_system
            and below.parent_code = node.region_code
            and below.valid_from < node.valid_to
            and node.valid_from < below.valid_to
            -- A ring of parents ends here.
            and below.ancestor_level > node.region_level
),
{% endfor %}

-- By the codes as they were given: a code below its own parents, whatever stands in its place now.
given as (
    {% for distance in range(5) %}
    select region_system, region_code, ancestor_code, ancestor_level, valid_from, valid_to from above_{{ distance }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

standing as (
    select region_system, region_code, standing_code, valid_from, coalesce(valid_to, {{ forever }}) as valid_to, is_whole
    from {{ ref('region_standing') }}
),

last_parent as (
    select region_system, region_code, parent_code
    from node
    where valid_to = {{ forever }}
),

-- A divided region goes by what it lay in, and that by what stands for it.
place_0 as (
    select region_system, region_code, region_code as stands_by, valid_from, valid_to
    from (
        select distinct region_system, region_code, {{ ever }} as valid_from, {{ forever }} as valid_to
        from standing
    ) as touched
),
{% for distance in range(4) %}

place_{{ distance + 1 }} as (
    select distinct
        below.region_system,
        below.region_code,
        last_parent.parent_code as stands_by,
        greatest(below.valid_from, divided.valid_from) as valid_from,
        least(below.valid_to, divided.valid_to) as valid_to
    from place_{{ distance }} as below
    inner join standing as divided
        on
            below.region_system = divided.region_system
            and below.stands_by = divided.region_code
            and not divided.is_whole
            and below.valid_from < divided.valid_to
            and below.valid_to > divided.valid_from
    inner join last_parent on below.region_system = last_parent.region_system and below.stands_by = last_parent.region_code
),
{% endfor %}

stands_by as (
    {% for distance in range(5) %}
    select region_system, region_code, stands_by, valid_from, valid_to from place_{{ distance }}
    {{ 'union all' if not loop.last }}
    {% endfor %}
),

whole as (
    select
        stands_by.region_system,
        stands_by.region_code,
        coalesce(standing.standing_code, stands_by.stands_by) as standing_code,
        greatest(stands_by.valid_from, coalesce(standing.valid_from, {{ ever }})) as valid_from,
        least(stands_by.valid_to, coalesce(standing.valid_to, {{ forever }})) as valid_to
    from stands_by
    left join standing
        on
            stands_by.region_system = standing.region_system
            and stands_by.stands_by = standing.region_code
            and stands_by.valid_from < standing.valid_to
            and stands_by.valid_to > standing.valid_from
    where standing.is_whole is null or standing.is_whole
    union all
    select node.region_system, node.region_code, node.region_code as standing_code, {{ ever }} as valid_from, {{ forever }} as valid_to
    from (select distinct region_system, region_code from node) as node
    left anti join standing on node.region_system = standing.region_system and node.region_code = standing.region_code
),

region as (
    select
        whole.region_system,
        whole.region_code,
        given.ancestor_code,
        given.ancestor_level,
        greatest(whole.valid_from, given.valid_from) as valid_from,
        least(whole.valid_to, given.valid_to) as valid_to
    from whole
    -- multiplies rows: a region by its ancestors
    inner join given
        on
            whole.region_system = given.region_system
            and whole.standing_code = given.region_code
            and whole.valid_from < given.valid_to
            and whole.valid_to > given.valid_from
),

moved as (
    select
        region_system,
        grid_id,
        region_code,
        {{ local_date('valid_from', 'region_system') }} as moved_on,
        valid_from,
        lag(region_code) over (partition by grid_id order by valid_from) as region_code_before
    from {{ ref('grid_history') }}
),

grid as (
    select
        region_system,
        grid_id,
        region_code,
        case when region_code_before is null then {{ ever }} else moved_on end as valid_from,
        coalesce(lead(moved_on) over (partition by grid_id order by valid_from), {{ forever }}) as valid_to
    from moved
    where region_code_before is null or region_code_before <> region_code
),

every as (
    select region_system, region_code, ancestor_code, ancestor_level, valid_from, valid_to
    from region
    union all
    select
        grid.region_system,
        grid.grid_id as region_code,
        region.ancestor_code,
        region.ancestor_level,
        greatest(grid.valid_from, region.valid_from) as valid_from,
        least(grid.valid_to, region.valid_to) as valid_to
    from grid
    -- multiplies rows: a grid by its ancestors
    inner join region
        on
            grid.region_system = region.region_system
            and grid.region_code = region.region_code
            and grid.valid_from < region.valid_to
            and grid.valid_to > region.valid_from
    union all
    select distinct
        region_system,
        grid_id as region_code,
        grid_id as ancestor_code,
        cast(6 as bigint) as ancestor_level,
        {{ ever }} as valid_from,
        {{ forever }} as valid_to
    from grid
)

select region_system, region_code, ancestor_code, ancestor_level, valid_from, case when valid_to < {{ forever }} then valid_to end as valid_to
from every
where valid_from < valid_to
