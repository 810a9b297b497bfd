{# Every code stands in the code list, in any version of it. #}
{% test in_code_list(model, column_name, list_name) %}
select coded.code, coded.row_count
from (
    select {{ column_name }} as code, count(*) as row_count from {{ model }} where {{ column_name }} is not null group by {{ column_name }}
) as coded
left anti join {{ source('reference', 'code_list') }} as listed
    on coded.code = listed.code and listed.list_name = '{{ list_name }}'
{% endtest %}
