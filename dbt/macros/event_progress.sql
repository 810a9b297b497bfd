{#
How far each event has come by its steps: a row an event, in a scratch table. As a subquery the embedded engine takes it for as large as all steps, and holds the
events in memory instead, of which a row is a hundred times as wide.
#}
{% macro event_progress() -%}
    {%- set changed = 'changes.event__changed' if follows() -%}
    {%- set months = months_with(ref('event_step'), changed, ['event_id']) if changed -%}
    {{ scratch_table('event_progress') }}
    select
        step.event_id,
        count(*) as step_count,
        count(handling.code) as handling_step_count,
        min(case when step.action_code <> 'report' then step.happened_at end) as first_response_at
    from {{ codes_marked('step_action', 'is_handling') }} as handling
    right outer join {{ rows_of_changed(ref('event_step'), months, changed, ['event_id']) }} as step on handling.code = step.action_code
    group by step.event_id
{%- endmacro %}

{#
The events that may not be as they were, in a scratch table: those that changed themselves or by their steps, those that the clock has made overdue
since (or no longer does), and those whose grid has another code.
#}
{% macro changed_events() -%}
    {%- set parts = [] -%}
    {%- for entity in ('event', 'event_step') if moved_months(entity) -%}
        {%- do parts.append(moved_rows(entity, ['event_id'])) -%}
    {%- endfor -%}
    {%- do parts.append('select event_id from ' ~ this ~ ' where not is_closed and is_overdue <> coalesce(' ~ as_of() ~ ' > deadline_at, false)') -%}
    {%- do parts.append(
        'select known.event_id from ' ~ source('resolved', 'grid_code') ~ ' as code right outer join (select event_id, grid_id, grid_code from ' ~ this
        ~ ' where grid_id is not null) as known on code.grid_id = known.grid_id where not (code.grid_code <=> known.grid_code)'
    ) -%}
    {{ return(remember('event__changed', 'select distinct event_id from (' ~ parts | join(' union all ') ~ ') as moved')) }}
{%- endmacro %}
