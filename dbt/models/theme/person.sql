-- one row per current registration of a person; who he is as ciphertext and join token only
{{ config(materialized='incremental', unique_key='person_id', meta={'compared': ['_source_position', 'grid_id', 'canonical_person_id']}) }}
select
    person.person_id,
    known.canonical_person_id,
    person.local_id,
    person._sender_code as sender_code,
    person.feed,
    person.region_system,
    person.region_code,
    grid.grid_id,
    person.grid_code,
    person.sex_code,
    person.birth_date,
    person.person_type_code,
    person.house_id,
    person.household_relation_code,
    person.moved_in_date,
    person.status_code,
    person.status_date,
    person.person_name_sealed,
    person.person_name_token,
    person.id_number_sealed,
    person.id_number_token,
    person.phone_sealed,
    person.phone_token,
    person.registered_address_sealed,
    person.registered_address_token,
    person.changed_at,
    person.business_date,
    {{ prefixed('person', audit_columns()) }}
from {{ ref('stg_person') }} as person
left join {{ ref('grid') }} as grid on person.grid_code = grid.grid_code
left join {{ source('resolved', 'person_record') }} as known
    on known.entity = 'person' and person.person_id = known.record_id
