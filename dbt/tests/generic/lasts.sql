{# Every key has a span that has not ended. #}
{% test lasts(model, key) %}
select {{ key | join(', ') }} from {{ model }} group by {{ key | join(', ') }} having count(*) = count(valid_to)
{% endtest %}
