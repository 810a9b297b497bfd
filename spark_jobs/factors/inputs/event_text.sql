-- one row per event: its description without case, blanks and punctuation (text), also without digits (wording), and how many share the wording
with normalised as (
    select
        event_id,
        region_system,
        regexp_replace(lower(coalesce(description, '')), '[^a-z0-9\u4e00-\u9fff]+', '') as text,
        regexp_replace(lower(coalesce(description, '')), '[^a-z\u4e00-\u9fff]+', '') as wording
    from business.event
)

select
    event_id,
    -- Levenshtein takes the product of both lengths; the first 200 characters tell texts apart.
    substring(text, 1, 200) as text,
    wording,
    count(*) over (partition by region_system, wording) as wording_count
from normalised
