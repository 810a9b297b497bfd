{#
The body of a library table that is as its feed has it: an entity's current rows in the contract's columns, without the number of their version and the
ciphertext of free text, `derived` columns by their expression, then who sent them. A small table of these is written anew (dbt's `table`), which costs less
than to find out what has changed.
#}
{% macro as_reported(entity, derived={}) %}
    {%- set staged = entity_columns(entity) -%}
    {%- set left_out = ['source_version', 'region_system', 'business_date', 'business_month', 'feed'] + audit_columns() -%}
    {%- set columns = [] -%}
    {%- for name in staged if name not in left_out and not (name.endswith('_sealed') and name[: -7] in staged) -%}
        {%- do columns.append(name) -%}
    {%- endfor -%}
    {%- for name, expression in derived.items() -%}
        {%- do columns.append(expression ~ ' as ' ~ name) -%}
    {%- endfor -%}
    select
        {{ columns | join(',\n        ') }},
        _sender_code as sender_code,
        feed,
        region_system,
        business_date,
        {{ audit_columns() | join(', ') }}
    from {{ ref('stg_' ~ entity) }}
{% endmacro %}
