{#
How an incremental model reaches its table. A model with a unique key says what the table is to hold; one MERGE touches only the rows that differ, and removes
those that the model no longer gives. So increments end where a full refresh ends, a killed run can be repeated, and a run that changes nothing commits nothing.
`meta: {complete: false}` is for a model that gives only the rows that may have changed: nothing is removed then.

The difference is kept in a scratch table for the length of the statement: Sail evaluates the source of a MERGE several times.
#}
{% macro spark__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) %}
    {%- set keys = [unique_key] if unique_key is string else unique_key -%}
    {#- By a query: a table that was registered by its place alone is described without columns on Sail. -#}
    {%- set columns = get_columns_in_query('select * from ' ~ target) -%}
    {%- set listed = columns | join(', ') -%}
    {%- set changes = 'changes.' ~ target.schema ~ '__' ~ target.identifier -%}

    {% call statement('difference') %}
        create or replace table {{ changes }}
        using delta options (overwriteSchema 'true')
        location '{{ var("scratch") }}/{{ target.schema }}__{{ target.identifier }}'
        as
        select {{ prefixed('wanted', columns) }}, cast(false as boolean) as _is_gone
        from {{ source }} as wanted
        left anti join {{ target }} as present on {{ same(keys, '=') }} and {{ same(columns, '<=>') }}
        {% if config.get('meta', {}).get('complete', true) %}
        union all
        select {{ prefixed('present', columns) }}, cast(true as boolean) as _is_gone
        from {{ target }} as present
        left anti join {{ source }} as wanted on {{ same(keys, '=') }}
        {% endif %}
    {% endcall %}

    merge into {{ target }} as present
    using {{ changes }} as wanted
    on {{ same(keys, '=') }}
    when matched and wanted._is_gone then delete
    when matched then update set
        {% for column in columns %}{{ column }} = wanted.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    when not matched then insert ({{ listed }})
    values ({{ prefixed('wanted', columns) }})
{% endmacro %}

{% macro same(columns, operator) -%}
    {% for column in columns %}present.{{ column }} {{ operator }} wanted.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro prefixed(prefix, columns) -%}
    {% for column in columns %}{{ prefix }}.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
