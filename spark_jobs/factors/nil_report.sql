-- one row per event whose description says that nothing was found, and nothing else
select
    event_id as subject_id,
    1.0d as value,
    event_id as evidence_id,
    'event' as evidence_type,
    cast(regexp_count(lower(description), :nil_phrases) as bigint) as nil_count
from event
where
    char_length(description) <= :longest
    and lower(description) rlike :nil_phrases
    and not regexp_replace(lower(description), :nil_phrases, '') rlike :found_phrases
