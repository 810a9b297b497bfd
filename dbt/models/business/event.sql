-- one row per current event
{{ config(
    materialized='incremental',
    unique_key='event_id',
    partition_by='business_month',
    pre_hook="{{ event_progress() }}",
    meta={
        'compared': [
            '_source_position', 'grid_code', 'step_count', 'handling_step_count', 'first_response_minutes', 'is_closed', 'limit_kind_code',
            'working_handling_minutes', 'is_overdue',
        ],
        'looked_up': ['as_of', 'resolved.grid_code'],
    }
) }}
-- depends_on: {{ ref('event_step') }} {{ source('resolved', 'grid_code') }}
{% set changed = changed_events() if follows() %}
{% set months = months_with(this, changed, ['event_id']) + moved_months('event') if changed %}
{{ gives(months, changed, ['event_id']) if changed }}
-- In every join here the narrower side stands first: the embedded engine holds it in memory. This one comes before the others, while the engine
-- still knows how wide both are.
with stepped as (
    select
        reported.*,
        step.step_count,
        step.handling_step_count,
        step.first_response_at
    from changes.event_progress as step
    right outer join {{ rows_of_changed(ref('stg_event'), months, changed, ['event_id']) }} as reported on step.event_id = reported.event_id
),

coded as (
    select
        stepped.*,
        code.grid_code
    from {{ source('resolved', 'grid_code') }} as code
    right outer join stepped on code.grid_id = stepped.grid_id
),

measured as (
    select
        reported.*,
        reported.closed_at is not null or final_state.code is not null as is_closed,
        -- An event may end without being closed (withdrawn, not accepted): its clock stops with that change.
        coalesce(reported.closed_at, case when final_state.code is not null then reported.changed_at end, {{ as_of() }}) as measured_until
    from {{ codes_marked('event_state', 'is_final') }} as final_state
    right outer join coded as reported on final_state.code = reported.state_code
),

limited as (
    select
        measured.*,
        item.limit_hours,
        item.limit_kind_code
    from {{ item_limits('class_code') }} as item
    right outer join measured on item.class_code = measured.class_code and {{ in_force('item', 'measured.business_date') }}
),

{{ clocked('limited', 'reported_at', 'measured_until') }}

select
    event.event_id,
    event.local_id,
    event._sender_code as sender_code,
    event.feed,
    event.region_system,
    event.region_code,
    event.grid_id,
    event.grid_code,
    event.class_code,
    event.level_code,
    event.state_code,
    event.channel_code,
    event.organisation_name,
    event.description,
    event.closing_note,
    event.longitude,
    event.latitude,
    event.longitude_original,
    event.latitude_original,
    event.occurred_at,
    event.reported_at,
    event.deadline_at,
    event.closed_at,
    event.changed_at,
    event.business_date,
    event.business_month,
    coalesce(event.step_count, cast(0 as bigint)) as step_count,
    coalesce(event.handling_step_count, cast(0 as bigint)) as handling_step_count,
    {{ minutes_between('event.reported_at', 'event.first_response_at') }} as first_response_minutes,
    {{ minutes_between('event.reported_at', 'event.closed_at') }} as handling_minutes,
    case when event.closed_at is not null then event.working_minutes end as working_handling_minutes,
    event.is_closed,
    event.limit_kind_code,
    {{ overrun('event', 'event.measured_until') }} as is_overdue,
    event.reporter_member_id,
    {{ prefixed('event', audit_columns()) }}
from clocked as event
