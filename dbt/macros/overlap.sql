{#
How often two feeds were told the same of the same subjects, for each pair of columns that the contracts let be compared: a row a pair.
Subjects with several rows in a feed count once, as alike where any two of their rows are.
#}
{% macro told_twice() %}
    {% for pair in asked_twice() %}
    select
        '{{ pair.one.feed }}' as feed,
        '{{ pair.one.title }}' as feed_title,
        '{{ pair.other.feed }}' as other_feed,
        '{{ pair.other.title }}' as other_feed_title,
        '{{ pair.key }}' as subject_key,
        overlap.column_name,
        overlap.column_title,
        overlap.other_column_name,
        overlap.other_column_title,
        overlap.is_same_by_contract,
        overlap.told_count,
        overlap.alike_count
    from (
        select
            explode(array(
                {% for name, title, other_name, other_title, one, other, is_same in pair.columns -%}
                named_struct(
                    'column_name', '{{ name }}', 'column_title', '{{ title }}',
                    'other_column_name', '{{ other_name }}', 'other_column_title', '{{ other_title }}',
                    'is_same_by_contract', {{ is_same | lower }},
                    'told_count', told_{{ loop.index }},
                    'alike_count', alike_{{ loop.index }}
                ){{ ',' if not loop.last }}
                {% endfor %}
            )) as overlap
        -- one row
        from (
        select
            {% for column in pair.columns -%}
            coalesce(sum(told_{{ loop.index }}), cast(0 as bigint)) as told_{{ loop.index }},
            coalesce(sum(alike_{{ loop.index }}), cast(0 as bigint)) as alike_{{ loop.index }}{{ ',' if not loop.last }}
            {% endfor %}
        from (
            select
                {% for name, title, other_name, other_title, one, other, is_same in pair.columns -%}
                max(case when {{ one }} is not null and {{ other }} is not null then cast(1 as bigint) else cast(0 as bigint) end) as told_{{ loop.index }},
                max(case when {{ one }} = {{ other }} then cast(1 as bigint) else cast(0 as bigint) end) as alike_{{ loop.index }},
                {% endfor -%}
                one.{{ pair.one.key }} as subject
            from {{ ref('stg_' ~ pair.one.entity) }} as one
            -- may multiply rows: a subject with several rows in both
            inner join {{ ref('stg_' ~ pair.other.entity) }} as other on one.{{ pair.one.key }} = other.{{ pair.other.key }}
            group by one.{{ pair.one.key }}
        ) as subject
        ) as counted
    ) as pair
    {{ 'union all' if not loop.last }}
    {% endfor %}
{% endmacro %}
