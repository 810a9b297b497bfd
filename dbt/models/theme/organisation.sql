-- one row per organisation name within a sender, wherever it is named
{{ config(materialized='incremental', unique_key='organisation_id') }}
with named as (
    select _sender_code as sender_code, region_system, organisation_name, 'event' as named_by
    from {{ ref('stg_event') }}
    union all
    select _sender_code as sender_code, region_system, actor_organisation as organisation_name, 'step' as named_by
    from {{ ref('stg_event_step') }}
    union all
    select _sender_code as sender_code, region_system, organisation_name, 'member' as named_by
    from {{ ref('stg_team_member') }}
)

select
    substring(sha2(concat_ws('|', region_system, sender_code, organisation_name), 256), 1, 32) as organisation_id,
    organisation_name,
    sender_code,
    region_system,
    count(case when named_by = 'event' then 1 end) as event_count,
    count(case when named_by = 'step' then 1 end) as step_count,
    count(case when named_by = 'member' then 1 end) as member_count
from named
where organisation_name is not null
group by region_system, sender_code, organisation_name
