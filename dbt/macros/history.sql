{#
The history of an entity (type 2): a row for each span in which the columns given were the same, from every version that bronze keeps. A moment sees the
highest version (as staging ranks them) that has begun by then, so a late version, or an older one that comes after a newer, falls into its place.
    key         the columns that name one of the entity
    columns     what is followed; versions that do not differ in these are one span
    begins      when a version begins, over the entity's own columns; a version without it, and a deletion, begins with its change
    ends        when a version says itself that it ends
    days        whether spans are of days in the feed's zone, otherwise of moments
A key all of whose versions were withdrawn before they began keeps the last of them, as a span of no length.
In an increment only the keys are made of which something has arrived; all their versions are read again. A model's unique key is the key and valid_from.
A history reaches as far back as the `retention` of its feeds lets bronze reach.
#}
{% macro history(entity, key, columns, begins='changed_at', ends=none, days=false) %}
    {%- set feeds = conforming(entity) -%}
    {%- set moment = 'date' if days else 'timestamp' -%}
    {%- set names = key | join(', ') -%}
    {% if is_incremental() and execute %}
    {%- set arrived -%}
    select distinct {{ names }}
    from (
        {% for feed in feeds %}
        select {% for name in key %}{{ version_value(feed, name) }} as {{ name }}{{ ', ' if not loop.last }}{% endfor %}

        from {{ versions_table(feed) }}
        where {{ arrived_since(feed) }}
        {{ 'union all' if not loop.last }}
        {% endfor %}
    ) as arrived
    {%- endset -%}
    {%- set touched = remember('touched__' ~ model.name, arrived) %}
    {{ gives(none, touched, key) }}
    {% endif %}
    with version as (
        {% for feed in feeds %}
        {%- set order = versions_in(feed).version -%}
        {%- set changed = 'coalesce(' ~ version_value(feed, 'changed_at') ~ ', _received_at)' -%}
        {%- set changed = business_date(changed, zone_of(feed)) if days else changed -%}
        {%- set begun = "case when _op = 'upsert' then " ~ version_value(feed, begins) ~ ' end' -%}
        select
            {{ prefixed('own', key + columns) }},
            own._begins,
            own._said_end,
            own._op,
            own._source_position,
            {{ 1000 - superseding(feed) | length }} as _generation,
            row_number() over (
                partition by {{ prefixed('own', key) }}
                order by {% for column in order %}own._version_{{ loop.index }} asc nulls first, {% endfor %}own._source_position
            ) as _place
        from (
            select
                {% for name in key + columns %}{{ version_value(feed, name) }} as {{ name }},
                {% endfor %}
                cast({{ changed if begins == 'changed_at' else 'coalesce(' ~ begun ~ ', ' ~ changed ~ ')' }} as {{ moment }}) as _begins,
                cast({{ version_value(feed, ends) if ends else 'null' }} as {{ moment }}) as _said_end,
                {% for column in order %}{{ column }} as _version_{{ loop.index }}, {% endfor %}

                _op,
                _source_position
            from {{ versions_table(feed) }}
        ) as own
        {% if touched is defined %}
        left semi join {{ touched }} as touched on {% for name in key %}own.{{ name }} = touched.{{ name }}{{ ' and ' if not loop.last }}{% endfor %}
        {% endif %}

        {{ 'union all' if not loop.last }}
        {% endfor %}
    ),

    ranked as (
        select
            *,
            min(_begins) over (
                partition by {{ names }} order by _generation desc, _place desc rows between unbounded preceding and 1 preceding
            ) as _overtaken
        from version
    ),

    -- Deletions end what was before them and are no spans themselves.
    span as (
        select
            *,
            case when _overtaken is null or _said_end < _overtaken then _said_end else _overtaken end as _ends,
            row_number() over (partition by {{ names }} order by _generation desc, _place desc) as _rank
        from ranked
        where _op = 'upsert'
    ),

    counted as (
        select
            *,
            sum(case when _ends is null or _ends > _begins then 1 else 0 end) over (partition by {{ names }}) as _lasting
        from span
    ),

    lasting as (
        select
            {{ names }},
            {{ columns | join(', ') }},
            _source_position,
            _begins,
            case when _lasting = 0 then _begins else _ends end as _ends,
            {{ source_key(columns) }} as _content
        from counted
        where _ends is null or _ends > _begins or (_lasting = 0 and _rank = 1)
    ),

    followed as (
        select
            *,
            lag(_content) over (partition by {{ names }} order by _begins) as _content_before,
            lag(_ends) over (partition by {{ names }} order by _begins) as _ended_before
        from lasting
    ),

    numbered as (
        select
            *,
            sum(case when _content_before = _content and _ended_before = _begins then 0 else 1 end) over (
                partition by {{ names }} order by _begins rows between unbounded preceding and current row
            ) as _number
        from followed
    ),

    -- Of spans that do not differ the first stays, up to the end of the last; only the last of all can be without an end.
    whole as (
        select
            *,
            row_number() over (partition by {{ names }}, _number order by _begins) as _first,
            count(*) over (partition by {{ names }}, _number) as _spans,
            count(_ends) over (partition by {{ names }}, _number) as _ended_spans,
            max(_ends) over (partition by {{ names }}, _number) as _last_end
        from numbered
    )

    select
        {{ names }},
        {{ columns | join(', ') }},
        _begins as valid_from,
        case when _spans = _ended_spans then _last_end end as valid_to,
        _spans > _ended_spans as is_current,
        _source_position
    from whole
    where _first = 1
{% endmacro %}

{# A column of the entity as a version of the feed has it, where `versions_table` holds it. #}
{% macro version_value(feed, name) -%}
    {%- set said = versions_in(feed) -%}
    {%- if name == 'region_system' -%} cast('{{ said.region_system }}' as string)
    {%- elif name in said.local_ids -%} concat(_sender_code, '-', {{ said['values'][name] }})
    {%- else -%} {{ said['values'][name] if name in said['values'] else 'null' }}
    {%- endif -%}
{%- endmacro %}

{% macro versions_table(feed) -%}
    {{ ref('stg_' ~ feed) if versions_in(feed).is_staged else source('bronze', feed) }}
{%- endmacro %}
