"""Results of a job: written through `gridlake.tables` only when they differ from what is there, and shown in the catalog; or sent to the engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame

from gridlake.runs import Run


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
