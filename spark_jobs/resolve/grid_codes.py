"""National codes of grids and micro-grids: the code above, three digits in order of first arrival, check digit. A code once given never changes."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from gridlake.runs import Run
from spark_jobs.resolve.arrival import history
from spark_jobs.resolve.check_digit import START, closing, running
from spark_jobs.resolve.regions import Resolved

MOST_BELOW_ONE = 999
VILLAGE_CODE = "^[0-9]{12}$"
GRID_CODE = pa.schema([("grid_id", pa.string()), ("grid_code", pa.string()), ("region_code", pa.string())])
MICRO_GRID_CODE = pa.schema([("micro_grid_id", pa.string()), ("micro_grid_code", pa.string()), ("grid_id", pa.string())])
_GRID_DIGITS = 16


def assign(run: Run) -> Resolved:
    """One row per grid that ever arrived, deleted ones included: their numbers are not given again.

    `region_code` is the village of the grid's first arrival, which its code names for good; the grid's village of today stands in theme.grid.
    A village's thousandth grid, and a grid outside the twelve-digit codes, has a null code and a row of problems.
    """
    landed = history(run, "grid", ["grid_id", "region_code"])
    if landed is None:
        return Resolved(GRID_CODE.empty_table(), _NO_PROBLEMS)
    arrived = _first_arrivals(landed.where(F.col("region_code").isNotNull()), "grid_id")
    has_village = F.col("region_code").rlike(VILLAGE_CODE)
    coded = _numbered(arrived, "grid_id", "region_code", F.when(has_village, F.col("region_code")), _GRID_DIGITS - 4)
    rows = coded.select("grid_id", F.col("code").alias("grid_code"), "region_code")
    problem = F.when(has_village, "village_has_more_than_999_grids").otherwise("grid_not_in_a_village")
    return Resolved(rows.toArrow(), _problems(coded, "grid", problem, F.lit("region "), "region_code").toArrow())


def assign_micro_grids(run: Run) -> Resolved:
    """One row per micro-grid that ever arrived, as `assign` does it for grids; reads resolved.grid_code.

    `grid_id` is the grid of the first arrival. A grid's thousandth micro-grid, and one whose grid has no code (yet), has a null code and a row of
    problems; the number of a micro-grid whose grid comes later is kept for it.
    """
    landed = history(run, "micro_grid", ["micro_grid_id", "grid_id"])
    if landed is None:
        return Resolved(MICRO_GRID_CODE.empty_table(), _NO_PROBLEMS)
    arrived = _first_arrivals(landed.where(F.col("grid_id").isNotNull()), "micro_grid_id")
    arrived = arrived.withColumn("grid_id", F.concat_ws("-", "_sender_code", "grid_id"))
    above = run.spark.table("resolved.grid_code").select(F.col("grid_id").alias("_above"), "grid_code")
    placed = arrived.join(above, F.col("grid_id") == F.col("_above"), "left")
    coded = _numbered(placed, "micro_grid_id", "grid_id", F.col("grid_code"), _GRID_DIGITS)
    rows = coded.select("micro_grid_id", F.col("code").alias("micro_grid_code"), "grid_id")
    problem = F.when(F.col("grid_code").isNotNull(), "grid_has_more_than_999_micro_grids").otherwise("micro_grid_not_in_a_coded_grid")
    return Resolved(rows.toArrow(), _problems(coded, "micro_grid", problem, F.lit("grid "), "grid_id").toArrow())


def _first_arrivals(landed: DataFrame, key: str) -> DataFrame:
    """The row with which each key of a sender came first; the key made unique across senders."""
    first = Window.partitionBy(key).orderBy("_received_at", "_source_position")
    named = landed.withColumn(key, F.concat_ws("-", "_sender_code", key))
    return named.withColumn("_rank", F.row_number().over(first)).where(F.col("_rank") == 1)


def _numbered(arrived: DataFrame, key: str, parent: str, stem: Column, digits: int) -> DataFrame:
    """With `number` in order of arrival below the parent, and `code`: the stem of so many digits, the number, the check digit; null without stem."""
    order = Window.partitionBy("region_system", parent).orderBy("_received_at", "_source_position", key)
    numbered = arrived.withColumn("number", F.row_number().over(order))
    body = F.concat(stem, F.lpad(F.col("number").cast("string"), 3, "0"))
    with_stem = numbered.withColumn("stem", F.when(F.col("number") <= MOST_BELOW_ONE, body))
    places = F.array(*(F.substring("stem", place, 1).cast("int") for place in range(1, digits + 4)))
    return with_stem.withColumn("code", F.concat("stem", F.aggregate(places, F.lit(START), running, closing).cast("string")))


def _problems(coded: DataFrame, subject: str, problem: Column, above: Column, parent: str) -> DataFrame:
    return coded.where(F.col("stem").isNull()).select(
        problem.alias("problem"),
        F.lit(subject).alias("subject_type"),
        "region_system",
        F.col(f"{subject}_id").alias("subject_id"),
        F.concat(above, parent, F.lit(", number "), F.col("number").cast("string")).alias("detail"),
    )


_NO_PROBLEMS = pa.table({name: pa.array([], pa.string()) for name in ("problem", "subject_type", "region_system", "subject_id", "detail")})
