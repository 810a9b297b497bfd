{# Where a model's table stands: the folder below models/ is its schema, in the catalog and on disk. #}

{% macro generate_schema_name(custom_schema_name, node) -%}
    {{ custom_schema_name or (node.fqn[1] if node.resource_type == 'model' and node.fqn | length > 2 else target.schema) }}
{%- endmacro %}

{% macro spark__location_clause() -%}
    location '{{ var("tables") }}/{{ model.schema }}/{{ model.alias }}'
{%- endmacro %}

{# Names are unique in a dbt project, tables in a schema: `mart_region` in mart/ is the table mart.region. #}
{% macro generate_alias_name(custom_alias_name=none, node=none) -%}
    {%- set schema = node.fqn[1] ~ '_' -%}
    {{ custom_alias_name or (node.name[schema | length :] if node.name.startswith(schema) else node.name) }}
{%- endmacro %}
