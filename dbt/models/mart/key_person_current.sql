-- one row per lowest region and type of key persons on the lists today; counts persons: published only as gridlake.privacy lets it be
{{ config(materialized='incremental', unique_key=['region_system', 'region_code', 'person_type_code']) }}
with placed as (
    {{ at_lowest_region(ref('key_person')) }}
)

select
    region_system,
    lowest_region_code as region_code,
    person_type_code,
    count(*) as person_count
from placed
where is_managed
group by region_system, lowest_region_code, person_type_code
