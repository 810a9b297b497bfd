{#
How an incremental model reaches its table. A model with a unique key says what the table is to hold; one MERGE touches only the rows that differ, and removes
those that the model no longer gives. So increments end where a full refresh ends, a killed run can be repeated, and a run that changes nothing commits nothing.
    meta: {complete: false}       the model gives only rows that may have changed: nothing is removed
    meta: {compared: [columns]}   the columns that tell whether a row has changed, where the rest follows from them and the key; without it every column
    meta: {looked_up: [tables]}   the model follows changes (macros/follow.sql): its SQL says which keys and months it gives, and only these are compared
    partition_by: business_month  a row that moves to another month is one that goes and one that comes; only months with differing rows are written

Keys first, then rows, each kept in a scratch table: the keys that differ are few and narrow, and Sail evaluates the source of a MERGE several times.
#}
{% macro spark__get_merge_sql(target, source, unique_key, dest_columns, incremental_predicates) %}
    {%- set by_month = ['business_month'] if config.get('partition_by') else [] -%}
    {%- set keys = ([unique_key] if unique_key is string else unique_key) + by_month -%}
    {#- By a query: a table that was registered by its place alone is described without columns on Sail. -#}
    {%- set columns = get_columns_in_query('select * from ' ~ target) -%}
    {%- set others = columns | reject('in', keys) | list -%}
    {%- set said = config.get('meta', {}) -%}
    {%- set compared = said.get('compared', others) -%}
    {%- set name = target.schema ~ '__' ~ target.identifier -%}
    {%- set gives = given() -%}

    {% call statement('differing_keys') %}
        {{ scratch_table(name ~ '__keys') }}
        {% if said.get('complete', true) %}
        select
            {% for key in keys %}coalesce(wanted.{{ key }}, present.{{ key }}) as {{ key }}, {% endfor %}wanted.{{ keys[0] }} is null as _is_gone
        from (select {{ (keys + compared) | join(', ') }} from {{ source }}) as wanted
        full outer join {{ present_rows(target, keys + compared, gives) }} as present on {{ same(keys, '=') }}
        where wanted.{{ keys[0] }} is null or present.{{ keys[0] }} is null{% if compared %} or not ({{ same(compared, '<=>') }}){% endif %}
        {% else %}
        select {{ prefixed('wanted', keys) }}, false as _is_gone
        from {{ source }} as wanted
        left anti join {{ target }} as present on {{ same(keys, '=') }} and {{ same(compared, '<=>') }}
        {% endif %}
    {% endcall %}

    {%- set count = 'select ' ~ ('business_month, ' if by_month) ~ 'count(*) from changes.' ~ name ~ '__keys' ~ (' group by business_month' if by_month) -%}
    {%- set differing = run_query(count) -%}
    {% if differing.columns[-1].values() | sum == 0 %}
    -- Nothing differs; a MERGE of no rows would read the whole table to find that out.
    select 1
    {% else %}
    {% call statement('differing_rows') %}
        {{ scratch_table(name) }}
        select {{ prefixed('wanted', columns) }}, false as _is_gone
        from {{ source }} as wanted
        left semi join (select * from changes.{{ name }}__keys where not _is_gone) as present on {{ same(keys, '=') }}
        union all
        select {% for column in columns %}{{ column if column in keys else 'null as ' ~ column }}, {% endfor %}_is_gone
        from changes.{{ name }}__keys
        where _is_gone
    {% endcall %}

    merge into {{ target }} as present
    using changes.{{ name }} as wanted
    on {{ 'present.' ~ in_months(differing.columns[0].values()) ~ ' and ' if by_month }}{{ same(keys, '=') }}
    when matched and wanted._is_gone then delete
    when matched then update set
        {% for column in columns if column not in by_month %}{{ column }} = wanted.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
    when not matched and not wanted._is_gone then insert ({{ columns | join(', ') }})
    values ({{ prefixed('wanted', columns) }})
    {% endif %}
{% endmacro %}

{# The rows of the table that the model's are held against: all, or those of the months and keys that it says it gives. #}
{% macro present_rows(target, columns, gives) -%}
    {%- if not gives -%}
    (select {{ columns | join(', ') }} from {{ target }})
    {%- elif not gives.changed -%}
    (select {{ columns | join(', ') }} from {{ target }} where {{ in_months(gives.months) }})
    {%- else -%}
    (
        select {{ prefixed('present', columns) }}
        from (select {{ (columns + gives['keys']) | unique | join(', ') }} from {{ target }} where {{ in_months(gives.months) }}) as present
        left semi join {{ gives.changed }} as wanted on {{ same(gives['keys'], '=') }}
    )
    {%- endif -%}
{%- endmacro %}

{% macro scratch_table(name) -%}
    create or replace table changes.{{ name }}
    using delta options (overwriteSchema 'true')
    location '{{ var("scratch") }}/{{ name }}'
    as
{%- endmacro %}

{% macro same(columns, operator) -%}
    {% for column in columns %}present.{{ column }} {{ operator }} wanted.{{ column }}{{ ' and ' if not loop.last }}{% endfor %}
{%- endmacro %}

{% macro prefixed(prefix, columns) -%}
    {% for column in columns %}{{ prefix }}.{{ column }}{{ ', ' if not loop.last }}{% endfor %}
{%- endmacro %}
