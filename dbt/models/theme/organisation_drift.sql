-- one row per finding of what does not fit in the trees of organisations: within a tree, between it and the grids, and against the messenger's ids
{{ config(materialized='incremental', unique_key='drift_id') }}
with organisation as (
    select
        organisation.*,
        -- Since it is as it is.
        coalesce(span.valid_from, organisation.changed_at) as since
    from {{ ref('organisation') }} as organisation
    left join {{ ref('organisation_history') }} as span on organisation.organisation_id = span.organisation_id and span.is_current
),

shared_id as (
    select dingtalk_id, count(*) as holder_count, max(since) as since
    from organisation
    where dingtalk_id is not null
    group by dingtalk_id
    having count(*) > 1
),

{% set reported = 'organisation.sender_code, organisation.region_system, organisation.region_code' -%}
{% set itself = "'organisation' as subject_type, organisation.organisation_id as subject_id, organisation.organisation_name as unit_name" -%}
drift as (
    select
        'parent_missing' as drift_code, {{ reported }}, {{ itself }}, organisation.parent_organisation_id as other, organisation.since,
        concat('上级机构 ', organisation.parent_organisation_id, ' 未报送或已删除') as reason_zh
    from organisation
    left anti join {{ ref('organisation') }} as parent on organisation.parent_organisation_id = parent.organisation_id
    where organisation.parent_organisation_id is not null
    union all
    select
        'ring' as drift_code, {{ reported }}, {{ itself }}, organisation.parent_organisation_id as other, organisation.since,
        concat('上级关系成环：沿上级 ', organisation.parent_organisation_id, ' 到不了市级社会治理中心') as reason_zh
    from organisation
    inner join {{ ref('organisation_tree') }} as tree on organisation.organisation_id = tree.organisation_id
    where tree.tree_state = 'ring'
    union all
    select
        'parent_below' as drift_code, {{ reported }}, {{ itself }}, parent.organisation_id as other, organisation.since,
        concat(
            '上级机构“', parent.organisation_name, '”的层级（', cast(parent.organisation_level as string),
            '）不高于本机构（', cast(organisation.organisation_level as string), '）'
        ) as reason_zh
    from organisation
    inner join {{ ref('organisation') }} as parent on organisation.parent_organisation_id = parent.organisation_id
    -- A township's platforms stand below its command room.
    where
        parent.organisation_level > organisation.organisation_level
        or (parent.organisation_level = organisation.organisation_level and parent.organisation_type_code <> 'command_room')
    union all
    select
        'parent_elsewhere' as drift_code, {{ reported }}, {{ itself }}, parent.organisation_id as other, organisation.since,
        concat('所在区划 ', organisation.region_code, ' 不在上级机构“', parent.organisation_name, '”的区划 ', parent.region_code, ' 之内') as reason_zh
    from organisation
    inner join {{ ref('organisation') }} as parent on organisation.parent_organisation_id = parent.organisation_id
    left anti join {{ ref('region_closure') }} as closure
        on
            organisation.region_system = closure.region_system
            and organisation.region_code = closure.region_code
            and parent.region_code = closure.ancestor_code
    union all
    select
        'external_id_shared' as drift_code, {{ reported }}, {{ itself }}, organisation.dingtalk_id as other, shared_id.since,
        concat('浙政钉标识 ', organisation.dingtalk_id, ' 由 ', cast(shared_id.holder_count as string), ' 个机构共用') as reason_zh
    from organisation
    inner join shared_id on organisation.dingtalk_id = shared_id.dingtalk_id
    union all
    select
        'external_id_missing' as drift_code, {{ reported }}, {{ itself }}, cast(null as string) as other, organisation.since,
        '乡镇及以上机构没有浙政钉标识，无法与浙政钉通讯录对照' as reason_zh
    from organisation
    where organisation.dingtalk_id is null and organisation.organisation_level < 6
    union all
    select
        'external_id_changed' as drift_code, {{ reported }}, {{ itself }}, before.dingtalk_id as other, organisation.since,
        concat('浙政钉标识由 ', before.dingtalk_id, ' 改为 ', coalesce(organisation.dingtalk_id, '空')) as reason_zh
    from organisation
    inner join {{ ref('organisation_history') }} as before
        on organisation.organisation_id = before.organisation_id and organisation.since = before.valid_to
    where before.dingtalk_id is not null and not before.dingtalk_id <=> organisation.dingtalk_id
    union all
    select
        'grid_missing' as drift_code, {{ reported }}, {{ itself }}, organisation.grid_id as other, organisation.since,
        concat('对应的网格 ', organisation.grid_id, ' 未报送或已删除') as reason_zh
    from organisation
    left anti join {{ ref('grid') }} as grid on organisation.grid_id = grid.grid_id
    where organisation.grid_id is not null
    union all
    select
        'name_differs' as drift_code, {{ reported }}, {{ itself }}, grid.grid_name as other, greatest(organisation.since, named.valid_from) as since,
        concat('机构名称“', organisation.organisation_name, '”与网格名称“', grid.grid_name, '”不一致') as reason_zh
    from organisation
    inner join {{ ref('grid') }} as grid on organisation.grid_id = grid.grid_id
    inner join {{ ref('grid_history') }} as named on grid.grid_id = named.grid_id and named.is_current
    where organisation.organisation_name <> grid.grid_name
    union all
    select
        'grid_without_organisation' as drift_code, grid.sender_code, grid.region_system, grid.region_code, 'grid' as subject_type,
        grid.grid_id as subject_id, grid.grid_name as unit_name, cast(null as string) as other, named.valid_from as since,
        '网格在组织树中没有对应机构' as reason_zh
    from {{ ref('grid') }} as grid
    inner join {{ ref('grid_history') }} as named on grid.grid_id = named.grid_id and named.is_current
    left anti join {{ ref('organisation') }} as organisation on grid.grid_id = organisation.grid_id
    -- A sender that has no tree at all is not reported grid by grid.
    left semi join {{ ref('organisation') }} as sent on grid.sender_code = sent.sender_code
    union all
    select
        'name_unknown' as drift_code, sender_code, region_system, cast(null as string) as region_code, 'organisation_name' as subject_type,
        organisation_name_id as subject_id, organisation_name as unit_name, cast(null as string) as other, cast(null as timestamp) as since,
        concat(
            '事件（', cast(event_count as string), '）、步骤（', cast(step_count as string), '）、队伍（', cast(member_count as string),
            '）中的单位名称在本单位组织树中没有唯一的同名机构'
        ) as reason_zh
    from {{ ref('organisation_name') }}
    where organisation_id is null
)

select
    substring(sha2(concat_ws('|', drift_code, subject_type, subject_id), 256), 1, 32) as drift_id,
    drift_code,
    sender_code,
    region_system,
    region_code,
    subject_type,
    subject_id,
    unit_name,
    other,
    since,
    reason_zh
from drift
