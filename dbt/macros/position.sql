{#
Positions in CGCS2000. WGS84 is CGCS2000 at the precision of these data. GCJ-02 is WGS84 moved by some hundred metres by a public formula; the inverse takes the
shift where the point seems to be, and once more where it then lies: the rest is below a centimetre.
#}
{% macro placed(position) %}
    {%- set lng, lat = (position.longitude, position.latitude) if position else (none, none) -%}
    {% if not position %}
    placed as (
        select * from mapped
    )
    {% elif position.datum != 'GCJ-02' %}
    placed as (
        select *, {{ lng }} as _longitude, {{ lat }} as _latitude from mapped
    )
    {% else %}
    first_guess as (
        select
            *,
            {{ lng }} - {{ gcj02_east(lng, lat) }} as _lng,
            {{ lat }} - {{ gcj02_north(lng, lat) }} as _lat
        from mapped
    ),

    placed as (
        select
            *,
            case when {{ in_china(lng, lat) }} then {{ lng }} - {{ gcj02_east('_lng', '_lat') }} else {{ lng }} end as _longitude,
            case when {{ in_china(lng, lat) }} then {{ lat }} - {{ gcj02_north('_lng', '_lat') }} else {{ lat }} end as _latitude
        from first_guess
    )
    {% endif %}
{% endmacro %}

{% macro gcj02_east(lng, lat) -%}
    {%- set x, y = '(' ~ lng ~ ' - 105.0d)', '(' ~ lat ~ ' - 35.0d)' -%}
    (
        300.0d + {{ x }} + 2.0d * {{ y }} + 0.1d * {{ x }} * {{ x }} + 0.1d * {{ x }} * {{ y }} + 0.1d * sqrt(abs({{ x }}))
        + (20.0d * sin(6.0d * {{ x }} * pi()) + 20.0d * sin(2.0d * {{ x }} * pi())) * 2.0d / 3.0d
        + (20.0d * sin({{ x }} * pi()) + 40.0d * sin({{ x }} / 3.0d * pi())) * 2.0d / 3.0d
        + (150.0d * sin({{ x }} / 12.0d * pi()) + 300.0d * sin({{ x }} / 30.0d * pi())) * 2.0d / 3.0d
    ) * 180.0d / (6378245.0d / sqrt({{ gcj02_magic(lat) }}) * cos({{ lat }} * pi() / 180.0d) * pi())
{%- endmacro %}

{% macro gcj02_north(lng, lat) -%}
    {%- set x, y = '(' ~ lng ~ ' - 105.0d)', '(' ~ lat ~ ' - 35.0d)' -%}
    (
        -100.0d + 2.0d * {{ x }} + 3.0d * {{ y }} + 0.2d * {{ y }} * {{ y }} + 0.1d * {{ x }} * {{ y }} + 0.2d * sqrt(abs({{ x }}))
        + (20.0d * sin(6.0d * {{ x }} * pi()) + 20.0d * sin(2.0d * {{ x }} * pi())) * 2.0d / 3.0d
        + (20.0d * sin({{ y }} * pi()) + 40.0d * sin({{ y }} / 3.0d * pi())) * 2.0d / 3.0d
        + (160.0d * sin({{ y }} / 12.0d * pi()) + 320.0d * sin({{ y }} * pi() / 30.0d)) * 2.0d / 3.0d
    ) * 180.0d
    / (6378245.0d * (1.0d - 0.00669342162296594323d) / ({{ gcj02_magic(lat) }} * sqrt({{ gcj02_magic(lat) }})) * pi())
{%- endmacro %}

{% macro gcj02_magic(lat) -%}
    (1.0d - 0.00669342162296594323d * sin({{ lat }} * pi() / 180.0d) * sin({{ lat }} * pi() / 180.0d))
{%- endmacro %}

{# The shift is defined within this box only; abroad both systems are one. #}
{% macro in_china(lng, lat) -%}
    ({{ lng }} between 72.004d and 137.8347d and {{ lat }} between 0.8293d and 55.8271d)
{%- endmacro %}
