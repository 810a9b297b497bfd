-- one row per member of a grid team; names and numbers as ciphertext and join token only
{{ config(materialized='incremental', unique_key='member_id') }}
select
    member.member_id,
    known.canonical_person_id,
    member.local_id,
    member._sender_code as sender_code,
    member.feed,
    member.region_system,
    grid.region_code,
    member.grid_id,
    member.role_code,
    member.organisation_name,
    member.joined_date,
    member.left_date,
    member.joined_date <= {{ last_day('member.region_system') }}
    and (member.left_date is null or member.left_date > {{ last_day('member.region_system') }}) as is_current,
    member.person_name_sealed,
    member.person_name_token,
    member.id_number_sealed,
    member.id_number_token,
    member.phone_sealed,
    member.phone_token,
    member.changed_at,
    {{ prefixed('member', audit_columns()) }}
from {{ ref('stg_team_member') }} as member
left join {{ ref('grid') }} as grid on member.grid_id = grid.grid_id
left join {{ source('resolved', 'person_record') }} as known
    on known.entity = 'team_member' and member.member_id = known.record_id
