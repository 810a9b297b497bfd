-- one row per item (matter) and version of it
-- A class of events, type of disputes or of tasks without a published item is its own, by the vocabulary's word.
{{ config(materialized='incremental', unique_key=['item_code', 'item_version']) }}
with dispute_type as (
    select
        code as dispute_type_code,
        name_zh,
        get_json_object(attributes, '$.event_class_code') as class_code
    from {{ source('reference', 'code_list') }}
    where list_name = 'dispute_type'
),

-- Of several types of one class, which no list has yet, the first stands for it.
type_of_class as (
    select class_code, min(dispute_type_code) as dispute_type_code
    from dispute_type
    where class_code is not null
    group by class_code
),

default_item as (
    select
        class.class_code as item_code,
        row_number() over (partition by class.class_code order by class.valid_from) as item_version,
        class.class_name as item_name,
        class.parent_code,
        class.class_code,
        type_of_class.dispute_type_code,
        cast(null as string) as task_type_code,
        class.limit_hours,
        class.responsible_role,
        class.valid_from,
        class.valid_to
    from {{ ref('event_class') }} as class
    left join type_of_class on class.class_code = type_of_class.class_code
    left anti join {{ ref('stg_item_catalogue') }} as published on class.class_code = published.class_code
    union all
    select
        concat('dispute-', dispute_type.dispute_type_code) as item_code,
        1 as item_version,
        dispute_type.name_zh as item_name,
        cast(null as string) as parent_code,
        cast(null as string) as class_code,
        dispute_type.dispute_type_code,
        cast(null as string) as task_type_code,
        cast(null as bigint) as limit_hours,
        cast(null as string) as responsible_role,
        date '1900-01-01' as valid_from,
        cast(null as date) as valid_to
    from dispute_type
    left anti join {{ ref('stg_item_catalogue') }} as published on dispute_type.dispute_type_code = published.dispute_type_code
    where dispute_type.class_code is null
    union all
    select
        concat('task-', task_type.code) as item_code,
        1 as item_version,
        task_type.name_zh as item_name,
        cast(null as string) as parent_code,
        cast(null as string) as class_code,
        cast(null as string) as dispute_type_code,
        task_type.code as task_type_code,
        cast(null as bigint) as limit_hours,
        cast(null as string) as responsible_role,
        date '1900-01-01' as valid_from,
        cast(null as date) as valid_to
    from {{ source('reference', 'code_list') }} as task_type
    left anti join {{ ref('stg_item_catalogue') }} as published on task_type.code = published.task_type_code
    where task_type.list_name = 'task_type'
)

select
    item_code,
    item_version,
    item_name,
    parent_code,
    class_code,
    dispute_type_code,
    task_type_code,
    region_level,
    limit_hours,
    limit_kind_code,
    responsible_role,
    legal_basis,
    valid_from,
    valid_to,
    replaces_codes,
    false as is_default,
    _sender_code as sender_code,
    feed,
    changed_at,
    {{ audit_columns() | join(', ') }}
from {{ ref('stg_item_catalogue') }}
union all
select
    item_code,
    cast(item_version as bigint) as item_version,
    item_name,
    parent_code,
    class_code,
    dispute_type_code,
    task_type_code,
    cast(null as bigint) as region_level,
    limit_hours,
    case when limit_hours is not null then 'calendar' end as limit_kind_code,
    responsible_role,
    cast(null as string) as legal_basis,
    valid_from,
    valid_to,
    cast(null as string) as replaces_codes,
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
from default_item
