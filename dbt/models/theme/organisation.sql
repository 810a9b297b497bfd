-- one row per current organisation of the 141 tree, as its sender draws it
{{ config(materialized='incremental', unique_key='organisation_id', meta={'compared': ['_source_position']}) }}
select
    organisation.organisation_id,
    organisation.local_id,
    organisation._sender_code as sender_code,
    organisation.feed,
    organisation.region_system,
    organisation.region_code,
    organisation.grid_id,
    organisation.organisation_name,
    organisation.organisation_type_code,
    organisation.organisation_level,
    organisation.parent_organisation_id,
    organisation.dingtalk_id,
    organisation.changed_at,
    organisation.business_date,
    {{ prefixed('organisation', audit_columns()) }}
from {{ ref('stg_organisation') }} as organisation
