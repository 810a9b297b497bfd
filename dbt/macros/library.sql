{#
The body of a library table that is as its feed has it: an entity's current rows in the contract's columns, without the number of their version and the
ciphertext of free text, then who sent them. Such a table is small and written anew (dbt's `table`), which costs less than to find out what has changed.
#}
{% macro as_reported(entity) %}
    {%- set staged = entity_columns(entity) -%}
    {%- set left_out = ['source_version', 'region_system', 'business_date', 'business_month', 'feed'] + audit_columns() -%}
    {%- set columns = [] -%}
    {%- for name in staged if name not in left_out and not (name.endswith('_sealed') and name[: -7] in staged) -%}
        {%- do columns.append(name) -%}
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
