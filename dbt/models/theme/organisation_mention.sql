-- one row per month, sender, kind of row and organisation name: how often it is named
{{ config(
    materialized='incremental', unique_key=['sender_code', 'region_system', 'named_by', 'organisation_name'], partition_by='business_month',
    meta={'looked_up': []}
) }}
{% set months = moved_months('event') + moved_months('event_step') if follows() %}
{{ gives(months) if follows() }}
with named as (
    select _sender_code as sender_code, region_system, organisation_name, business_month, 'event' as named_by
    from {{ ref('stg_event') }}
    where organisation_name is not null and {{ in_months(months) }}
    union all
    select _sender_code as sender_code, region_system, actor_organisation as organisation_name, business_month, 'step' as named_by
    from {{ ref('stg_event_step') }}
    where actor_organisation is not null and {{ in_months(months) }}
)

select
    business_month,
    sender_code,
    region_system,
    named_by,
    organisation_name,
    count(*) as mention_count
from named
group by business_month, sender_code, region_system, named_by, organisation_name
