{#
The months of findings of which something may be told otherwise than at the last build: those that changed themselves or lie elsewhere, those whose feedback,
handling or task changed, and those that the clock has made overdue since (or no longer does).
#}
{% macro months_of_moved_loops() -%}
    {%- set parts = [
        moved_values(ref('problem_feedback'), 'finding_id', 'finding_id', ['feedback_id', '_source_position']),
        moved_values(ref('handling_result'), 'origin_id', 'finding_id', ['result_id', '_source_position'], "origin_type = 'finding'"),
        moved_values(ref('task'), 'origin_id', 'finding_id', ['task_id', '_source_position'], "origin_type = 'finding'"),
    ] | select | list -%}
    {%- set clocks = [as_of(), "timestamp '" ~ var('was_as_of') ~ "'"] | sort -%}
    {%- do parts.append(
        'select origin_id as finding_id from ' ~ ref('handling_result') ~ " where origin_type = 'finding' and deadline_at between " ~ clocks | join(' and ')
    ) -%}
    {%- set changed = remember('loop_closure__changed', 'select distinct finding_id from (' ~ parts | join(' union all ') ~ ') as moved') -%}
    {{ return(
        months_moved_in(['finding.finding']) + months_of_moved_grids(source('finding', 'finding')) + months_with(source('finding', 'finding'), changed, ['finding_id'])
    ) }}
{%- endmacro %}
