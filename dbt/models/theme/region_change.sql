-- one row per region and region that it replaced, in whole or in part: since when, and what share of the old one's villages and residents went over
{{ config(materialized='incremental', unique_key=['region_system', 'old_code', 'new_code']) }}
-- multiplies rows: a region by those that it replaces
with succession as (
    select region_system, region_code as new_code, region_level, valid_from as changed_on, explode(split(replaces_codes, ',')) as old_code
    from {{ ref('region') }}
    where replaces_codes is not null and valid_from is not null
),

counted as (
    select
        *,
        count(*) over (partition by region_system, old_code) as successor_count,
        count(*) over (partition by region_system, new_code) as predecessor_count
    from succession
),

resident as (
    select region_system, grid_id as region_code, resident_count
    from {{ ref('grid') }}
),

-- The villages and grids of an old region on its last day; multiplies rows: a change by them.
was_below as (
    select
        changed.region_system,
        changed.old_code,
        changed.new_code,
        changed.changed_on,
        below.region_code,
        resident.resident_count,
        resident.region_code is null as is_village
    from succession as changed
    inner join {{ ref('region_closure_history') }} as below
        on
            changed.region_system = below.region_system
            and changed.old_code = below.ancestor_code
            and changed.changed_on > below.valid_from
            and coalesce(below.valid_to, date '9999-12-31') >= changed.changed_on
    left join resident on below.region_system = resident.region_system and below.region_code = resident.region_code
    -- A village in its own name: its later codes lay below the old region too.
    left semi join {{ ref('region_closure_history') }} as itself
        on
            below.region_system = itself.region_system
            and below.region_code = itself.region_code
            and below.region_code = itself.ancestor_code
            and itself.ancestor_level >= 5
            and changed.changed_on > itself.valid_from
            and coalesce(itself.valid_to, date '9999-12-31') >= changed.changed_on
),

shared as (
    select
        was_below.region_system,
        was_below.old_code,
        was_below.new_code,
        count(case when was_below.is_village then 1 end) as old_village_count,
        count(case when was_below.is_village and over.region_code is not null then 1 end) as village_count,
        count(case when not was_below.is_village and over.region_code is not null then 1 end) as grid_count,
        sum(was_below.resident_count) as old_resident_count,
        sum(case when over.region_code is not null then was_below.resident_count end) as resident_count
    from was_below
    left join {{ ref('region_closure_history') }} as over
        on
            was_below.region_system = over.region_system
            and was_below.region_code = over.region_code
            and was_below.new_code = over.ancestor_code
            and was_below.changed_on >= over.valid_from
            and coalesce(over.valid_to, date '9999-12-31') > was_below.changed_on
    group by was_below.region_system, was_below.old_code, was_below.new_code
)

select
    counted.region_system,
    counted.old_code,
    old.region_name as old_name,
    counted.new_code,
    new.region_name as new_name,
    counted.region_level,
    counted.changed_on,
    case
        when old.valid_to is null then 'ceded'
        when counted.successor_count > 1 then 'split'
        when counted.predecessor_count > 1 then 'merged'
        else 'renumbered'
    end as change_code,
    coalesce(shared.village_count, cast(0 as bigint)) as village_count,
    coalesce(shared.grid_count, cast(0 as bigint)) as grid_count,
    coalesce(shared.resident_count, cast(0 as bigint)) as resident_count,
    cast(shared.village_count as double) / nullif(cast(shared.old_village_count as double), cast(0 as double)) as village_share,
    cast(shared.resident_count as double) / nullif(cast(shared.old_resident_count as double), cast(0 as double)) as resident_share
from counted
inner join {{ ref('region') }} as new on counted.region_system = new.region_system and counted.new_code = new.region_code
left join {{ ref('region') }} as old on counted.region_system = old.region_system and counted.old_code = old.region_code
left join shared
    on counted.region_system = shared.region_system and counted.old_code = shared.old_code and counted.new_code = shared.new_code
