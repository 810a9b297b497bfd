-- one row per feed: what became of its bronze rows
{{ config(materialized='incremental', unique_key='feed', pre_hook=conservation_hooks(), meta={'complete': false}) }}
-- A feed that brought nothing since the last build is as it was; one that is declared no more makes another project, which is built anew.
{% for feed in feeds() %}
-- depends_on: {{ source('bronze', feed) }} {{ ref('stg_' ~ feed) }}
{% endfor %}
{% for block in counted_feeds() %}
select feed, bronze_count, staged_count, current_count, deleted_count, superseded_count, lost_count, strange_count
from changes.row_conservation_{{ loop.index0 }}
{{ 'union all' if not loop.last }}
{% endfor %}
