"""Results of a job: written through `gridlake.tables` only when they differ from what is there, and shown in the catalog; or sent to the engine."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from gridlake.contracts.staging import MONTH
from gridlake.runs import Run, RunError


def write(run: Run, name: str, rows: pa.Table, schema: pa.Schema, key: list[str], *, in_order: bool = False) -> int:
    """Make `name` hold exactly these rows, in the order of `key`, in this schema; gives how many there are.

    Rows equal to the table's leave it at its version, so a repeated run changes nothing.
    `in_order` says that the rows need no sorting, which would copy them.
    """
    wanted = rows.select(schema.names).cast(schema)
    if not in_order:
        wanted = wanted.sort_by([(column, "ascending") for column in key])
    if run.tables.exists(name):
        present = run.tables.read(name)
        if present.schema.equals(schema) and present.equals(wanted):
            return int(wanted.num_rows)
    run.tables.overwrite(name, wanted)
    run.engine.register_table(name)
    return int(wanted.num_rows)


def write_months(run: Run, name: str, rows: pa.Table, schema: pa.Schema, key: list[str], months: Collection[str] | None) -> int:
    """`write` for a table partitioned by months: the rows of `months` are replaced, of all months where None; gives how many it then holds."""
    wanted = rows.select(schema.names).cast(schema).sort_by([(column, "ascending") for column in key])
    there = run.tables.exists(name)
    if there and not run.tables.schema(name).equals(schema):
        raise RunError(f"{name}: expected the columns {schema.names}, the table has others; remove {run.tables.path(name)}, it is made anew")
    held = run.tables.parts(name) if there else {}
    asked = held.keys() | set(wanted.column(MONTH).to_pylist()) if months is None else set(months)
    differing = []
    for month in sorted(asked):
        mine = wanted.filter(pc.equal(wanted.column(MONTH), month))
        present = run.tables.read(name, where=ds.field(MONTH) == month) if month in held else schema.empty_table()
        if not present.select(schema.names).cast(schema).equals(mine):
            differing.append(month)
    if differing or not there:
        run.tables.overwrite_parts(name, wanted.filter(pc.is_in(wanted.column(MONTH), pa.array(differing, pa.string()))), MONTH, differing)
        run.engine.register_table(name)
    return run.tables.row_count(name)


@contextmanager
def sent(run: Run, name: str, rows: pa.Table) -> Iterator[DataFrame]:
    """The rows in the engine while the context lasts: by a file, since a message to it may hold no more than 128 MiB."""
    path = run.settings.home.absolute() / "scratch" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, path)
    try:
        yield run.spark.read.parquet(str(path))
    finally:
        path.unlink()
