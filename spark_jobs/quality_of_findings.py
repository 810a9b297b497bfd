"""How good a model's findings are where the truth is known: the simulator leaves it in `<inbox>/_truth/finding_truth.parquet`."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gridlake.runs import Run

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

# `arrived`: what was refused, or deleted since, cannot be found. `found`: of factors that contribute equally, the first by name.
_MEASURE = f"""
    with arrived as (
        select distinct model, kind, sender_code || '-' || event_id as subject_id from truth
        where subject_id in (select event_id from event)
    ),
    found as (
        select model, subject_id, kind
        from finding
        join (select finding_id, first(factor order by contribution desc, factor) as kind from reason group by finding_id) using (finding_id)
    ),
    planted as (select distinct model, subject_id, true as is_planted from arrived),
    caught as (select distinct model, subject_id, true as is_found from found),
    recalled as (
        select model, kind, is_found from arrived left join caught using (model, subject_id)
        union all
        select model, '{ALL}', is_found from planted left join caught using (model, subject_id)
    ),
    judged as (select model, unnest([kind, '{ALL}']) as kind, is_planted from found left join planted using (model, subject_id)),
    recall as (select model, kind, count(*) as truth_count, count(is_found) as found_count from recalled group by all),
    precision as (select model, kind, count(is_planted) / count(*) as precision from judged group by all)
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
    truth = pq.read_table(path, columns=["model", "kind", "sender_code", "event_id"])
    truth = truth.filter(pc.is_in(truth.column("model"), pa.array(models, pa.string())))
    # Not in the engine, whose joins cannot spill: a million planted events and as many findings meet here several times.
    with duckdb.connect(config={"memory_limit": f"{run.settings.memory_mb // 2}MB"}) as connection:
        connection.register("truth", truth)
        for name in ("business.event", "finding.finding", "finding.reason"):
            view = name.partition(".")[2]
            if files := run.tables.files(name):
                connection.read_parquet(files).create_view(view)
            else:
                connection.register(view, run.tables.read(name))
        return connection.sql(_MEASURE).to_arrow_table().cast(SCHEMA)


def of_model(measured: pa.Table, model: str) -> dict[str, Any]:
    """What `gridlake run --json` says of one model: precision, recall and the same by kind; nulls where the truth is unknown."""
    rows = {row["kind"]: row for row in measured.to_pylist() if row["model"] == model}
    whole = rows.pop(ALL, {"precision": None, "recall": None})
    by_kind = {kind: {k: row[k] for k in ("truth_count", "found_count", "precision", "recall")} for kind, row in rows.items()}
    return {"precision": whole["precision"], "recall": whole["recall"], "by_kind": by_kind}
