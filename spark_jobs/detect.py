"""The step `detect`: every factor once, every model over the factors, findings with reasons that add up and with evidence.

It judges and changes nothing: findings are hints for a reviewer. No text of an event reaches its tables, only numbers.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every PySpark reader knows
from pyspark.sql.types import LongType

from gridlake.barriers import barrier
from gridlake.contracts.staging import MONTH, NO_MONTH
from gridlake.runs import Run
from spark_jobs import follow, quality_of_findings, results, slices
from spark_jobs.declarations import BUILT_IN, DeclarationError, Factor, Model, load_factors, load_models, template_parts
from spark_jobs.slices import month_of, of_months

# Where a subject's row stands, and which of its columns a finding repeats so that it can be counted by region and day.
SUBJECTS = {"event": ("business.event", "event_id")}
# What factors read: a slice of the subjects, and of what `factors/inputs/event_text.sql` makes of their texts, once for all of them.
_TEXTS = "changes.event_text"
_VIEWS = {"business.event": "event", _TEXTS: "event_text"}
_PLACE = ("sender_code", "region_system", "region_code", "grid_id", "business_date")
# Weights × values are doubles; six decimals make sums independent of the order of adding.
DECIMALS = 6

_NUMBERS = pa.map_(pa.string(), pa.int64())
FACTOR = pa.schema(
    [
        (MONTH, pa.string()),
        ("factor", pa.string()),
        ("subject_id", pa.string()),
        ("value", pa.float64()),
        ("evidence_id", pa.string()),
        ("evidence_type", pa.string()),
        ("numbers", _NUMBERS),
    ]
)
FINDING = pa.schema(
    [
        (MONTH, pa.string()),
        ("finding_id", pa.string()),
        ("model", pa.string()),
        ("model_version", pa.string()),
        ("subject_type", pa.string()),
        ("subject_id", pa.string()),
        ("sender_code", pa.string()),
        ("region_system", pa.string()),
        ("region_code", pa.string()),
        ("grid_id", pa.string()),
        ("business_date", pa.date32()),
        ("score", pa.float64()),
        ("threshold", pa.float64()),
        ("reason_zh", pa.string()),
        ("reason_en", pa.string()),
    ]
)
REASON = pa.schema(
    [
        (MONTH, pa.string()),
        ("finding_id", pa.string()),
        ("model", pa.string()),
        ("factor", pa.string()),
        ("weight", pa.float64()),
        ("value", pa.float64()),
        ("contribution", pa.float64()),
        ("reason_zh", pa.string()),
        ("reason_en", pa.string()),
    ]
)
EVIDENCE = pa.schema([(name, pa.string()) for name in (MONTH, "finding_id", "model", "factor", "evidence_type", "evidence_id")])


_FINDING_TABLES = {
    "finding.evidence": (EVIDENCE, ["finding_id", "factor"]),
    "finding.reason": (REASON, ["finding_id", "factor"]),
    "finding.finding": (FINDING, ["finding_id"]),
}


class FactorError(DeclarationError):
    """A factor's query gave something else than its file promises."""


def detect(run: Run) -> dict[str, Any]:
    """Compute factors and findings of all models; gives rows per table and count, precision and recall per model.

    After a first time only the months are judged again in which something has changed, and those whose events are compared with them.
    """
    models, factors = load_models(run.settings), load_factors(run.settings)
    used = {w.factor: factors[w.factor] for m in models.values() for w in m.factors}
    written = (*(f"factor.{subject}" for subject in SUBJECTS), *_FINDING_TABLES)
    kept = follow.Kept(run, [p for d in (*models.values(), *used.values()) for p in (d.path, d.path.with_suffix(".sql")) if p.exists()], written)
    months = kept.months_to_judge(used.values())
    kept.begin()
    tables: dict[str, int] = {}
    if months is None or months:
        show_inputs(run, months)
        days = {factor.id: _days(run, factor, months) for factor in used.values()}
        with run.progress.task("识别 detect", total=sum(map(len, days.values())) + len(models)) as task:
            for subject in SUBJECTS:
                parts = [signals(run, factor, days[factor.id], task.advance) for factor in used.values() if factor.subject == subject]
                name = f"factor.{subject}"
                tables[name] = results.write_months(run, name, _together(parts, FACTOR), FACTOR, ["factor", "subject_id"], months)
            _forget_inputs(run)
            barrier("detect.between_factor_and_finding")
            scored = []
            for model in models.values():
                scored.append(findings(run, model, months))
                task.advance()
        for name, (schema, key) in _FINDING_TABLES.items():
            tables[name] = results.write_months(run, name, _together([s[name] for s in scored], schema), schema, key, months)
    else:
        tables |= {name: run.tables.row_count(name) for name in written}
    measured = quality_of_findings.measure(run, list(models))
    tables["finding.model_quality"] = results.write(run, "finding.model_quality", measured, quality_of_findings.SCHEMA, ["model", "kind"])
    kept.finish()
    return {"tables": tables, "findings": _summary(run, models, measured)}


def _days(run: Run, factor: Factor, months: Sequence[str] | None = None) -> list[slices.Slice]:
    table, _ = SUBJECTS[factor.subject]
    if months is None and factor.lookback_days is None:
        return [slices.WHOLE]
    return slices.of_days(run, table, factor.rows_at_a_time, months)


def signals(run: Run, factor: Factor, days: Sequence[slices.Slice] | None = None, advance: Callable[[], None] = lambda: None) -> pa.Table:
    """The rows of one factor that say something (value above 0), as FACTOR has them; `days` are the slices in which it is asked for them.

    Raises FactorError where the query lacks a column, repeats a subject, or leaves 0 … 1.
    """
    table, key = SUBJECTS[factor.subject]
    lookback = factor.lookback_days
    parts = []
    try:
        for part in _days(run, factor) if days is None else days:
            for name, view in _VIEWS.items():
                part.seen(run.spark.table(name), lookback or 0).createOrReplaceTempView(view)
            given = run.spark.sql(factor.query)
            _check_columns(factor, given)
            own = part.own(run.spark.table(table)).select(F.col(key).alias("subject_id"), month_of("business_date").alias(MONTH))
            placed = given.where(F.col("value") > 0).join(own, "subject_id", "left" if part is slices.WHOLE else "inner")
            parts.append(_signals(factor, placed).toArrow().cast(FACTOR))
            advance()
    except PySparkException as error:
        raise FactorError(f"{factor.path.with_suffix('.sql')}: the engine refuses the query: {error}") from error
    found = _together(parts, FACTOR)
    _check_rows(factor, found)
    return found


def findings(run: Run, model: Model, months: Sequence[str] | None = None) -> dict[str, pa.Table]:
    """The model's rows of finding.finding, finding.reason and finding.evidence, from the factor table as it stands; of these months, or all."""
    table, key = SUBJECTS[model.subject]
    place = of_months(run.spark.table(table), months).select(F.col(key).alias("subject_id"), *_PLACE)
    contributions = reduce(DataFrame.unionByName, (_contributions(run, model, w.factor, months) for w in model.factors))
    score = contributions.groupBy("subject_id").agg(
        F.round(F.sum("contribution"), DECIMALS).alias("score"),
        # The heaviest reason first; the factor's name decides between equals.
        F.array_sort(F.collect_list(F.struct((-F.col("contribution")).alias("rank"), "factor", "reason_zh", "reason_en"))).alias("reasons"),
    )
    finding = (
        score.where(F.col("score") >= model.threshold)
        .join(place, "subject_id")
        .select(
            month_of("business_date").alias(MONTH),
            _finding_id(model).alias("finding_id"),
            F.lit(model.id).alias("model"),
            F.lit(model.version).alias("model_version"),
            F.lit(model.subject).alias("subject_type"),
            "subject_id",
            *_PLACE,
            "score",
            F.lit(model.threshold).alias("threshold"),
            F.concat_ws("；", F.transform("reasons", lambda reason: reason["reason_zh"])).alias("reason_zh"),
            F.concat_ws("; ", F.transform("reasons", lambda reason: reason["reason_en"])).alias("reason_en"),
        )
        .toArrow()
        .cast(FINDING)
    )
    if not finding.num_rows:
        return {"finding.finding": finding, "finding.reason": REASON.empty_table(), "finding.evidence": EVIDENCE.empty_table()}
    with results.sent(run, "finding", finding.select(["finding_id", "model", "subject_id"])) as keys:
        parts = contributions.join(keys, "subject_id").toArrow()
    return {
        "finding.finding": finding,
        "finding.reason": parts.select(REASON.names).cast(REASON),
        "finding.evidence": parts.select(EVIDENCE.names).cast(EVIDENCE),
    }


def _signals(factor: Factor, given: DataFrame) -> DataFrame:
    numbers = [part for name in factor.numbers for part in (F.lit(name), F.col(name))]
    return given.select(
        F.coalesce(MONTH, F.lit(NO_MONTH)).alias(MONTH),
        F.lit(factor.id).alias("factor"),
        F.col("subject_id"),
        F.round(F.col("value").cast("double"), DECIMALS).alias("value"),
        F.col("evidence_id"),
        F.col("evidence_type"),
        (F.create_map(*numbers) if numbers else F.lit(None).cast("map<string,bigint>")).alias("numbers"),
    )


def _contributions(run: Run, model: Model, factor_id: str, months: Sequence[str] | None) -> DataFrame:
    weighted = next(w for w in model.factors if w.factor == factor_id)
    return (
        of_months(run.spark.table(f"factor.{model.subject}"), months)
        .where(F.col("factor") == factor_id)
        .select(
            MONTH,
            "subject_id",
            "factor",
            "value",
            "evidence_type",
            "evidence_id",
            F.lit(float(weighted.weight)).alias("weight"),
            F.round(F.col("value") * weighted.weight, DECIMALS).alias("contribution"),
            _filled(weighted.reason.zh).alias("reason_zh"),
            _filled(weighted.reason.en).alias("reason_en"),
        )
    )


def _filled(template: str) -> Column:
    parts: list[Column] = []
    for literal, name in template_parts(template):
        parts.append(F.lit(literal))
        if name is not None:
            parts.append(F.col("numbers")[name].cast("string"))
    return F.concat(*parts)


def _finding_id(model: Model) -> Column:
    day = F.col("business_date").cast("string")
    period = {"once": F.lit("once"), "day": day, "month": F.substring(day, 1, 7)}[model.period]
    return F.substring(F.sha2(F.concat_ws("|", F.lit(model.id), F.lit(model.subject), F.col("subject_id"), period), 256), 1, 32)


def show_inputs(run: Run, months: Sequence[str] | None = None) -> None:
    """What several factors read: the events' texts, made once and kept in a scratch table, and the datum of each feed.

    With `months` the texts of these and of those before them that their events may be compared with.
    """
    query = (BUILT_IN / "factors" / "inputs" / "event_text.sql").read_text(encoding="utf-8")
    slices.seen_with(run.spark.table("business.event"), months).createOrReplaceTempView("seen_event")
    run.spark.sql("CREATE DATABASE IF NOT EXISTS changes")
    how = f"USING delta OPTIONS (overwriteSchema 'true') PARTITIONED BY ({MONTH}) LOCATION '{_scratch(run)}'"
    run.spark.sql(f"CREATE OR REPLACE TABLE {_TEXTS} {how} AS {query}")
    feeds = pa.table(
        {
            "feed": pa.array([c.id for c in run.contracts.values()], pa.string()),
            "coordinate_system": pa.array([c.coordinate_system for c in run.contracts.values()], pa.string()),
        }
    )
    run.spark.createDataFrame(feeds).createOrReplaceTempView("feed_datum")


def _forget_inputs(run: Run) -> None:
    """What reports say is kept no longer than it is compared."""
    run.spark.sql(f"DROP TABLE IF EXISTS {_TEXTS}")
    shutil.rmtree(_scratch(run), ignore_errors=True)


def _scratch(run: Run) -> Path:
    return run.settings.home.absolute() / "scratch" / "event_text"


def _check_columns(factor: Factor, given: DataFrame) -> None:
    expected = ["subject_id", "value", "evidence_id", "evidence_type", *factor.numbers]
    missing = [name for name in expected if name not in given.columns]
    if missing:
        raise FactorError(f"{factor.path}: the query gives {', '.join(given.columns)}; it lacks {', '.join(missing)}")
    # Whole numbers only: a text column could carry what an event says into a finding.
    wrong = [name for name in factor.numbers if not isinstance(given.schema[name].dataType, LongType)]
    if wrong:
        raise FactorError(f"{factor.path}: numbers must be whole; cast {', '.join(wrong)} as bigint in the query")


def _check_rows(factor: Factor, found: pa.Table) -> None:
    subjects = found.column("subject_id")
    repeated = found.num_rows - len(subjects.unique())
    if repeated:
        raise FactorError(f"{factor.path}: the query gives {repeated} subjects more than once; keep the strongest row of each")
    values = found.column("value").to_numpy()
    if found.num_rows and values.max() > 1:
        raise FactorError(f"{factor.path}: the query gives a value of {values.max():g}; a signal lies between 0 and 1")


def _together(parts: Iterable[pa.Table], schema: pa.Schema) -> pa.Table:
    return pa.concat_tables([schema.empty_table(), *parts])


def _summary(run: Run, models: Mapping[str, Model], measured: pa.Table) -> dict[str, Any]:
    counts: dict[str, int] = dict.fromkeys(models, 0)
    for row in run.tables.read("finding.finding", columns=["model"]).column("model").value_counts().to_pylist():
        counts[row["values"]] = row["counts"]
    told = {name: {"version": model.version, "title": model.title.zh} for name, model in models.items()}
    return {model: {"count": count, **told.get(model, {}), **quality_of_findings.of_model(measured, model)} for model, count in counts.items()}
