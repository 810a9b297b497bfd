{#
Models that follow: an increment whose cost is that of what has changed, not that of the history. gridlake.transform says which models may (`following`: all that
moved above them are partitioned tables whose former files are there, or what they look up themselves) and where tables moved (`moved`: by table the
version at the last build and the months that changed since). Such a model asks for its changed keys first, into a scratch table, then for the months in
which their rows lie, and writes these months into its SQL as literals: that is what opens a few partitions instead of all.
#}

{% macro follows() -%}
    {{ return(execute and is_incremental() and model.name in var('following', [])) }}
{%- endmacro %}

{# The months of staging in which an entity's rows changed. #}
{% macro moved_months(entity) -%}
    {%- set tables = [] -%}
    {%- for feed in conforming(entity) -%}{%- do tables.append('staging.stg_' ~ feed) -%}{%- endfor -%}
    {{ return(months_moved_in(tables)) }}
{%- endmacro %}

{# The months in which any of these tables changed. #}
{% macro months_moved_in(tables) -%}
    {%- set months = [] -%}
    {%- for table in tables -%}{%- do months.extend(var('moved', {}).get(table, {}).get('months', [])) -%}{%- endfor -%}
    {{ return(months | unique | sort) }}
{%- endmacro %}

{# The months of the days that have become whole since the last build, or are no longer, in whichever zone. #}
{% macro months_of_new_days() -%}
    {%- set clocks = [var('as_of'), var('was_as_of')] | sort -%}
    {%- set first, last = modules.datetime.date.fromisoformat(clocks[0][:10]), modules.datetime.date.fromisoformat(clocks[1][:10]) -%}
    {%- set months = [] -%}
    {%- for days in range(-2, (last - first).days + 2) -%}
        {%- do months.append((first + modules.datetime.timedelta(days=days)).isoformat()[:7]) -%}
    {%- endfor -%}
    {{ return(months | unique | list) }}
{%- endmacro %}

{# An entity's staged rows that are not as they were at the last build: these columns of them, as they are and as they were. #}
{% macro moved_rows(entity, columns) -%}
    {%- set parts = [] -%}
    {%- for feed in conforming(entity) if 'staging.stg_' ~ feed in var('moved', {}) -%}
        {%- set table = 'staging.stg_' ~ feed -%}
        {%- set moved = var('moved')[table] -%}
        {%- set shown = 'select ' ~ (columns + ['_sender_code', '_source_key', '_source_position', 'business_month']) | unique | join(', ') ~ ' from ' -%}
        {%- set there = ' where ' ~ in_months(moved.months) -%}
        {%- set later, before = shown ~ table ~ there, shown ~ table ~ ' version as of ' ~ moved.version ~ there -%}
        {%- set alike = same(['_sender_code', '_source_key', '_source_position', 'business_month'], '=') -%}
        {%- do parts.append('select ' ~ prefixed('wanted', columns) ~ ' from (' ~ later ~ ') as wanted left anti join (' ~ before ~ ') as present on ' ~ alike) -%}
        {%- do parts.append('select ' ~ prefixed('wanted', columns) ~ ' from (' ~ before ~ ') as wanted left anti join (' ~ later ~ ') as present on ' ~ alike) -%}
    {%- endfor -%}
    {{ return(parts | join(' union all ')) }}
{%- endmacro %}

{# Of a table's rows that are not as they were at the last build one column under a name, as it is and as it was; `keys` tell rows apart. Nothing where none moved. #}
{% macro moved_values(relation, column, name, keys, condition='true') -%}
    {%- set moved = var('moved', {}).get(relation.schema ~ '.' ~ relation.identifier) -%}
    {%- if moved -%}
        {%- set shown = 'select ' ~ ([column] + keys) | unique | join(', ') ~ ' from ' ~ relation -%}
        {%- set there = ' where ' ~ in_months(moved.months) ~ ' and ' ~ condition -%}
        {%- set later, before = shown ~ there, shown ~ ' version as of ' ~ moved.version ~ there -%}
        {%- set alike = same(keys, '=') -%}
        select wanted.{{ column }} as {{ name }} from ({{ later }}) as wanted left anti join ({{ before }}) as present on {{ alike }}
        union all
        select wanted.{{ column }} as {{ name }} from ({{ before }}) as wanted left anti join ({{ later }}) as present on {{ alike }}
    {%- endif -%}
{%- endmacro %}

{# Keep changed keys in the scratch table `name`; gives it as {table, keys}. #}
{% macro remember(name, query) -%}
    {%- do run_query(scratch_table(name) ~ ' ' ~ query) -%}
    {{ return('changes.' ~ name) }}
{%- endmacro %}

{# The months of a relation's rows that have one of the changed keys. #}
{% macro months_with(relation, changed, keys) -%}
    {%- set query -%}
        select distinct present.business_month
        from (select {{ (keys + ['business_month']) | join(', ') }} from {{ relation }}) as present
        left semi join {{ changed }} as wanted on {{ same(keys, '=') }}
    {%- endset -%}
    {{ return(run_query(query).columns[0].values() | list) }}
{%- endmacro %}

{# A literal condition; true for a table without months. #}
{% macro in_months(months) -%}
    {%- if months is none or months is undefined -%}
        true
    {%- elif months -%}
        business_month in ({% for month in months | sort %}'{{ month }}'{{ ', ' if not loop.last }}{% endfor %})
    {%- else -%}
        false
    {%- endif -%}
{%- endmacro %}

{# Says in the model's SQL what it gives, for the MERGE (macros/converge.sql): rows of changed keys, or of whole months where `changed` is none. #}
{% macro gives(months, changed=none, keys=[]) -%}
    -- gives: {{ tojson({'months': months | unique | sort if months is not none and months is defined else none, 'changed': changed, 'keys': keys}) }}
{%- endmacro %}

{% macro given() -%}
    {%- set found = modules.re.search('-- gives: (.*)', model.compiled_code or '') -%}
    {{ return(fromjson(found.group(1)) if found else none) }}
{%- endmacro %}

{# A relation, or of it the rows of these months. #}
{% macro rows_in(relation, months) -%}
    {{ relation if months is none or months is undefined else '(select * from ' ~ relation ~ ' where ' ~ in_months(months) ~ ')' }}
{%- endmacro %}

{# A relation, or of it the rows of changed keys in these months. #}
{% macro rows_of_changed(relation, months, changed, keys) -%}
    {%- if changed -%}
    (
        select present.*
        from (select * from {{ relation }} where {{ in_months(months) }}) as present
        left semi join {{ changed }} as wanted on {{ same(keys, '=') }}
    )
    {%- else -%}
    {{ relation }}
    {%- endif -%}
{%- endmacro %}

{# The months of a relation's rows in grids that now lie elsewhere; for models that look up resolved.region_closure. #}
{% macro months_of_moved_grids(relation) -%}
    {%- set keys = ['region_system', 'region_code', 'ancestor_code'] -%}
    {%- set moved = moved_values(source('resolved', 'region_closure'), 'region_code', 'region_code', keys, 'region_level = 6') -%}
    {%- if not moved -%}{{ return([]) }}{%- endif -%}
    {%- set query -%}
        select distinct placed.business_month
        from (select grid_id, business_month from {{ relation }}) as placed
        left semi join ({{ moved }}) as moved on placed.grid_id = moved.region_code
    {%- endset -%}
    {{ return(run_query(query).columns[0].values() | list) }}
{%- endmacro %}

{#
What a test reads, in the place of dbt's macro of this name: of a table that followed changes only the months that it wrote, as the others have passed the
test and are as they were. Whether a key stands in two months is asked by builds from the beginning alone.
#}
{% macro get_where_subquery(relation) -%}
    {%- set months = var('tested', {}).get(relation.schema ~ '.' ~ relation.identifier) -%}
    {%- set conditions = [config.get('where')] if config.get('where') else [] -%}
    {%- if months is not none -%}{%- do conditions.append(in_months(months)) -%}{%- endif -%}
    {{ return('(select * from ' ~ relation ~ ' where (' ~ conditions | join(') and (') ~ ')) as tested' if conditions else relation) }}
{%- endmacro %}
