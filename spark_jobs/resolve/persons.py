"""Who of the registers, lists and teams is one natural person: canonical ids over time, links with their reasons, what stays open.

All of it is a function of the landing history and of what people said (feed human_label, model person_link): a rebuild gives the same ids. No sealed
value is opened.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from gridlake.contracts import Contract, staging
from gridlake.runs import Run
from spark_jobs.resolve import clusters, linkage

# What each entity says of a person beside name, ID number and phone; a grid stands for its village.
ENTITIES = {
    "person": {"birth_date": "birth_date", "sex_code": "sex_code", "address": "registered_address_token", "region_code": "region_code"},
    "key_person": {"birth_date": "birth_date", "sex_code": "sex_code", "address": "home_address_token", "region_code": "region_code"},
    "team_member": {"grid_id": "grid_id"},
}
LABELLED = "person_link"
PROBLEMS = ("person_link_to_review", "id_number_of_too_many", "person_not_identifiable", "label_of_unknown_record", "labels_contradict")
_EVERYWHERE = {"person_name": "person_name_token", "id_number": "id_number_token", "phone": "phone_token"}
_SQL_TYPE = {"person_name": "uuid", "id_number": "uuid", "phone": "uuid", "address": "uuid", "birth_date": "date"}
_COLUMNS = (*_EVERYWHERE, "birth_date", "sex_code", "address", "region_code", "grid_id")
# More than a record ever has in one feed.
_VERSIONS = 1_000_000_000
_LABEL_COLUMNS = ("model", "subject_type", "subject_id", "other_subject_type", "other_subject_id", "label_code")

_TEXT, _TIME = pa.string(), pa.timestamp("us", "UTC")
PERSON_RECORD = pa.schema([(name, _TEXT) for name in ("entity", "record_id", "canonical_person_id")] + [("record_count", pa.int64())])
PERSON_RECORD_KEY = ["entity", "record_id"]
PERSON_LINK = pa.schema(
    [
        *((name, _TEXT) for name in ("link_id", "left_entity", "left_id", "right_entity", "right_id", "state_code", "agreed", "differed")),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("model_version", _TEXT),
        ("label_id", _TEXT),
        ("linked_at", _TIME),
        ("unlinked_at", _TIME),
    ]
)
PERSON_LINK_KEY = ["link_id"]


class Persons(NamedTuple):
    """Rows of resolved.person_record, resolved.person_link, resolved.crosswalk (by entity, sender, local id and time) and resolved.problem."""

    records: pa.Table
    links: pa.Table
    crosswalk: pa.Table
    problems: pa.Table


def inputs(run: Run) -> dict[str, int | None]:
    """The tables that the links are made of, those that go on growing at the cut's versions."""
    landed = [f"bronze.{c.id}" for entity in (*ENTITIES, "human_label") for c in run.contracts.conforming(entity)]
    return {name: run.cut[name] for name in landed if name in run.cut} | {f"staging.stg_{c.id}": None for c in _staged(run)}


def said(run: Run) -> str:
    """What the contracts say of the columns: another map, and the links may be others."""
    contracts = [c for entity in (*ENTITIES, "human_label") for c in run.contracts.conforming(entity)]
    return json.dumps([staging.statement(c, run.contracts) for c in contracts])


def _staged(run: Run) -> list[Contract]:
    """The feeds that are read from staging: grids, and whatever its own .sql maps."""
    mapped = [c for entity in (*ENTITIES, "human_label") for c in run.contracts.conforming(entity) if c.sql]
    return [*run.contracts.conforming("grid"), *mapped]


def known(run: Run) -> Persons:
    """What `resolve` gave when the tables were written."""
    records, links = run.tables.read("resolved.person_record"), run.tables.read("resolved.person_link")
    crosswalk = run.tables.read("resolved.crosswalk", where=pc.field("entity").isin(list(ENTITIES)))
    return Persons(records, links, crosswalk, run.tables.read("resolved.problem", where=pc.field("problem").isin(list(PROBLEMS))))


def resolve(run: Run) -> Persons:
    """Link every record of a person that has landed."""
    model = linkage.Model.load()
    with _database(run) as database:
        _read(run, database)
        _read_labels(run, database)
        linkage.link(database, model)
        history = _follow(database)
        database.register("history", pa.Table.from_pandas(history, preserve_index=False))
        _describe(database, model)
        return Persons(*(database.sql(sql).to_arrow_table() for sql in (_RECORDS, _LINKS, _CROSSWALK, _PROBLEMS)))


@contextmanager
def _database(run: Run) -> Iterator[duckdb.DuckDBPyConnection]:
    spill = run.settings.home.absolute() / "scratch"
    with duckdb.connect(":memory:", config={"temp_directory": str(spill), "memory_limit": f"{run.settings.memory_mb}MB"}) as database:
        database.execute("set TimeZone = 'UTC'")
        yield database


def _read(run: Run, database: duckdb.DuckDBPyConnection) -> None:
    """Make `record` (numbered by first arrival) and `version` (what identifies it, each time that it changed)."""
    columns = ", ".join(f"{name} {_SQL_TYPE.get(name, 'varchar')}" for name in _COLUMNS)
    database.execute(f"""
        create table landed (entity varchar, region_system varchar, sender_code varchar, local_id varchar, received_at timestamptz, position varchar,
            is_delete boolean, version bigint, {columns})
    """)
    for entity, own in ENTITIES.items():
        for contract in run.contracts.conforming(entity):
            rows = _landed(run, contract, _EVERYWHERE | own)
            if rows is not None:
                _take(run, database, entity, contract, rows)
    grids = run.spark.table("staging.stg_grid").select("grid_id", "region_code").toArrow()
    database.register("grid", grids)
    same = " and ".join(f"{name} is not distinct from lag({name}) over states" for name in _COLUMNS)
    database.execute(f"""
        create table record as
        select
            row_number() over (order by min(received_at), min_by(position, (received_at, position)), entity, sender_code, local_id) - 1 as record,
            entity, sender_code, local_id, sender_code || '-' || local_id as record_id, min(region_system) as region_system,
            min(received_at) as arrived_at,
            case when max(version) filter (where is_delete) = max(version) then max_by(received_at, version) end as deleted_at,
            left(sha256(entity || '|' || sender_code || '-' || local_id), 32) as person_id
        from landed group by entity, sender_code, local_id having not bool_and(is_delete);

        create table version as
        with newest as (
            -- A version that comes after a newer one was never what the sender said.
            select *, max(version) over (partition by entity, sender_code, local_id order by received_at, position) = version as is_newest from landed
        ),
        states as (
            select *, lag(version) over states is not null and {same} as is_same from newest where is_newest and not is_delete
            window states as (partition by entity, sender_code, local_id order by version)
        )
        select
            record.record,
            states.received_at as since,
            states.version = max(states.version) over (partition by record.record) as is_current,
            {", ".join(f"states.{c}" for c in _COLUMNS if c not in {"sex_code", "region_code", "grid_id"})},
            case when states.sex_code in ('1', '2') then states.sex_code end as sex_code,
            coalesce(states.region_code, grid.region_code) as region_code
        from states
        join record using (entity, sender_code, local_id)
        left join grid on grid.grid_id = states.sender_code || '-' || states.grid_id
        where not is_same;

        drop table landed;
    """)


def _landed(run: Run, contract: Contract, columns: dict[str, str]) -> DataFrame | None:
    """Every landed row of a feed with these columns of its entity; of a feed mapped by its own .sql the newest versions only."""
    if f"bronze.{contract.id}" not in run.cut:
        return None
    shape = staging.canonical(contract, run.contracts)
    if contract.sql:
        expressions = {name: name for name in columns.values()}
        source, key, version = f"staging.stg_{contract.id}", "local_id", ["1"]
    else:
        expressions = dict(staging.statement(contract, run.contracts)["values"])
        source, key, version = f"bronze.{contract.id}", expressions[shape.key[0].name], [c.name for c in contract.version_order]
    return run.spark.table(source).select(
        F.expr(key).alias("local_id"),
        "_sender_code",
        "_received_at",
        "_source_position",
        "_op",
        *(F.expr(name).alias(f"version_{number}") for number, name in enumerate(version)),
        *(F.expr(expressions[source_name]).alias(name) for name, source_name in columns.items()),
    )


def _take(run: Run, database: duckdb.DuckDBPyConnection, entity: str, contract: Contract, rows: DataFrame) -> None:
    versions = ", ".join(f"{name} nulls first" for name in rows.columns if name.startswith("version_"))
    given = ", ".join(f"cast({name} as {_SQL_TYPE.get(name, 'varchar')})" if name in rows.columns else "null" for name in _COLUMNS)
    # What came by an older major version of the feed was said before.
    later = len(run.contracts.conforming(entity)) - len(run.contracts.superseding(contract))
    database.register("given", rows.toArrow())
    database.execute(
        f"""
        insert into landed
        select $entity, $region_system, _sender_code, local_id, _received_at, _source_position, _op = 'delete',
            {later * _VERSIONS} + row_number() over (partition by _sender_code, local_id order by {versions}, _source_position), {given}
        from given
        """,
        {"entity": entity, "region_system": contract.region_system},
    )
    database.unregister("given")


def _read_labels(run: Run, database: duckdb.DuckDBPyConnection) -> None:
    """Make `verdict`: what people said of two records, from when until when; of several words about a pair the latest counts."""
    database.execute("""
        create table said (sender_code varchar, label_id varchar, received_at timestamptz, position varchar, is_delete boolean, version bigint,
            model varchar, subject_type varchar, subject_id varchar, other_subject_type varchar, other_subject_id varchar, label_code varchar)
    """)
    for contract in run.contracts.conforming("human_label"):
        rows = _landed(run, contract, {name: name for name in _LABEL_COLUMNS})
        if rows is None:
            continue
        versions = ", ".join(f"{name} nulls first" for name in rows.columns if name.startswith("version_"))
        # A deletion has no columns but its key.
        labels = rows.where((F.col("model") == LABELLED) | (F.col("_op") == "delete"))
        database.register("given", labels.toArrow())
        database.execute(f"""
            insert into said
            select _sender_code, local_id, _received_at, _source_position, _op = 'delete',
                row_number() over (partition by _sender_code, local_id order by {versions}, _source_position), {", ".join(_LABEL_COLUMNS)}
            from given
        """)
        database.unregister("given")
    database.execute("""
        create table verdict as
        with newest as (
            select *, max(version) over (partition by sender_code, label_id order by received_at, position) = version as is_newest from said
        ),
        standing as (
            select *, lead(received_at) over (partition by sender_code, label_id order by version) as replaced_at from newest where is_newest
        ),
        named as (
            select
                standing.sender_code || '-' || label_id as label_id, label_code, subject_type, subject_id, other_subject_type, other_subject_id,
                received_at, replaced_at, one.record as one, other.record as other, greatest(received_at, one.arrived_at, other.arrived_at) as since
            from standing
            left join record as one on one.entity = subject_type and one.record_id = subject_id
            left join record as other on other.entity = other_subject_type and other.record_id = other_subject_id
            where not is_delete and label_code in ('valid', 'invalid')
        )
        select
            *, least(one, other) as left_record, greatest(one, other) as right_record, label_code = 'valid' as is_same,
            least(replaced_at, lead(since) over (partition by least(one, other), greatest(one, other) order by since, label_id)) as until
        from named
    """)


def _follow(database: duckdb.DuckDBPyConnection) -> pd.DataFrame:
    arrived = database.execute("select epoch_us(arrived_at) as at from record order by record").fetchnumpy()["at"].astype(np.int64)
    links = database.execute(f"""
        select left_record as "left", right_record as "right", epoch_us(since) as since, coalesce(epoch_us(until), {clusters.FOREVER}) as until,
            score as strength
        from link where is_linked order by left_record, right_record
    """).df()
    verdicts = database.execute(f"""
        select left_record, right_record, is_same, epoch_us(since), coalesce(epoch_us(until), {clusters.FOREVER})
        from verdict where left_record < right_record and (until is null or since < until) order by all
    """).fetchall()
    return clusters.follow(arrived, links, [clusters.Verdict(*row) for row in verdicts])


def _describe(database: duckdb.DuckDBPyConnection, model: linkage.Model) -> None:
    """Make `named` (each record with its person of today) and `decided` (each pair with what became of it and why)."""
    database.execute(f"""
        create table named as
        select record.*, history.person, name.person_id as canonical_person_id, count(*) over (partition by history.person) as record_count
        from record
        join history on history.record = record.record and history.until = {clusters.FOREVER}
        join record as name on name.record = history.person;

        create table decided as
        with standing as (select * from verdict where until is null and left_record < right_record)
        select
            coalesce(link.left_record, standing.left_record) as left_record,
            coalesce(link.right_record, standing.right_record) as right_record,
            l.person = r.person as is_one,
            case
                when standing.is_same then 'confirmed'
                when not standing.is_same then 'refused'
                when link.until is not null then 'contradicted'
                when link.is_linked and l.person = r.person then 'linked'
                when link.is_linked then 'outweighed'
                else 'to_review'
            end as state_code,
            coalesce(link.agreed, '') as agreed, coalesce(link.differed, '') as differed, link.score,
            {model.threshold}::double as threshold, '{model.version}' as model_version, standing.label_id,
            case when link.is_linked then link.since when standing.is_same then standing.since end as linked_at,
            case when not standing.is_same and link.is_linked then standing.since else link.until end as unlinked_at
        from link
        full join standing on standing.left_record = link.left_record and standing.right_record = link.right_record
        join named as l on l.record = coalesce(link.left_record, standing.left_record)
        join named as r on r.record = coalesce(link.right_record, standing.right_record);

        -- Two who are one by others need no look.
        delete from decided where state_code = 'to_review' and is_one;
    """)


_RECORDS = "select entity, record_id, canonical_person_id, record_count from named order by entity, record_id"
_LINKS = """
    select
        left(sha256(l.entity || '|' || l.record_id || '|' || r.entity || '|' || r.record_id), 32) as link_id,
        l.entity as left_entity, l.record_id as left_id, r.entity as right_entity, r.record_id as right_id,
        decided.* exclude (left_record, right_record, is_one)
    from decided
    join record as l on l.record = decided.left_record
    join record as r on r.record = decided.right_record
    order by link_id
"""
_CROSSWALK = f"""
    select
        record.sender_code, record.entity, record.local_id, name.person_id as canonical_id, make_timestamptz(history.since) as valid_from,
        least(case when history.until < {clusters.FOREVER} then make_timestamptz(history.until) end, record.deleted_at) as valid_to,
        merged.person_id as merged_into
    from history
    join record on record.record = history.record
    join record as name on name.record = history.person
    left join record as merged on merged.record = history.merged_into
    where record.deleted_at is null or make_timestamptz(history.since) <= record.deleted_at
    order by record.entity, record.sender_code, record.local_id, valid_from
"""
_PROBLEMS = """
    select 'person_link_to_review' as problem, l.entity as subject_type, l.region_system, l.record_id as subject_id,
        'perhaps the ' || r.entity || ' ' || r.record_id || ': agrees in ' || agreed
            || case when differed = '' then '' else ', differs in ' || differed end as detail
    from decided join record as l on l.record = decided.left_record join record as r on r.record = decided.right_record
    where state_code = 'to_review'
    union all
    select 'id_number_of_too_many', entity, region_system, record_id, 'its ID number counts as missing'
    from shared_id_number join record using (record)
    union all
    select 'person_not_identifiable', named.entity, named.region_system, named.record_id, 'a name without ID number, phone and birth date'
    from named
    join version on version.record = named.record and version.is_current
    where named.record_count = 1 and id_number is null and phone is null and birth_date is null
    union all
    select 'label_of_unknown_record', 'human_label', null, label_id, 'no person, key_person or team_member of that id has arrived'
    from verdict where until is null and (one is null or other is null)
    union all
    select 'labels_contradict', l.entity, l.region_system, l.record_id,
        'called the same as the ' || r.entity || ' ' || r.record_id || ', but not joined'
    from decided join record as l on l.record = decided.left_record join record as r on r.record = decided.right_record
    where state_code = 'confirmed' and not is_one
"""
