"""The DuckDB file of a snapshot: marts as tables, those that the lake keeps by month as one table a month under a view.

A month that is made of the same files as in the last snapshot is taken from there, so a day costs what it has changed and not what there is.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gridlake.contracts.staging import MONTH
from gridlake.privacy import PERSONS, publishable_counts
from gridlake.runs import Run

# Raised when what this file writes of the same tables is not what it wrote before: months of older snapshots are then written anew.
_FORMAT = 1
# Months lie in this schema, which is no mart; `made_of` says of which files each was written.
_MONTHS = "month"
_MADE_OF = f"{_MONTHS}.made_of"
# What a drill asks for by equality; with an index it takes half a millisecond whatever the number of grids.
_INDEXED = tuple((mart, column) for mart in ("mart.region", "mart.region_overview") for column in ("region_code", "parent_code"))


def write(run: Run, marts: list[str], path: Path, last: Path | None) -> dict[str, str]:
    """Write the run's marts into a new file; gives by mart its number of rows and a digest of them, whatever their order.

    `last` is the file of the snapshot before, of the same lake; it stays as it is.
    """
    digests: dict[str, str] = {}
    with _opened(path, last) as database:
        database.execute("set TimeZone = 'UTC'")
        database.execute(f"set memory_limit = '{run.settings.memory_mb}MB'")  # beyond it goes on on disk, beside the file
        database.execute(f"create schema if not exists {_MONTHS}")
        database.execute(f"create table if not exists {_MADE_OF} (mart text, {MONTH} text, state text, digest text)")
        # Room that is given up is used again after a checkpoint only.
        database.execute("drop schema if exists mart cascade")
        parts = {name: run.tables.parts(name) for name in marts}
        _drop_others(database, {name: set(held) for name, held in parts.items()})
        database.execute("checkpoint")
        database.execute("create schema mart")
        with run.progress.task("发布 marts", total=len(marts)) as task:
            for name in marts:
                has_months = MONTH in run.tables.schema(name).names
                digests[name] = _write_months(run, database, name, parts[name]) if has_months else _write_whole(run, database, name)
                task.advance()
        for number, (name, column) in enumerate(_INDEXED):
            if name in marts:
                database.execute(f"create index drill_{number} on {name} ({column})")
    return digests


def _opened(path: Path, last: Path | None) -> duckdb.DuckDBPyConnection:
    if last is not None:
        shutil.copyfile(last, path)
        try:
            return duckdb.connect(str(path))
        except duckdb.Error:
            # Whatever has become of it: all that it holds can be written anew.
            path.unlink()
    return duckdb.connect(str(path))


def newest_rows(database: duckdb.DuckDBPyConnection, mart: str) -> str:
    """A table that holds some rows of a mart, all of them where it has no months."""
    found = database.execute(f"select max({MONTH}) from {_MADE_OF} where mart = $mart", {"mart": mart}).fetchone()
    return _month_table(mart, found[0]) if found and found[0] else mart


def _write_whole(run: Run, database: duckdb.DuckDBPyConnection, name: str) -> str:
    if PERSONS in run.tables.schema(name).names:
        # Not the mart itself: whoever holds the snapshot must not be able to compute a count of a few persons.
        regions = run.tables.read("mart.region", columns=["region_system", "region_code", "parent_code"])
        database.register("told", publishable_counts(run.tables.read(name), regions))
        database.execute(f"create table {name} as select * from told order by all")
        database.unregister("told")
    elif files := run.tables.files(name):
        _copy(database, name, files, run.tables.schema(name).names)
    else:
        _create_empty(run, database, name, name)
    return _row_digest(database, name)


def _write_months(run: Run, database: duckdb.DuckDBPyConnection, name: str, parts: dict[str, str]) -> str:
    schema = run.tables.schema(name)
    # By which the lake's table is partitioned says nothing that the date does not.
    columns = [column for column in schema.names if column != MONTH]
    shape = hashlib.sha256(f"{_FORMAT} {schema}".encode()).hexdigest()
    known = dict(database.execute(f"select {MONTH}, (state, digest) from {_MADE_OF} where mart = $mart", {"mart": name}).fetchall())
    files = run.tables.files_by_part(name)
    written = {}
    for month, held in sorted(parts.items()):
        table, state = _month_table(name, month), f"{shape} {held}"
        if month in known and known[month][0] == state:
            written[month] = known[month][1]
            continue
        database.execute(f"drop table if exists {table}")
        _copy(database, table, files[month], columns)
        written[month] = _row_digest(database, table)
        database.execute(f"delete from {_MADE_OF} where mart = $mart and {MONTH} = $month", {"mart": name, "month": month})
        database.execute(f"insert into {_MADE_OF} values ($1, $2, $3, $4)", [name, month, state, written[month]])
    tables = [_month_table(name, month) for month in written]
    if not tables:
        tables = [_month_table(name, "none")]
        _create_empty(run, database, tables[0], name)
    database.execute(f"create view {name} as {' union all '.join(f'from {table}' for table in tables)}")
    counts = sum(int(digest.partition(":")[0]) for digest in written.values())
    return f"{counts}:{hashlib.sha256(repr(sorted(written.items())).encode()).hexdigest()}"


def _drop_others(database: duckdb.DuckDBPyConnection, wanted: dict[str, set[str]]) -> None:
    """Drop the months that the marts no longer have."""
    kept = {_month_table(name, month) for name, months in wanted.items() for month in months}
    found = database.execute("select table_name from duckdb_tables() where schema_name = $schema", {"schema": _MONTHS}).fetchall()
    for (table,) in found:
        if f"{_MONTHS}.{table}" != _MADE_OF and f'{_MONTHS}."{table}"' not in kept:
            database.execute(f'drop table {_MONTHS}."{table}"')
    for name, month in database.execute(f"select mart, {MONTH} from {_MADE_OF}").fetchall():
        if month not in wanted.get(name, ()):
            database.execute(f"delete from {_MADE_OF} where mart = $mart and {MONTH} = $month", {"mart": name, "month": month})


def _month_table(mart: str, month: str) -> str:
    return f'{_MONTHS}."{mart.removeprefix("mart.")} {month}"'


def _copy(database: duckdb.DuckDBPyConnection, table: str, files: list[str], columns: list[str]) -> None:
    # Rows in one order whatever order the engine wrote them in: equal marts make equal files to read and equal pages to turn.
    source = f"select {', '.join(columns)} from read_parquet($files, union_by_name => true, hive_partitioning => false) order by all"
    database.execute(f"create table {table} as {source}", {"files": files})


def _create_empty(run: Run, database: duckdb.DuckDBPyConnection, table: str, name: str) -> None:
    columns = [column for column in run.tables.schema(name).names if column != MONTH]
    database.register("empty", run.tables.read(name).select(columns))
    database.execute(f"create table {table} as select * from empty")
    database.unregister("empty")


def _row_digest(database: duckdb.DuckDBPyConnection, name: str) -> str:
    """The number of rows and a digest of the rows' digests, in order; sorted on disk where they are many."""
    whole, count = hashlib.sha256(), 0
    for digests in _sorted_digests(database, name):
        count += len(digests)
        (joined,) = pc.binary_join(pa.ListArray.from_arrays([0, len(digests)], digests), "")
        whole.update(joined.as_py().encode())
    return f"{count}:{whole.hexdigest()}"


def _sorted_digests(database: duckdb.DuckDBPyConnection, name: str) -> Iterator[pa.Array]:
    for batch in database.sql(f"select sha256(to_json(t)) as digest from {name} as t order by digest").to_arrow_reader():
        yield batch.column(0)
