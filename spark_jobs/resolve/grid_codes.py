"""National grid codes: village code, three digits in order of first arrival, check digit. A code once given never changes."""

from __future__ import annotations

import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from gridlake.runs import Run
from spark_jobs.resolve.arrival import history
from spark_jobs.resolve.check_digit import START, closing, running
from spark_jobs.resolve.regions import Resolved

MOST_IN_A_VILLAGE = 999
VILLAGE_CODE = "^[0-9]{12}$"
GRID_CODE = pa.schema([("grid_id", pa.string()), ("grid_code", pa.string()), ("region_code", pa.string())])


def assign(run: Run) -> Resolved:
    """One row per grid that ever arrived, deleted ones included: their numbers are not given again.

    `region_code` is the village of the grid's first arrival, which its code names for good; the grid's village of today stands in theme.grid.
    A village's thousandth grid, and a grid outside the twelve-digit codes, has a null code and a row of problems.
    """
    landed = history(run, "grid", ["grid_id", "region_code"])
    if landed is None:
        return Resolved(GRID_CODE.empty_table(), _NO_PROBLEMS)
    order = ("_received_at", "_source_position", "grid_id")
    first = Window.partitionBy("grid_id").orderBy("_received_at", "_source_position")
    arrived = (
        landed.where(F.col("region_code").isNotNull())
        .withColumn("grid_id", F.concat_ws("-", "_sender_code", "grid_id"))
        .withColumn("_rank", F.row_number().over(first))
        .where(F.col("_rank") == 1)
    )
    has_village = F.col("region_code").rlike(VILLAGE_CODE)
    numbered = arrived.withColumn("number", F.row_number().over(Window.partitionBy("region_system", "region_code").orderBy(*order)))
    stem = F.concat(F.col("region_code"), F.lpad(F.col("number").cast("string"), 3, "0"))
    coded = numbered.withColumn("stem", F.when(has_village & (F.col("number") <= MOST_IN_A_VILLAGE), stem)).select(
        "grid_id", "region_system", "region_code", "number", "stem"
    )
    digits = F.array(*(F.substring("stem", place, 1).cast("int") for place in range(1, 16)))
    check_digit = F.aggregate(digits, F.lit(START), running, closing)
    rows = coded.select("grid_id", F.concat("stem", check_digit.cast("string")).alias("grid_code"), "region_code")
    problems = coded.where(F.col("stem").isNull()).select(
        F.when(has_village, "village_has_more_than_999_grids").otherwise("grid_not_in_a_village").alias("problem"),
        F.lit("grid").alias("subject_type"),
        "region_system",
        F.col("grid_id").alias("subject_id"),
        F.concat(F.lit("region "), "region_code", F.lit(", number "), F.col("number").cast("string")).alias("detail"),
    )
    return Resolved(rows.toArrow(), problems.toArrow())


_NO_PROBLEMS = pa.table({name: pa.array([], pa.string()) for name in ("problem", "subject_type", "region_system", "subject_id", "detail")})
