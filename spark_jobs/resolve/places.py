"""At which standard address a house, an enterprise, a key place, the home of a key person lies: by its code, else by its text as people write it.

People leave out what everybody there knows: the province, the city, the county, the township. So each standard address of a village is compared in
all these forms, by join token where the text is sealed; nothing is opened. What matches no address, or several, stays without and is listed.
"""

from __future__ import annotations

from typing import NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gridlake.privacy import Keys
from gridlake.runs import Run
from spark_jobs.resolve.regions import Resolved


class Kind(NamedTuple):
    """Where a kind of records says its address: the columns of code (None: it has none) and of text or its token."""

    key: str
    code: str | None
    text: str


KINDS = {
    "enterprise": Kind("enterprise_id", "address_code", "address_text"),
    "house": Kind("house_id", "address_code", "house_address_token"),
    "key_person": Kind("key_person_id", None, "home_address_token"),
    "key_place": Kind("key_place_id", "address_code", "address_text"),
}
ADDRESS_LINK = pa.schema([(name, pa.string()) for name in ("entity", "record_id", "address_code", "method_code")])
ADDRESS_LINK_KEY = ["entity", "record_id"]
PROBLEMS = ("address_code_unknown", "address_not_found", "address_ambiguous", "address_code_and_text_differ")
# Province, city, county, township: what may be left out before a village's name.
_LEFT_OUT = 4


def inputs(run: Run) -> list[str]:
    """The tables that the links are made of."""
    of_kinds = [f"staging.stg_{c.id}" for entity in ("address", *KINDS) for c in run.contracts.conforming(entity)]
    return [*of_kinds, "resolved.region", "resolved.region_closure"]


def known(run: Run) -> Resolved:
    """What `resolve` gave when the tables were written."""
    problems = run.tables.read("resolved.problem", where=pc.field("problem").isin(list(PROBLEMS)))
    return Resolved(run.tables.read("resolved.address_link"), problems)


def resolve(run: Run) -> Resolved:
    """One row per record whose standard address is known; reads resolved.region and resolved.region_closure."""
    if not _has_landed(run, "address"):
        return Resolved(ADDRESS_LINK.empty_table(), _NO_PROBLEMS)
    with duckdb.connect(":memory:", config={"memory_limit": f"{run.settings.memory_mb}MB"}) as database:
        database.register("address", run.spark.table("staging.stg_address").select("address_code", "region_code", "address_text").toArrow())
        for name in ("region", "region_closure"):
            database.register(name, run.tables.read(f"resolved.{name}"))
        database.execute(
            "create table record (entity varchar, record_id varchar, region_system varchar, region_code varchar, code varchar, text varchar)"
        )
        for entity, kind in KINDS.items():
            if _has_landed(run, entity):
                columns = [kind.key, "region_system", "region_code", *([kind.code] if kind.code else []), kind.text]
                database.register("given", run.spark.table(f"staging.stg_{entity}").select(*columns).toArrow())
                code = kind.code or "null"
                database.execute(f"insert into record select '{entity}', {kind.key}, region_system, region_code, {code}, {kind.text} from given")
        _write_forms(database, run.keys)
        database.execute(_MATCHED)
        return Resolved(database.sql(_LINKS).to_arrow_table(), database.sql(_PROBLEMS).to_arrow_table())


def _has_landed(run: Run, entity: str) -> bool:
    return any(f"bronze.{c.id}" in run.cut for c in run.contracts.conforming(entity))


def _write_forms(database: duckdb.DuckDBPyConnection, keys: Keys) -> None:
    """Make `form`: each standard address as it may be written, plain and as token; is_whole where nothing is left out."""
    forms = " union all ".join(
        f"""
        select address_code, region_code, false as is_whole, substr(address_text, length(prefix) + 1) as text
        from (
            select address.*, array_to_string(names[:{count}], '') as prefix from address join above using (region_code) where len(names) >= {count}
        )
        where starts_with(address_text, prefix)
        """
        for count in range(1, _LEFT_OUT + 1)
    )
    plain = database.sql(f"""
        with above as (
            select below.region_code, list(region.region_name order by region.region_level) as names
            from region_closure as below
            join region on region.region_system = below.region_system and region.region_code = below.ancestor_code
            where below.distance > 0 and below.region_level = {_LEFT_OUT + 1} group by below.region_code
        )
        select address_code, region_code, true as is_whole, address_text as text from address union all {forms}
    """).to_arrow_table()
    database.register("form", plain.append_column("token", keys.token(plain["text"])))


_MATCHED = """
    create table matched as
    with found as (
        select entity, record_id, address_code, is_whole
        from record join form on form.region_code = record.region_code and form.token = record.text
        union all
        select entity, record_id, address_code, is_whole
        from record join form on form.region_code = record.region_code and form.text = record.text
    ),
    by_text as (
        select entity, record_id, min(address_code) as address_code, count(distinct address_code) as found, bool_or(is_whole) as is_whole
        from found group by entity, record_id
    )
    select record.*, by_text.address_code as by_text, by_text.found, by_text.is_whole, known.address_code as by_code
    from record
    left join by_text on by_text.entity = record.entity and by_text.record_id = record.record_id
    left join (select distinct address_code from address) as known on known.address_code = record.code
"""
_LINKS = """
    select entity, record_id, coalesce(by_code, by_text) as address_code,
        case when by_code is not null then 'code' when is_whole then 'text' else 'shortened_text' end as method_code
    from matched where by_code is not null or found = 1
    order by entity, record_id
"""
_PROBLEMS = """
    select problem, entity as subject_type, region_system, record_id as subject_id, detail
    from (
        select *, 'address_code_unknown' as problem, 'no standard address has its code' as detail
        from matched where code is not null and by_code is null
        union all
        select *, 'address_not_found', 'no standard address of its village is written like this'
        from matched where by_code is null and found is null and text is not null
        union all
        select *, 'address_ambiguous', found || ' standard addresses of its village are written like this'
        from matched where by_code is null and found > 1
        union all
        select *, 'address_code_and_text_differ', 'the code counts' from matched where found = 1 and by_text <> by_code
    )
"""
_NO_PROBLEMS = pa.table({name: pa.array([], pa.string()) for name in ("problem", "subject_type", "region_system", "subject_id", "detail")})
