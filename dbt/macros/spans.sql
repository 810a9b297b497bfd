{#
A first build of many rows span by span. A window over all of them is two sorts of whole rows at a time, by its key and by the month in which they are written:
38 million steps take 40 GB of disk so, and the merges of the two starve each other of memory. A span is as many months as have `span_rows` rows together (of 500
bytes as Arrow holds them, so a few of them fit into the engine's memory), without the rows whose key lies in several months; these are the last span, as a window
needs all rows of its key. A build that is killed between two spans is begun anew, as any that was cut short.
#}
{% macro in_spans(relation, key) -%}
    {%- if not execute or is_incremental() or flags.WHICH != 'run' -%}{{ return(none) }}{%- endif -%}
    {%- set counted = run_query('select business_month, count(*) as row_count from ' ~ relation ~ ' group by business_month order by business_month') -%}
    {%- if counted.columns[1].values() | sum <= var('span_rows') -%}{{ return(none) }}{%- endif -%}
    {%- set by_key = 'select ' ~ key ~ ', min(business_month) as first_month, max(business_month) as last_month from ' ~ relation ~ ' group by ' ~ key -%}
    {%- set keys = remember(
        model.name ~ '__several', 'select ' ~ key ~ ' from (' ~ by_key ~ ') as keyed where ' ~ key ~ ' is null or first_month <> last_month'
    ) -%}
    {#- The smaller side first: the embedded engine holds it in memory. -#}
    {%- set joined = 'select present.* from (select ' ~ key ~ ', true as _is_several from ' ~ keys ~ ') as several ' -%}
    {%- set alike = ' as present on several.' ~ key ~ ' <=> present.' ~ key -%}
    {%- set found = namespace(spans=[], rows=0) -%}
    {%- for month, rows in counted.rows -%}
        {%- if found.rows + rows > var('span_rows') or not found.spans -%}
            {%- do found.spans.append([]) -%}
            {%- set found.rows = 0 -%}
        {%- endif -%}
        {%- do found.spans[-1].append(month) -%}
        {%- set found.rows = found.rows + rows -%}
    {%- endfor -%}
    {%- set queries = [] -%}
    {%- for months in found.spans -%}
        {%- do queries.append(joined ~ 'right outer join ' ~ rows_in(relation, months) ~ alike ~ ' where several._is_several is null') -%}
    {%- endfor -%}
    {%- do queries.append(joined ~ 'inner join ' ~ relation ~ alike) -%}
    {{ return({'view': 'changes.' ~ model.name ~ '__span', 'queries': queries}) }}
{%- endmacro %}

{# Says in the model's SQL that it reads one span after the other, for the statement that makes its table. #}
{% macro says_spans(spans) -%}
    -- spans: {{ tojson(spans) }}
{%- endmacro %}

{% macro spark__create_table_as(temporary, relation, compiled_code, language='sql') -%}
    {%- set said = modules.re.search('-- spans: (.*)', compiled_code) -%}
    {%- if not said -%}
        {{ dbt.spark__create_table_as(temporary, relation, compiled_code, language) }}
    {%- else -%}
        {%- set spans = fromjson(said.group(1)) -%}
        {%- for query in spans.queries -%}
            {%- do run_query('create or replace view ' ~ spans.view ~ ' as ' ~ query) -%}
            {%- if loop.first -%}
                {%- do run_query(dbt.spark__create_table_as(temporary, relation, compiled_code, language)) -%}
            {%- elif not loop.last -%}
                {%- do run_query(insert_all(relation, compiled_code)) -%}
            {%- else -%}
                {{ insert_all(relation, compiled_code) }}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
{%- endmacro %}

{% macro insert_all(relation, compiled_code) -%}
    {%- set columns = get_columns_in_query('select * from ' ~ relation) | join(', ') -%}
    insert into {{ relation }} ({{ columns }})
    select {{ columns }} from ({{ compiled_code }}) as built
{%- endmacro %}
