{#
The steps of a subject (event, dispute), each with the minutes since the one before. An increment gives all steps of the subjects of which a step has changed, since a
late step changes the one after it.
#}
{% macro steps_of(entity, subject) %}
    {%- set steps = ref('stg_' ~ entity) -%}
    {%- if follows() -%}
        {%- set changed = remember(entity ~ '__changed', 'select distinct ' ~ subject ~ ' from (' ~ moved_rows(entity, [subject]) ~ ') as moved') -%}
        {%- set months = months_with(steps, changed, [subject]) + moved_months(entity) -%}
{{ gives(months, changed, [subject]) }}
    {%- endif %}
    {%- set spans = in_spans(steps, subject) -%}
    {%- if spans %}
{{ says_spans(spans) }}
    {%- endif %}
select
    step_id,
    local_id,
    {{ subject }},
    _sender_code as sender_code,
    feed,
    region_system,
    step_no,
    action_code,
    from_state,
    to_state,
    actor_organisation,
    happened_at,
    deadline_at,
    evidence_digest,
    changed_at,
    business_date,
    business_month,
    {{ minutes_between('previous_at', 'happened_at') }} as minutes_since_previous,
    {{ audit_columns() | join(', ') }}
from (
    select *, lag(happened_at) over (partition by {{ subject }} order by step_no, happened_at, step_id) as previous_at
    from {{ spans.view if spans else rows_of_changed(steps, months, changed, [subject]) }}
) as step
{% endmacro %}
