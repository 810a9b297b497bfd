{#
How far each event has come by its steps: a row an event, in a scratch table. As a subquery the embedded engine takes it for as large as all steps, and holds the
events in memory instead, of which a row is a hundred times as wide.
#}
{% macro event_progress() -%}
    {{ scratch_table('event_progress') }}
    select
        event_id,
        count(*) as step_count,
        min(case when action_code <> 'report' then happened_at end) as first_response_at
    from {{ ref('event_step') }}
    group by event_id
{%- endmacro %}
