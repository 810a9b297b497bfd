-- one row per organisation name within a sender, wherever it is named
{{ config(materialized='incremental', unique_key='organisation_id') }}
with named as (
    select _sender_code as sender_code, region_system, organisation_name, 1 as events, 0 as steps, 0 as members
    from {{ ref('stg_event') }}
    union all
    select _sender_code as sender_code, region_system, actor_organisation as organisation_name, 0 as events, 1 as steps, 0 as members
    from {{ ref('stg_event_step') }}
    union all
    select _sender_code as sender_code, region_system, organisation_name, 0 as events, 0 as steps, 1 as members
    from {{ ref('stg_team_member') }}
)

select
    substring(sha2(concat_ws('|', region_system, sender_code, organisation_name), 256), 1, 32) as organisation_id,
    organisation_name,
    sender_code,
    region_system,
    sum(cast(events as bigint)) as event_count,
    sum(cast(steps as bigint)) as step_count,
    sum(cast(members as bigint)) as member_count
from named
where organisation_name is not null
group by region_system, sender_code, organisation_name
