-- one row per event whose description says that nothing was found, and nothing else
select
    e.event_id as subject_id,
    -- "发现" beyond those inside the nil phrases means that something was found after all: half a signal.
    case when regexp_replace(lower(e.description), :nil_phrases, '') like '%发现%' then 0.5d else 1.0d end as value,
    e.event_id as evidence_id,
    'event' as evidence_type,
    cast(regexp_count(lower(e.description), :nil_phrases) as bigint) as nil_count
from business.event as e
where
    lower(e.description) rlike :nil_phrases
    and not regexp_replace(lower(e.description), :nil_phrases, '') rlike :found_phrases
    and char_length(e.description) <= :longest
