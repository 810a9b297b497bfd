{# The codes of a list that an attribute marks as true: those of states that are final, for instance. #}
{% macro codes_marked(list_name, attribute) -%}
    (
        select code
        from {{ source('reference', 'code_list') }}
        where list_name = '{{ list_name }}' and get_json_object(attributes, '$.{{ attribute }}') = 'true'
    )
{%- endmacro %}
