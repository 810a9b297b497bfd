{# Time: `_at` columns are UTC; days are days in a feed's or a region system's own zone. #}

{% macro as_of() -%}
    timestamp '{{ var("as_of") }}'
{%- endmacro %}

{% macro business_date(at, zone) -%}
    cast(from_utc_timestamp({{ at }}, '{{ zone }}') as date)
{%- endmacro %}

{# The day of an instant in the zone of its row's region system. #}
{% macro local_date(at, region_system) -%}
    case {{ region_system }}
        {% for system, zone in region_zones().items() %}when '{{ system }}' then {{ business_date(at, zone) }}
        {% endfor %}else {{ business_date(at, 'UTC') }}
    end
{%- endmacro %}

{# The hour, 0 to 23, of an instant in the zone of its row's region system. #}
{% macro local_hour(at, region_system) -%}
    cast(case {{ region_system }}
        {% for system, zone in region_zones().items() %}when '{{ system }}' then hour(from_utc_timestamp({{ at }}, '{{ zone }}'))
        {% endfor %}else hour(from_utc_timestamp({{ at }}, 'UTC'))
    end as bigint)
{%- endmacro %}

{# The instant of a wall clock's HH:MM on a day in the region system's zone. #}
{% macro local_time(region_system, day, clock) -%}
    {%- set wall = "cast(concat(cast(" ~ day ~ " as string), ' ', " ~ clock ~ ", ':00') as timestamp)" -%}
    case {{ region_system }}
        {% for system, zone in region_zones().items() %}when '{{ system }}' then to_utc_timestamp({{ wall }}, '{{ zone }}')
        {% endfor %}else {{ wall }}
    end
{%- endmacro %}

{# The first day of a day's month. #}
{% macro month_of(day) -%}
    cast(date_trunc('MONTH', cast({{ day }} as timestamp)) as date)
{%- endmacro %}

{# The last whole day that `as_of` has seen, in the region system's zone. #}
{% macro last_day(region_system) -%}
    date_sub({{ local_date(as_of(), region_system) }}, 1)
{%- endmacro %}

{% macro minutes_between(start, finish) -%}
    cast(floor((unix_timestamp({{ finish }}) - unix_timestamp({{ start }})) / cast(60 as double)) as bigint)
{%- endmacro %}

{#
CTEs of which the last, `clocked`, has the rows of `rows` and their `working_minutes` from `start` to `finish`: what was worked before the one day is subtracted
from what was worked before the other. Null where an end is, or where no calendar says what a day was (a region system without one, a year not yet announced).
`rows` have region_system and region_code.
#}
{% macro clocked(rows, start, finish) -%}
    calendared as (
        select
            timed.*,
            calendar.calendar_region_code as _calendar
        from {{ ref('calendar_region') }} as calendar
        right outer join {{ rows }} as timed on calendar.region_system = timed.region_system and calendar.region_code = timed.region_code
    ),

    begun as (
        select
            timed.*,
            {{ seconds_worked(start) }} as _begun
        from {{ ref('working_day') }} as day
        right outer join calendared as timed on {{ same_day(start) }}
    ),

    clocked as (
        select
            timed.*,
            cast(floor(({{ seconds_worked(finish) }} - timed._begun) / cast(60 as double)) as bigint) as working_minutes
        from {{ ref('working_day') }} as day
        right outer join begun as timed on {{ same_day(finish) }}
    )
{%- endmacro %}

{% macro seconds_worked(at) -%}
    day.seconds_before
    + greatest(cast(0 as bigint), least(day.work_seconds, unix_timestamp(timed.{{ at }}) - unix_timestamp(day.opens_at)))
{%- endmacro %}

{% macro same_day(at) -%}
    day.region_system = timed.region_system
    and day.calendar_region_code = timed._calendar
    and day.calendar_date = {{ local_date('timed.' ~ at, 'timed.region_system') }}
{%- endmacro %}

{#
Which limit the item library sets, by the day: one row per class of events or type of disputes and stretch of days. Where several items have one class, the
first code stands for it.
#}
{% macro item_limits(key) -%}
    (
        select
            {{ key }},
            limit_hours,
            limit_kind_code,
            valid_from,
            valid_to,
            lead(valid_from) over (partition by {{ key }} order by valid_from) as next_from
        from (
            select *, row_number() over (partition by {{ key }}, valid_from order by item_code, item_version desc) as _choice
            from {{ ref('item') }}
            where {{ key }} is not null
        ) as item
        where _choice = 1
    )
{%- endmacro %}

{% macro in_force(limits, day) -%}
    {{ limits }}.valid_from <= {{ day }}
    and coalesce({{ day }} <= {{ limits }}.valid_to, true)
    and coalesce({{ day }} < {{ limits }}.next_from, true)
{%- endmacro %}

{#
Whether a limit has been overrun: the deadline that was sent has passed and, where the item counts working hours, so many of them too. Senders that count days
off are corrected by it; a deadline that they have put off counts as put off.
#}
{% macro overrun(row, until) -%}
    coalesce({{ until }} > {{ row }}.deadline_at, false)
    and coalesce({{ row }}.limit_kind_code <> 'working' or {{ row }}.working_minutes > {{ row }}.limit_hours * 60, true)
{%- endmacro %}
