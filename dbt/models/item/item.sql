-- one row per item (matter) and version of it; a class that the catalogue has no item for is its own item, by the vocabulary's word
{{ config(materialized='incremental', unique_key=['item_code', 'item_version']) }}
with class_version as (
    select
        *,
        row_number() over (partition by class_code order by valid_from) as class_version_no
    from {{ ref('event_class') }}
)

select
    item_code,
    item_version,
    item_name,
    parent_code,
    class_code,
    region_level,
    limit_hours,
    limit_kind_code,
    responsible_role,
    legal_basis,
    valid_from,
    valid_to,
    false as is_default,
    _sender_code as sender_code,
    feed,
    changed_at,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_item_catalogue') }}
union all
select
    class_version.class_code as item_code,
    cast(class_version.class_version_no as bigint) as item_version,
    class_version.class_name as item_name,
    class_version.parent_code,
    class_version.class_code,
    cast(null as bigint) as region_level,
    class_version.limit_hours,
    case when class_version.limit_hours is not null then 'calendar' end as limit_kind_code,
    class_version.responsible_role,
    cast(null as string) as legal_basis,
    class_version.valid_from,
    class_version.valid_to,
    true as is_default,
    cast(null as string) as sender_code,
    cast(null as string) as feed,
    cast(null as timestamp) as changed_at,
    cast(null as string) as _sender_code,
    cast(null as timestamp) as _received_at,
    cast(null as string) as _source_position,
    cast(null as string) as _delivery_id,
    cast(null as string) as _op,
    cast(null as string) as _contract_version,
    cast(null as string) as _payload_digest
from class_version
left anti join {{ ref('stg_item_catalogue') }} as published on class_version.class_code = published.class_code
