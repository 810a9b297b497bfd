{#
The body of a library table that is as its feed has it: an entity's current rows in the contract's columns, without the number of their version, then who
sent them. Such a table is small and written anew (dbt's `table`), which costs less than to find out what has changed.
#}
{% macro as_reported(entity) %}
    {%- set columns = [] -%}
    {%- for name in entity_columns(entity) if name != 'source_version' and name not in ['region_system', 'business_date', 'feed'] + audit_columns() -%}
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
