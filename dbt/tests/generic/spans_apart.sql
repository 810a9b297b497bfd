{# Of one key no span begins before the one before it has ended. #}
{% test spans_apart(model, key) %}
select *
from (
    select
        {{ key | join(', ') }},
        valid_from,
        valid_to,
        lead(valid_from) over (partition by {{ key | join(', ') }} order by valid_from) as followed_from
    from {{ model }}
) as span
where followed_from < valid_to or (followed_from is not null and valid_to is null)
{% endtest %}
