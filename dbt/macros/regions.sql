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
