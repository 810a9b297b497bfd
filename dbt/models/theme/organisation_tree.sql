-- one row per current organisation: its way up to the root, as far as it leads
{{ config(materialized='incremental', unique_key='organisation_id') }}
with above_0 as (
    select
        organisation_id,
        organisation_id as top_id,
        parent_organisation_id as next_id,
        organisation_id as organisation_path,
        organisation_name as name_path,
        0 as depth
    from {{ ref('organisation') }}
),
{#- City, county, command room, platform or grid: nobody has more than three above him, so five mean a ring. -#}
{% for step in range(5) %}

above_{{ step + 1 }} as (
    select
        below.organisation_id,
        coalesce(parent.organisation_id, below.top_id) as top_id,
        case when parent.organisation_id is null then below.next_id else parent.parent_organisation_id end as next_id,
        case
            when parent.organisation_id is null then below.organisation_path else concat(parent.organisation_id, '/', below.organisation_path)
        end as organisation_path,
        case when parent.organisation_id is null then below.name_path else concat(parent.organisation_name, '/', below.name_path) end as name_path,
        below.depth + case when parent.organisation_id is null then 0 else 1 end as depth
    from above_{{ step }} as below
    left join {{ ref('organisation') }} as parent on below.next_id = parent.organisation_id
){{ ',' if not loop.last }}
{% endfor %}

select
    organisation_id,
    case when next_id is null then top_id end as root_organisation_id,
    case when depth < 5 then organisation_path else organisation_id end as organisation_path,
    case when depth < 5 then name_path end as name_path,
    cast(case when depth < 5 then depth end as bigint) as depth,
    case when next_id is null then 'whole' when depth < 5 then 'orphan' else 'ring' end as tree_state
from above_5
