{# Every code stands in the code list, in any version of it. #}
{% test in_code_list(model, column_name, list_name) %}
select coded.{{ column_name }}, count(*) as row_count
from {{ model }} as coded
left anti join {{ source('reference', 'code_list') }} as listed
    on coded.{{ column_name }} = listed.code and listed.list_name = '{{ list_name }}'
where coded.{{ column_name }} is not null
group by coded.{{ column_name }}
{% endtest %}
