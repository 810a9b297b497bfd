{# Every reference of several columns leads somewhere; a null in it refers to nothing. #}
{% test refers_to(model, columns, to, to_columns) %}
select {{ prefixed('here', columns) }}, count(*) as row_count
from {{ model }} as here
left anti join {{ to }} as there
    on {% for column in columns %}here.{{ column }} = there.{{ to_columns[loop.index0] }}{{ ' and ' if not loop.last }}{% endfor %}

where {% for column in columns %}here.{{ column }} is not null{{ ' and ' if not loop.last }}{% endfor %}

group by {{ prefixed('here', columns) }}
{% endtest %}
