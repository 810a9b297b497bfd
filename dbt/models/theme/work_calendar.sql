-- one row per region and day: the vocabulary's day for the whole country's root, and over it what the province has published.
-- A region without a row of its own goes by the nearest one above it.
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'calendar_date']) }}
with day as (
    select
        region_system,
        region_code,
        calendar_date,
        day_type,
        day_name,
        notice_no,
        announced_date,
        false as is_default,
        feed,
        changed_at,
        {{ audit_columns() | join(', ') }}
    from {{ ref('stg_work_calendar') }}
    union all
    select
        root.region_system,
        root.region_code,
        vocabulary.date as calendar_date,
        vocabulary.day_type,
        vocabulary.name as day_name,
        cast(null as string) as notice_no,
        cast(null as date) as announced_date,
        true as is_default,
        cast(null as string) as feed,
        cast(null as timestamp) as changed_at,
        cast(null as string) as _sender_code,
        cast(null as timestamp) as _received_at,
        cast(null as string) as _source_position,
        cast(null as string) as _delivery_id,
        cast(null as string) as _op,
        cast(null as string) as _contract_version,
        cast(null as string) as _payload_digest
    from {{ source('reference', 'work_calendar') }} as vocabulary
    -- The vocabulary is the country's: one root.
    inner join {{ source('reference', 'region_vocabulary') }} as root on root.region_system = 'cn' and root.parent_code is null
    left anti join {{ ref('stg_work_calendar') }} as published
        on
            root.region_system = published.region_system
            and root.region_code = published.region_code
            and vocabulary.date = published.calendar_date
),

kind as (
    select code as day_type, get_json_object(attributes, '$.is_working_day') = 'true' as is_working_day
    from {{ source('reference', 'code_list') }}
    where list_name = 'day_type'
)

select
    day.region_system,
    day.region_code,
    day.calendar_date,
    day.day_type,
    kind.is_working_day,
    day.day_name,
    day.notice_no,
    day.announced_date,
    day.is_default,
    day.feed,
    day.changed_at,
    {{ prefixed('day', audit_columns()) }}
from day
left join kind on day.day_type = kind.day_type
