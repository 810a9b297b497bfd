-- one row per organisation name within a sender, wherever it is named, with the organisation of that name in the sender's tree if there is just one
{{ config(materialized='incremental', unique_key='organisation_name_id') }}
with named as (
    select sender_code, region_system, organisation_name, named_by, mention_count
    from {{ ref('organisation_mention') }}
    union all
    select _sender_code as sender_code, region_system, organisation_name, 'member' as named_by, cast(1 as bigint) as mention_count
    from {{ ref('stg_team_member') }}
    where organisation_name is not null
),

counted as (
    select
        region_system,
        sender_code,
        organisation_name,
        coalesce(sum(case when named_by = 'event' then mention_count end), cast(0 as bigint)) as event_count,
        coalesce(sum(case when named_by = 'step' then mention_count end), cast(0 as bigint)) as step_count,
        coalesce(sum(case when named_by = 'member' then mention_count end), cast(0 as bigint)) as member_count
    from named
    group by region_system, sender_code, organisation_name
),

in_tree as (
    select sender_code, organisation_name, min(organisation_id) as organisation_id
    from {{ ref('organisation') }}
    group by sender_code, organisation_name
    having count(*) = 1
)

select
    substring(sha2(concat_ws('|', counted.region_system, counted.sender_code, counted.organisation_name), 256), 1, 32) as organisation_name_id,
    counted.organisation_name,
    counted.sender_code,
    counted.region_system,
    in_tree.organisation_id,
    counted.event_count,
    counted.step_count,
    counted.member_count
from counted
left join in_tree on counted.sender_code = in_tree.sender_code and counted.organisation_name = in_tree.organisation_name
