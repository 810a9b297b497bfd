"""How good a model's findings are where the truth is known: the simulator leaves it in `<inbox>/_truth/finding_truth.parquet`."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyspark.sql import functions as F  # noqa: N812

from gridlake.runs import Run
from spark_jobs import results

TRUTH = "_truth/finding_truth.parquet"
ALL = "all"
SCHEMA = pa.schema(
    [
        ("model", pa.string()),
        ("kind", pa.string()),
        ("truth_count", pa.int64()),
        ("found_count", pa.int64()),
        ("precision", pa.float64()),
        ("recall", pa.float64()),
    ]
)


def measure(run: Run, models: list[str]) -> pa.Table:
    """One row per model and planted kind, and one with kind `all`; no rows where the inbox has no truth.

    Recall of a kind: which share of its planted events that reached the library were found, for whatever reason.
    Precision of a kind: of the findings to which the factor of that name contributes most, which share was planted (as any kind).
    `found_count` is the number of planted events found. A share of nothing is null.
    """
    path = run.settings.inbox / TRUTH
    if not path.exists():
        return SCHEMA.empty_table()
    planted = pq.read_table(path, columns=["model", "kind", "sender_code", "event_id"])
    planted = planted.filter(pc.is_in(planted.column("model"), pa.array(models, pa.string())))
    truth = (
        results.sent(run, planted)
        .select("model", "kind", F.concat_ws("-", "sender_code", "event_id").alias("subject_id"))
        .distinct()
        # What was refused, or deleted since, cannot be found.
        .join(run.spark.table("business.event").select(F.col("event_id").alias("subject_id")), "subject_id", "left_semi")
    )
    found = run.spark.table("finding.finding").select("model", "subject_id", "finding_id")
    heaviest = (
        run.spark.table("finding.reason").groupBy("finding_id").agg(F.min(F.struct((-F.col("contribution")).alias("rank"), "factor")).alias("first"))
    )
    any_kind = truth.select("model", "subject_id", F.col("subject_id").alias("planted_id")).distinct()
    judged = (
        found.join(heaviest, "finding_id")
        .join(any_kind, ["model", "subject_id"], "left")
        .select("model", F.col("first")["factor"].alias("kind"), F.col("planted_id").isNotNull().alias("is_planted"))
    )
    recalled = truth.join(found, ["model", "subject_id"], "left").select(
        "model", "kind", "subject_id", F.col("finding_id").isNotNull().alias("is_found")
    )
    recall = recalled.groupBy("model", "kind").agg(F.count("*").alias("truth_count"), F.sum(F.col("is_found").cast("bigint")).alias("found_count"))
    whole = recalled.select("model", F.lit(ALL).alias("kind"), "subject_id", "is_found").distinct()
    recall = recall.unionByName(
        whole.groupBy("model", "kind").agg(F.count("*").alias("truth_count"), F.sum(F.col("is_found").cast("bigint")).alias("found_count"))
    )
    judged = judged.unionByName(judged.withColumn("kind", F.lit(ALL)))
    precision = judged.groupBy("model", "kind").agg(F.avg(F.col("is_planted").cast("double")).alias("precision"))
    return (
        recall.join(precision, ["model", "kind"], "left")
        .withColumn("recall", F.round(F.col("found_count") / F.col("truth_count"), 6))
        .withColumn("precision", F.round("precision", 6))
        .select(*SCHEMA.names)
        .toArrow()
        .cast(SCHEMA)
    )


def of_model(measured: pa.Table, model: str) -> dict[str, Any]:
    """What `gridlake run --json` says of one model: precision, recall and the same by kind; nulls where the truth is unknown."""
    rows = {row["kind"]: row for row in measured.to_pylist() if row["model"] == model}
    whole = rows.pop(ALL, {"precision": None, "recall": None})
    by_kind = {kind: {k: row[k] for k in ("truth_count", "found_count", "precision", "recall")} for kind, row in rows.items()}
    return {"precision": whole["precision"], "recall": whole["recall"], "by_kind": by_kind}
