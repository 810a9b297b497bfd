{# Some feeds at a time: the statements of an engine share its memory, and each aggregate of all feeds at once would get too little to begin with. #}
{% macro conservation_blocks(names) -%}
    {{ return(names | batch(8) | list) }}
{%- endmacro %}

{# A model's hooks that count its feeds, a scratch table for each block; in increments there may be fewer blocks than hooks. #}
{% macro conservation_hooks() -%}
    {%- set hooks = [] -%}
    {%- for block in conservation_blocks(feeds()) -%}{%- do hooks.append('{{ count_conservation(' ~ loop.index0 ~ ') }}') -%}{%- endfor -%}
    {{ return(hooks) }}
{%- endmacro %}

{% macro counted_feeds() -%}
    {{ return(conservation_blocks(arrived_feeds() if is_incremental() else feeds())) }}
{%- endmacro %}

{% macro count_conservation(number) -%}
    {%- set blocks = counted_feeds() -%}
    {%- if number < blocks | length -%}
        {%- set unfound = unfound_at_once(blocks[number]) -%}
        {{ scratch_table('row_conservation_' ~ number) }}
        {% for feed in blocks[number] %}
            {{ conservation_of(feed, unfound.get(feed)) }}
            {{ 'union all' if not loop.last }}
        {% endfor %}
    {%- endif -%}
{%- endmacro %}

{#
For feeds with many staged rows the keys that arrived and are not staged in the months of what arrived, as far as there are any: the scratch table, '' for none.
Nearly all are, so the other months need seldom be read. A feed is left out where one look at all its rows costs less than these statements.
#}
{% macro unfound_at_once(names) -%}
    {%- set unfound = {} -%}
    {%- if is_incremental() and var('following', []) -%}
        {%- set large = run_query('select feed from ' ~ this ~ ' where staged_count > ' ~ var('span_rows')).columns[0].values() -%}
        {%- for feed in names if feed in large and 'stg_' ~ feed in var('following') and 'business_month' in get_columns_in_query('select * from changes.arrived__' ~ feed) -%}
            {%- set months = run_query('select distinct business_month from changes.arrived__' ~ feed).columns[0].values() | list -%}
            {%- set query = unfound_keys('(' ~ arrived_keys(feed) ~ ')', rows_in(ref('stg_' ~ feed), months)) -%}
            {%- set kept = remember('unfound__' ~ feed, query) -%}
            {%- set count = run_query('select count(*) from ' ~ kept).columns[0].values()[0] -%}
            {%- do unfound.update({feed: kept if count else ''}) -%}
        {%- endfor -%}
    {%- endif -%}
    {{ return(unfound) }}
{%- endmacro %}

{% macro arrived_keys(feed) -%}
    select distinct _sender_code, {{ source_key(key_of(feed)) }} as _source_key from {{ source('bronze', feed) }} where {{ arrived_since(feed) }}
{%- endmacro %}

{# The few keys stand first: the embedded engine holds that side in memory. #}
{% macro unfound_keys(keys, staged) -%}
    select wanted._sender_code, wanted._source_key
    from {{ keys }} as wanted
    left anti join {{ staged }} as present on {{ same(['_sender_code', '_source_key'], '=') }}
{%- endmacro %}

{#
What became of a feed's bronze rows, and how many nobody can account for: `lost_count` keys that landed and are not staged, `strange_count` staged rows that never
landed. An increment asks it of what has arrived; of what came before nothing was lost, or the counts say so until all is built anew.
#}
{% macro conservation_of(feed, unfound=none) %}
{%- set key = source_key(key_of(feed)) %}
select
    '{{ feed }}' as feed,
    landed.bronze_count,
    staged.staged_count,
    staged.current_count,
    staged.deleted_count,
    landed.bronze_count - staged.staged_count as superseded_count,
    {% if is_incremental() %}
    coalesce(known.lost_count, cast(0 as bigint)) + lost.lost_count as lost_count,
    coalesce(known.strange_count, cast(0 as bigint)) + strange.strange_count as strange_count
    {% else %}
    lost.lost_count,
    lost.strange_count
    {% endif %}
from (select count(*) as bronze_count from {{ source('bronze', feed) }}) as landed
cross join (
    select
        count(*) as staged_count,
        count(case when _op = 'upsert' then 1 end) as current_count,
        count(case when _op = 'delete' then 1 end) as deleted_count
    from {{ ref('stg_' ~ feed) }}
) as staged
{% if is_incremental() %}
cross join (
    {% if unfound == '' %}
    select cast(0 as bigint) as lost_count
    {% else %}
    select count(*) as lost_count
    from ({{ unfound_keys(unfound or '(' ~ arrived_keys(feed) ~ ')', ref('stg_' ~ feed)) }}) as unfound
    {% endif %}
) as lost
cross join (
    select count(*) as strange_count
    from (select _source_position from {{ ref('stg_' ~ feed) }} where {{ arrived_since(feed) }}) as found
    left anti join (
        select _source_position from {{ source('bronze', feed) }} where {{ arrived_since(feed) }}
    ) as arrived on found._source_position = arrived._source_position
) as strange
left join (select feed, lost_count, strange_count from {{ this }}) as known on known.feed = '{{ feed }}'
{% else %}
-- Counted by key, not joined row by row: an aggregate goes on on disk where it does not fit the memory, a join cannot.
cross join (
    select
        count(case when staged_count = 0 then 1 end) as lost_count,
        count(case when staged_count > 0 and is_landed = 0 then 1 end) as strange_count
    from (
        -- one row per sender and key
        select
            sum(staged_count) as staged_count,
            max(case when landed_count > 0 and landed_position = known_position then 1 else 0 end) as is_landed
        from (
            -- one row per sender, key and content
            select
                _sender_code,
                _source_key,
                count(landed_position) as landed_count,
                count(known_position) as staged_count,
                max(landed_position) as landed_position,
                max(known_position) as known_position
            from (
                select
                    _sender_code,
                    {{ key }} as _source_key,
                    _payload_digest,
                    _source_position as landed_position,
                    cast(null as string) as known_position
                from {{ source('bronze', feed) }}
                union all
                select
                    _sender_code,
                    _source_key,
                    _payload_digest,
                    cast(null as string) as landed_position,
                    _source_position as known_position
                from {{ ref('stg_' ~ feed) }}
            ) as rows_of_both
            group by _sender_code, _source_key, _payload_digest
        ) as content
        group by _sender_code, _source_key
    ) as fate
) as lost
{% endif %}
{% endmacro %}
