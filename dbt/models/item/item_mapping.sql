-- one row per version of an item and version that came in its place: the next of the same item, or one that says that it replaces it
{{ config(materialized='incremental', unique_key=['old_item_code', 'old_item_version', 'new_item_code', 'new_item_version']) }}
with version as (
    select
        item_code,
        item_version,
        item_name,
        class_code,
        limit_hours,
        limit_kind_code,
        responsible_role,
        valid_from,
        valid_to,
        replaces_codes,
        lead(item_version) over (partition by item_code order by valid_from, item_version) as next_version
    from {{ ref('item') }}
),

next_of_same as (
    select old.item_code as old_item_code, old.item_version as old_item_version, old.item_code as new_item_code, old.next_version as new_item_version
    from version as old
    where old.next_version is not null
),

-- multiplies rows: a version by the items that it replaces
replacing as (
    select item_code, item_version, valid_from, explode(split(replaces_codes, ',')) as replaced_code
    from version
    where replaces_codes is not null
),

-- Of an item that is replaced the last version before.
replaced as (
    select old_item_code, old_item_version, new_item_code, new_item_version
    from (
        select
            old.item_code as old_item_code,
            old.item_version as old_item_version,
            replacing.item_code as new_item_code,
            replacing.item_version as new_item_version,
            row_number() over (
                partition by replacing.item_code, replacing.item_version, old.item_code order by old.valid_from desc, old.item_version desc
            ) as newest
        from replacing
        inner join version as old on replacing.replaced_code = old.item_code and replacing.valid_from > old.valid_from
    ) as ranked
    where newest = 1
),

mapped as (
    select *, false as is_other_item from next_of_same
    union all
    select *, true as is_other_item from replaced
),

counted as (
    select
        *,
        count(case when is_other_item then 1 end) over (partition by old_item_code, old_item_version) as successor_count,
        count(case when is_other_item then 1 end) over (partition by new_item_code, new_item_version) as predecessor_count
    from mapped
)

select
    counted.old_item_code,
    counted.old_item_version,
    old.item_name as old_item_name,
    counted.new_item_code,
    counted.new_item_version,
    new.item_name as new_item_name,
    new.valid_from as changed_on,
    case
        when counted.is_other_item and counted.successor_count > 1 then 'split'
        when counted.is_other_item and counted.predecessor_count > 1 then 'merged'
        when counted.is_other_item then 'replaced'
        else 'next_version'
    end as change_code,
    old.item_name <> new.item_name as is_renamed,
    old.limit_hours as old_limit_hours,
    new.limit_hours as new_limit_hours,
    old.limit_kind_code as old_limit_kind_code,
    new.limit_kind_code as new_limit_kind_code,
    new.limit_hours - old.limit_hours as limit_hours_change,
    old.responsible_role as old_responsible_role,
    new.responsible_role as new_responsible_role
from counted
inner join version as old on counted.old_item_code = old.item_code and counted.old_item_version = old.item_version
inner join version as new on counted.new_item_code = new.item_code and counted.new_item_version = new.item_version
