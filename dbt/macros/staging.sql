{#
The body of `stg_<source>__<feed>`: the newest version of each (sender, key), deletes kept as rows, in canonical columns. `feed` is what the contract says:
    feed, region_system, time_zone
    key, version        the source's own columns, version most significant first
    values              [canonical column, expression over the source's columns]; or, with `sql`,
    sql, types          a SELECT from `newest` that gives _source_position and what canonical columns it can; [canonical column, type].
                        To leave a row out it calls it a delete in a column `_op`
    local_ids, own_id   columns whose ids count within a sender only; the one that is the row's own
    position            {longitude, latitude, datum}, if it has one
    clocks              the timestamps of which the first that is there gives the business date
    columns             the columns to come out
#}
{% macro staged_feed(feed) %}
    {%- set versions = [] -%}
    {%- for column in feed.version -%}{%- do versions.append('_version_' ~ loop.index) -%}{%- endfor -%}
    {%- set columns = feed.columns + ['_source_key'] + versions -%}
    {%- set newest_first -%}
        partition by _sender_code, _source_key order by {% for v in versions %}{{ v }} desc nulls last, {% endfor %}_source_position desc
    {%- endset -%}

    {%- set newest -%}
    with arrived as (
        select
            *,
            {% for column in feed.version %}{{ column }} as _version_{{ loop.index }},{% endfor %}
            {{ source_key(feed.key) }} as _source_key
        from {{ source('bronze', feed.feed) }}
        {% if follows() %}
        where {{ arrived_since(feed.feed) }}
        {% endif %}
    ),

    -- Most keys have one version; only the others are sorted, and by narrow rows. Joins name the smaller side first: the embedded engine holds that side
    -- in memory and streams the other.
    -- Exploding an array of one tells it nothing of how many rows there are: what it guesses (a fifth of all rows) beside statistics that leave out files
    -- once a log has checkpoints (Sail 0.7.2) let it hold the larger side.
    repeated as (
        select _sender_code, _source_key
        from (select _sender_code, _source_key, count(*) as _versions from arrived group by _sender_code, _source_key having count(*) > 1) as several
        lateral view explode(array(_versions)) as _version
    ),

    outranked as (
        select _source_position
        from (
            select _source_position, row_number() over ({{ newest_first }}) as _rank
            from (
                select {{ prefixed('version', ['_sender_code', '_source_key', '_source_position'] + versions) }}
                from repeated
                inner join (
                    select {{ (['_sender_code', '_source_key', '_source_position'] + versions) | join(', ') }} from arrived
                ) as version
                    on repeated._sender_code = version._sender_code and repeated._source_key = version._source_key
            ) as several
        ) as ranked
        where _rank > 1
    ),

    newest as (
        select arrived.*
        from outranked
        right outer join arrived on outranked._source_position = arrived._source_position
        where outranked._source_position is null
    )
    {%- if feed.sql %},

    given as (
    {{ feed.sql }}
    )
    {%- endif %}
    {%- endset -%}

    {%- if feed.sql -%}
        {%- set given = get_columns_in_query(newest ~ ' select * from given') if execute else [] -%}
        {%- set values = [] -%}
        {%- for name, type in feed.types -%}
            {%- do values.append([name, 'cast(' ~ ('given.' ~ name if name in given else 'null') ~ ' as ' ~ type ~ ')']) -%}
        {%- endfor -%}
    {%- else -%}
        {%- set given = [] -%}
        {%- set values = feed['values'] -%}
    {%- endif -%}

    {%- set staged -%}
    {{ newest }},

    mapped as (
        select
            {% for name, expression in values %}{{ expression }} as {{ name }},
            {% endfor -%}
            {% for v in versions %}newest.{{ v }}, {% endfor %}newest._source_key,
            {% for name in audit_columns() -%}
                {{ 'coalesce(given._op, newest._op) as _op' if name == '_op' and '_op' in given else 'newest.' ~ name }}{{ ', ' if not loop.last }}
            {% endfor %}
        from newest
        {% if feed.sql %}
        -- A row that the SELECT drops would be lost unseen; joined like this it shows as a row without its required columns, and a test fails.
        left join given on newest._source_position = given._source_position
        {% endif %}
    ),

    {{ placed(feed.position) }}

    select
        {% for name in columns %}{{ staged_column(feed, name) }} as {{ name }}{{ ', ' if not loop.last }}
        {% endfor %}
    from placed
    {%- endset -%}

    {% if follows() %}
    {%- set keys = ['_sender_code', '_source_key'] -%}
    {#- Mapped once, and kept. -#}
    {%- set changed = remember('arrived__' ~ feed.feed, staged) -%}
    {%- set months = months_with(this, changed, keys) if 'business_month' in columns -%}
    {{ gives(months, changed, keys) }}
    -- What was here before stays where it is the newer one.
    select {{ columns | join(', ') }}
    from (
        select *, row_number() over ({{ newest_first }}) as _rank
        from (
            select {{ columns | join(', ') }} from {{ changed }}
            union all
            select {{ prefixed('present', columns) }}
            from (select * from {{ this }} where {{ in_months(months) }}) as present
            left semi join {{ changed }} as wanted on {{ same(keys, '=') }}
        ) as versions
    ) as ranked
    where _rank = 1
    {% else %}
    {{ staged }}
    {% endif %}
{% endmacro %}

{# One column as it comes out: ids made unique across senders, the day in the feed's zone, the rest as mapped. #}
{% macro staged_column(feed, name) -%}
    {%- set position = feed.position or {} -%}
    {%- if name == 'local_id' and feed.own_id -%} {{ feed.own_id }}
    {%- elif name in feed.local_ids -%} concat(_sender_code, '-', {{ name }})
    {#- Seven decimals are a centimetre; the engines' sines differ some digits later. -#}
    {%- elif name in (position.longitude, position.latitude) -%} round({{ '_longitude' if name == position.longitude else '_latitude' }}, 7)
    {%- elif position and name in (position.longitude ~ '_original', position.latitude ~ '_original') -%} {{ name[: -9] }}
    {%- elif name == 'region_system' -%} cast('{{ feed.region_system }}' as string)
    {%- elif name == 'feed' -%} cast('{{ feed.feed }}' as string)
    {%- elif name == 'business_date' -%} {{ business_date('coalesce(' ~ feed.clocks | join(', ') ~ ')', feed.time_zone) if feed.clocks else 'cast(null as date)' }}
    {%- elif name == 'business_month' -%} coalesce(substring(cast({{ staged_column(feed, 'business_date') }} as string), 1, 7), '{{ no_month() }}')
    {%- else -%} {{ name }}
    {%- endif -%}
{%- endmacro %}

{#
What has come since the last finished build, as its transform found it in the files that are new in the cut: '' for nothing. A row seen twice changes nothing.
#}
{% macro arrived_since(feed) -%}
    {%- set since = var('since').get(feed, '1970-01-01 00:00:00') -%}
    {{ "_received_at >= timestamp '" ~ since ~ "'" if since else 'false' }}
{%- endmacro %}

{# The feeds that brought something; every feed where none did, as there is no SQL for nothing. #}
{% macro arrived_feeds() -%}
    {%- set arrived = [] -%}
    {%- for feed in feeds() if var('since').get(feed, 'ever') -%}{%- do arrived.append(feed) -%}{%- endfor -%}
    {{ return(arrived or feeds()) }}
{%- endmacro %}

{# A key of any number of columns as one string: the parts cannot be confused, a null part is not an empty one. #}
{% macro source_key(parts, prefix='') -%}
    concat_ws('|', {% for part in parts %}coalesce(replace(replace(cast({{ prefix ~ part }} as string), '~', '~~'), '|', '~p'), '~n'){{ ', ' if not loop.last }}{% endfor %})
{%- endmacro %}

{# Every current row of an entity, whichever feed it came by; of two major versions of a feed the newer one that its sender has sent a key by. #}
{% macro current_rows(entity) %}
    {% for feed in conforming(entity) %}
    select {{ entity_columns(entity) | join(', ') }}
    from {{ ref('stg_' ~ feed) }}{{ ' as older' if superseding(feed) }}
    {% for newer in superseding(feed) %}
    left anti join {{ ref('stg_' ~ newer) }} as newer
        on older._sender_code = newer._sender_code
        {% for name in entity_key(entity) %}and older.{{ name }} = newer.{{ name }} {% endfor %}
    {% endfor %}
    where _op = 'upsert'
    {{ 'union all' if not loop.last }}
    {% endfor %}
{% endmacro %}
