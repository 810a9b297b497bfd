-- one row per organisation name within a sender, wherever it is named, with the organisation of that name in the sender's tree if there is just one
{{ config(materialized='incremental', unique_key='organisation_name_id') }}
with named as (
    select _sender_code as sender_code, region_system, organisation_name, 'event' as named_by
    from {{ ref('stg_event') }}
    union all
    select _sender_code as sender_code, region_system, actor_organisation as organisation_name, 'step' as named_by
    from {{ ref('stg_event_step') }}
    union all
    select _sender_code as sender_code, region_system, organisation_name, 'member' as named_by
    from {{ ref('stg_team_member') }}
),

counted as (
    select
        region_system,
        sender_code,
        organisation_name,
        count(case when named_by = 'event' then 1 end) as event_count,
        count(case when named_by = 'step' then 1 end) as step_count,
        count(case when named_by = 'member' then 1 end) as member_count
    from named
    where organisation_name is not null
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
