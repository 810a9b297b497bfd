-- one row per kind of matter, class or type of it, and day: how many, and by which version of an item; without an item it says why
{{ config(materialized='incremental', unique_key=['subject_type', 'subject_code', 'business_date']) }}
with counted as (
    select
        'event' as subject_type,
        coalesce(class_code, '') as subject_code,
        business_date,
        sum(event_count) as subject_count,
        sum(event_count) - sum(closed_count) as open_count
    from {{ ref('event_daily') }}
    group by coalesce(class_code, ''), business_date
    union all
    select
        'dispute' as subject_type,
        coalesce(type_code, '') as subject_code,
        business_date,
        count(*) as subject_count,
        count(case when not is_closed then 1 end) as open_count
    from {{ ref('dispute') }}
    group by coalesce(type_code, ''), business_date
    union all
    select
        'task' as subject_type,
        coalesce(type_code, '') as subject_code,
        issued_on as business_date,
        count(*) as subject_count,
        count(case when not is_finished then 1 end) as open_count
    -- A task's business date is that of its last change; the item is that of the day on which it was issued.
    from (select type_code, is_finished, {{ local_date('issued_at', 'region_system') }} as issued_on from {{ ref('task') }}) as task
    group by coalesce(type_code, ''), issued_on
),

known as (
    select distinct subject_type, subject_code
    from {{ ref('item_in_force') }}
)

select
    counted.subject_type,
    counted.subject_code,
    counted.business_date,
    in_force.item_code,
    in_force.item_version,
    case
        when in_force.item_code is not null then null
        when counted.subject_code = '' then 'no_class'
        when known.subject_code is null then 'unknown_class'
        else 'not_in_force'
    end as unresolved_code,
    counted.subject_count,
    counted.open_count
from counted
left join known on counted.subject_type = known.subject_type and counted.subject_code = known.subject_code
left join {{ ref('item_in_force') }} as in_force
    on
        counted.subject_type = in_force.subject_type
        and counted.subject_code = in_force.subject_code
        and counted.business_date >= in_force.valid_from
        and (in_force.valid_to is null or counted.business_date < in_force.valid_to)
