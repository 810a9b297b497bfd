"""How good a model's findings are where the truth is known: the simulator leaves it in `<inbox>/_truth/finding_truth.parquet`."""

from __future__ import annotations

from typing import Any

import duckdb
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

_MEASURE = f"""
    with planted as (select distinct model, subject_id from arrived),
    caught as (select distinct model, subject_id from found),
    recalled as (
        select model, kind, subject_id in (select subject_id from caught where caught.model = arrived.model) as is_found from arrived
        union all
        select model, '{ALL}', subject_id in (select subject_id from caught where caught.model = planted.model) from planted
    ),
    judged as (
        select model, unnest([kind, '{ALL}']) as kind, subject_id in (select subject_id from planted where planted.model = found.model) as is_planted
        from found
    ),
    recall as (select model, kind, count(*) as truth_count, count_if(is_found) as found_count from recalled group by all),
    precision as (select model, kind, avg(is_planted::int) as precision from judged group by all)
    select model, kind, truth_count, found_count, round(precision, 6) as precision, round(found_count / truth_count, 6) as recall
    from recall left join precision using (model, kind)
"""


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
    # A set at a time: in one query of the engine, joins that cannot spill would hold all of them at once.
    with duckdb.connect() as connection:
        connection.register("arrived", _arrived(run, planted))
        connection.register("found", _found(run))
        return connection.sql(_MEASURE).to_arrow_table().cast(SCHEMA)


def _arrived(run: Run, planted: pa.Table) -> pa.Table:
    """model, kind, subject_id of what was planted and reached the library: what was refused, or deleted since, cannot be found."""
    with results.sent(run, "finding_truth", planted) as truth:
        subjects = truth.select("model", "kind", F.concat_ws("-", "sender_code", "event_id").alias("subject_id")).distinct()
        events = run.spark.table("business.event").select(F.col("event_id").alias("subject_id"))
        return subjects.join(events, "subject_id", "left_semi").toArrow()


def _found(run: Run) -> pa.Table:
    """model, subject_id of each finding, and as `kind` the factor that contributes most to it; of equals the first by name."""
    finding = run.spark.table("finding.finding").select("model", "subject_id", "finding_id")
    reason = run.spark.table("finding.reason")
    heaviest = reason.groupBy("finding_id").agg(F.min(F.struct((-F.col("contribution")).alias("rank"), "factor")).alias("first"))
    return finding.join(heaviest, "finding_id").select("model", "subject_id", F.col("first")["factor"].alias("kind")).toArrow()


def of_model(measured: pa.Table, model: str) -> dict[str, Any]:
    """What `gridlake run --json` says of one model: precision, recall and the same by kind; nulls where the truth is unknown."""
    rows = {row["kind"]: row for row in measured.to_pylist() if row["model"] == model}
    whole = rows.pop(ALL, {"precision": None, "recall": None})
    by_kind = {kind: {k: row[k] for k in ("truth_count", "found_count", "precision", "recall")} for kind, row in rows.items()}
    return {"precision": whole["precision"], "recall": whole["recall"], "by_kind": by_kind}
