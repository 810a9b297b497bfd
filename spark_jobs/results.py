"""Results of a job: written through `gridlake.tables` only when they differ from what is there, and shown in the catalog; or sent to the engine."""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
from pyspark.sql import DataFrame

from gridlake.runs import Run

# A message to the engine may hold 128 MiB; a million planted events were 250.
_ROWS_A_MESSAGE = 100_000


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


def sent(run: Run, rows: pa.Table) -> DataFrame:
    """The rows in the engine, in as many messages as they need."""
    parts = [run.spark.createDataFrame(rows.slice(start, _ROWS_A_MESSAGE)) for start in range(0, max(rows.num_rows, 1), _ROWS_A_MESSAGE)]
    return reduce(DataFrame.unionByName, parts)
