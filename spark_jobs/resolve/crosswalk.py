"""Which canonical id a sender's own id stands for: a person's as `persons` found it, every other local id is its own entity."""

from __future__ import annotations

from functools import reduce

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812

from gridlake.contracts import Contracts
from gridlake.contracts.staging import is_dated
from gridlake.runs import Run
from spark_jobs.resolve.arrival import history
from spark_jobs.resolve.persons import ENTITIES

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
KEY = ["entity", "sender_code", "local_id", "valid_from"]
# About 200 MB in Arrow, and as much in the engine that sorts them.
_ROWS = 2_000_000


def build(run: Run, persons: pa.Table) -> pa.Table:
    """One row per sender, entity and local id; from its first arrival to its deletion, if its newest version is one.

    `persons`: the rows of the entities whose records are persons, in order; one for each canonical id that a local id has stood for.
    """
    parts = []
    keys = referred(run.contracts) | dict.fromkeys(ENTITIES, "")
    for entity, key in sorted(keys.items()):
        if entity in ENTITIES:
            parts.append(persons.filter(pc.equal(persons["entity"], entity)).select(CROSSWALK.names).cast(CROSSWALK))
            continue
        landed = history(run, entity, [key])
        if landed is None:
            continue
        known = [run.spark.table(f"staging.stg_{c.id}") for c in run.contracts.conforming(entity) if run.tables.exists(f"staging.stg_{c.id}")]
        newest = reduce(DataFrame.unionByName, (k.select("_sender_code", "local_id", key, "_op", "_received_at") for k in known))
        for senders in _groups(newest):
            within = F.col("_sender_code").between(senders[0], senders[-1])
            first = landed.where(within).groupBy("_sender_code", F.col(key).alias("local_id")).agg(F.min("_received_at").alias("valid_from"))
            parts.append(
                # The narrower side first: the embedded engine holds it in memory.
                first.join(newest.where(within), ["_sender_code", "local_id"])
                .select(
                    F.col("_sender_code").alias("sender_code"),
                    F.lit(entity).alias("entity"),
                    "local_id",
                    F.col(key).alias("canonical_id"),
                    "valid_from",
                    F.when(F.col("_op") == "delete", F.col("_received_at")).alias("valid_to"),
                    F.lit(None).cast("string").alias("merged_into"),
                )
                # The engine sorts on disk what Arrow would hold twice.
                .orderBy("sender_code", "local_id")
                .toArrow()
                .cast(CROSSWALK)
            )
    return pa.concat_tables([CROSSWALK.empty_table(), *parts])


def _groups(newest: DataFrame) -> list[list[str]]:
    """The senders in order, as many in a group as have _ROWS rows together: what is sorted and fetched at a time."""
    counted = newest.groupBy("_sender_code").count().orderBy("_sender_code").toArrow()
    groups: list[list[str]] = []
    held = 0
    for sender, rows in zip(*(column.to_pylist() for column in counted.columns), strict=True):
        if not groups or held + rows > _ROWS:
            groups.append([])
            held = 0
        groups[-1].append(sender)
        held += rows
    return groups


def referred(contracts: Contracts) -> dict[str, str]:
    """Each entity that another one refers to by a sender's local id, with its key column; nobody looks up the others.

    What happens (events, tasks, …) is not among them: nothing of it is ever merged: its id is `<sender>-<local id>`, and there is ever more of it.
    """
    named = {
        (c.entity, column.local_id_of) for c in contracts.values() for column in c.columns if column.local_id_of and column.local_id_of != c.entity
    }
    keys = {}
    for entity in sorted({local for _, local in named if local in contracts.entities}):
        shape = contracts.defining(entity)
        key = shape.key
        if not is_dated(shape) and len(key) == 1 and key[0].local_id_of == entity:
            keys[entity] = key[0].name
    return keys
