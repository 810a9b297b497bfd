"""Which canonical id a sender's own id stands for. Thin as yet: every local id is its own entity, nothing is merged."""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from gridlake.contracts import Contracts
from gridlake.runs import Run
from spark_jobs.resolve.arrival import history

CROSSWALK = pa.schema(
    [
        ("sender_code", pa.string()),
        ("entity", pa.string()),
        ("local_id", pa.string()),
        ("canonical_id", pa.string()),
        ("valid_from", pa.timestamp("us", "UTC")),
        ("valid_to", pa.timestamp("us", "UTC")),
        ("merged_into", pa.string()),
    ]
)
KEY = ["entity", "sender_code", "local_id"]


def build(run: Run) -> pa.Table:
    """One row per sender, entity and local id; from its first arrival to its deletion, if its newest version is one."""
    parts = []
    for entity, key in referred(run.contracts).items():
        landed = history(run, entity, [key])
        if landed is None:
            continue
        first = landed.groupBy("_sender_code", F.col(key).alias("local_id")).agg(F.min("_received_at").alias("valid_from"))
        known = [run.spark.table(f"staging.stg_{c.id}") for c in run.contracts.conforming(entity) if run.tables.exists(f"staging.stg_{c.id}")]
        newest = reduce(DataFrame.unionByName, (k.select("_sender_code", "local_id", key, "_op", "_received_at") for k in known))
        parts.append(
            # The narrower side first: the embedded engine holds it in memory.
            first.join(newest, ["_sender_code", "local_id"])
            .select(
                F.col("_sender_code").alias("sender_code"),
                F.lit(entity).alias("entity"),
                "local_id",
                F.col(key).alias("canonical_id"),
                "valid_from",
                F.when(F.col("_op") == "delete", F.col("_received_at")).alias("valid_to"),
                F.lit(None).cast("string").alias("merged_into"),
            )
            # Millions of rows: the engine sorts on disk what Arrow would hold twice.
            .orderBy("sender_code", "local_id")
            .toArrow()
            .cast(CROSSWALK)
        )
    return pa.concat_tables([CROSSWALK.empty_table(), *parts])


def referred(contracts: Contracts) -> dict[str, str]:
    """Each entity that another one refers to by a sender's local id, with its key column; nobody looks up the others."""
    named = {
        (c.entity, column.local_id_of) for c in contracts.values() for column in c.columns if column.local_id_of and column.local_id_of != c.entity
    }
    keys = {}
    for entity in sorted({local for _, local in named if local in contracts.entities}):
        key = contracts.defining(entity).key
        if len(key) == 1 and key[0].local_id_of == entity:
            keys[entity] = key[0].name
    return keys
