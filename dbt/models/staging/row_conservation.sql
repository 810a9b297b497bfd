-- one row per feed: what became of its bronze rows
{{ config(materialized='incremental', unique_key='feed', meta={'complete': false}) }}
-- A feed that brought nothing since the last build is as it was; one that is declared no more makes another project, which is built anew.
{% for feed in (arrived_feeds() if is_incremental() else feeds()) %}
-- depends_on: {{ source('bronze', feed) }} {{ ref('stg_' ~ feed) }}
{{ conservation_of(feed) }}
{{ 'union all' if not loop.last }}
{% endfor %}
