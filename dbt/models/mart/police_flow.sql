-- one row per month of the call, region, category and direction of police events: what went between police and grid, and what the grid has of it
{{ config(materialized='incremental', unique_key=['month_date', 'region_system', 'region_code', 'category_code', 'direction_code']) }}
with called as (
    select
        *,
        {{ month_of(local_date('reported_at', 'region_system')) }} as month_date,
        coalesce(direction_code, '') as direction
    from {{ ref('police_event') }}
),

wanted as (
    select distinct transferred_event_id
    from called
    where transferred_event_id is not null
),

-- The smaller side first: the embedded engine holds it in memory.
known as (
    select event.event_id
    from wanted
    inner join {{ ref('event') }} as event on wanted.transferred_event_id = event.event_id
)

select
    called.month_date,
    called.region_system,
    called.region_code,
    called.category_code,
    called.direction as direction_code,
    count(*) as police_event_count,
    count(case when called.nature_code = 'non_police' then 1 end) as non_police_count,
    count(final.code) as closed_count,
    count(called.transferred_event_id) as transferred_count,
    count(case when called.state_code = 'returned' then 1 end) as returned_count,
    count(case when called.transferred_event_id is not null and known.event_id is null then 1 end) as unmatched_count,
    coalesce(sum(called.transfer_minutes), cast(0 as bigint)) as transfer_minutes_sum,
    count(called.transfer_minutes) as transfer_count
from called
left join known on called.transferred_event_id = known.event_id
left join {{ codes_marked('police_state', 'is_final') }} as final on called.state_code = final.code
group by called.month_date, called.region_system, called.region_code, called.category_code, called.direction
