{# Time: `_at` columns are UTC; days are days in a feed's or a region system's own zone. #}

{% macro as_of() -%}
    timestamp '{{ var("as_of") }}'
{%- endmacro %}

{% macro business_date(at, zone) -%}
    cast(from_utc_timestamp({{ at }}, '{{ zone }}') as date)
{%- endmacro %}

{# The last whole day that `as_of` has seen, in the region system's zone. #}
{% macro last_day(region_system) -%}
    date_sub(
        case {{ region_system }}
            {% for system, zone in region_zones().items() %}when '{{ system }}' then {{ business_date(as_of(), zone) }}
            {% endfor %}else {{ business_date(as_of(), 'UTC') }}
        end, 1
    )
{%- endmacro %}

{% macro minutes_between(start, finish) -%}
    cast(floor((unix_timestamp({{ finish }}) - unix_timestamp({{ start }})) / cast(60 as double)) as bigint)
{%- endmacro %}
