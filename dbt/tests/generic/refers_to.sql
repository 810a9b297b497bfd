{# Every reference of several columns leads somewhere; a null in it refers to nothing. Each is looked up once, in a table that the engine holds in memory. #}
{% test refers_to(model, columns, to, to_columns) %}
select {{ prefixed('here', columns) }}, here.row_count
from (select {{ to_columns | join(', ') }}, true as is_there from {{ to }}) as there
right outer join (
    select {{ columns | join(', ') }}, count(*) as row_count
    from {{ model }}
    where {% for column in columns %}{{ column }} is not null{{ ' and ' if not loop.last }}{% endfor %}

    group by {{ columns | join(', ') }}
) as here
    on {% for column in columns %}there.{{ to_columns[loop.index0] }} = here.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}

where there.is_there is null
{% endtest %}

{# dbt's own test of one column looks up every row, and holds the rows that refer in memory. #}
{% test relationships(model, column_name, to, field) %}
{{ test_refers_to(model, [column_name], to, [field]) }}
{% endtest %}
