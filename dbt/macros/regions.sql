{#
Rows with `lowest_region_code`: the grid, where a row names one that lies in the region it names; a grid elsewhere must not move the row there.
Every mart counts by it, and mart.region_closure leads from there to every region above.
#}
{% macro at_lowest_region(rows) -%}
    select
        placed.*,
        coalesce(inside.region_code, placed.region_code) as lowest_region_code
    -- The smaller side first: the embedded engine holds it in memory.
    from {{ source('resolved', 'region_closure') }} as inside
    right outer join {{ rows }} as placed
        on
            inside.region_system = placed.region_system
            and inside.region_code = placed.grid_id
            and inside.ancestor_code = placed.region_code
{%- endmacro %}

{#
Each region, province to village, and those above it, itself included, by how far. The closure has them too, but changes with every grid, and what counts
working time by it would be counted anew then.
#}
{% macro regions_above() -%}
    select
        region_system,
        region_code,
        above.distance,
        above.ancestor_code
    from (
        select
            village.region_system,
            village.region_code,
            explode(array(
                named_struct('distance', 0, 'ancestor_code', village.region_code),
                named_struct('distance', 1, 'ancestor_code', village.parent_code),
                named_struct('distance', 2, 'ancestor_code', township.parent_code),
                named_struct('distance', 3, 'ancestor_code', county.parent_code),
                named_struct('distance', 4, 'ancestor_code', city.parent_code)
            )) as above
        from {{ ref('region') }} as village
        left join {{ ref('region') }} as township
            on village.region_system = township.region_system and village.parent_code = township.region_code
        left join {{ ref('region') }} as county
            on township.region_system = county.region_system and township.parent_code = county.region_code
        left join {{ ref('region') }} as city
            on county.region_system = city.region_system and county.parent_code = city.region_code
    ) as path
    where above.ancestor_code is not null
{%- endmacro %}
