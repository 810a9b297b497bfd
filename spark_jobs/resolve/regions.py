"""Regions as reported over the vocabularies, and who lies below whom down to the micro-grid."""

from __future__ import annotations

from typing import NamedTuple

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812
from pyspark.sql.window import Window

from gridlake.runs import Run

# Province, city, county, township, village, grid, micro-grid: nobody has more ancestors than six, so a seventh means a cycle.
DEEPEST = 7
GRID_LEVEL, MICRO_GRID_LEVEL = 6, 7

REGION = pa.schema(
    [
        ("region_system", pa.string()),
        ("region_code", pa.string()),
        ("region_name", pa.string()),
        ("region_level", pa.int64()),
        ("parent_code", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("replaces_codes", pa.string()),
    ]
)
REGION_KEY = ["region_system", "region_code"]
CLOSURE = pa.schema(
    [
        ("region_system", pa.string()),
        ("ancestor_code", pa.string()),
        ("ancestor_level", pa.int64()),
        ("region_code", pa.string()),
        ("region_level", pa.int64()),
        ("distance", pa.int64()),
    ]
)
CLOSURE_KEY = ["region_system", "region_code", "distance"]


class Resolved(NamedTuple):
    """Rows, and rows of resolved.problem."""

    rows: pa.Table
    problems: pa.Table


def current(run: Run) -> pa.Table:
    """One row per region: the newest report of it, else what the vocabulary says."""
    spark = run.spark
    columns = [F.col(f.name).cast(_SPARK_TYPE[f.type]).alias(f.name) for f in REGION]
    newest = Window.partitionBy(*REGION_KEY).orderBy(F.desc("source_version"), F.desc("changed_at"), F.desc("_source_position"))
    reported = spark.table("staging.stg_region").withColumn("_rank", F.row_number().over(newest)).where(F.col("_rank") == 1).select(*columns)
    # Since when a region is, and in whose place, is something that only a report knows.
    unknown = dict.fromkeys(("valid_from", "valid_to", "replaces_codes"), F.lit(None))
    listed = spark.table("staging.region_vocabulary").withColumns(unknown).select(*columns)
    return reported.unionByName(listed.join(reported.select(*REGION_KEY), REGION_KEY, "left_anti")).toArrow()


def closure(run: Run) -> Resolved:
    """One row per region, grid or micro-grid and each of its ancestors, itself included (distance 0); reads resolved.region.

    A node in a cycle, or below one, keeps only itself; a node whose parent is unknown keeps what is known. Both are problems.
    """
    spark = run.spark
    regions = spark.table("resolved.region").select("region_system", "region_code", "region_level", "parent_code")
    grids = _below(spark.table("staging.stg_grid"), "grid_id", GRID_LEVEL, "region_code")
    micro_grids = _below(spark.table("staging.stg_micro_grid"), "micro_grid_id", MICRO_GRID_LEVEL, "grid_id")
    nodes = regions.unionByName(grids).unionByName(micro_grids)
    chain = nodes
    for distance in range(1, DEEPEST + 1):
        above = nodes.select(
            F.col("region_system").alias(f"system_{distance}"),
            F.col("region_code").alias(f"code_{distance}"),
            F.col("region_level").alias(f"level_{distance}"),
            F.col("parent_code").alias(f"parent_{distance}"),
        )
        parent = "parent_code" if distance == 1 else f"parent_{distance - 1}"
        chain = chain.join(above, (F.col("region_system") == F.col(f"system_{distance}")) & (F.col(parent) == F.col(f"code_{distance}")), "left")
    is_endless = F.col(f"code_{DEEPEST}").isNotNull()
    # Two plain arrays, as the embedded engine does not explode an array of structs that differ in nullability.
    codes = F.array("region_code", *(f"code_{n}" for n in range(1, DEEPEST)))
    levels = F.array("region_level", *(f"level_{n}" for n in range(1, DEEPEST)))
    place = F.col("distance") + F.lit(1)
    rows = (
        chain.select("*", F.explode(F.sequence(F.lit(0), F.lit(DEEPEST - 1))).alias("distance"))
        .where((F.col("distance") == 0) | ~is_endless)
        .select(
            "region_system",
            F.element_at(codes, place).alias("ancestor_code"),
            F.element_at(levels, place).alias("ancestor_level"),
            "region_code",
            "region_level",
            F.col("distance").cast("bigint").alias("distance"),
        )
        .where(F.col("ancestor_code").isNotNull())
    )
    cyclic = _problem(chain.where(is_endless), "region_in_or_below_a_cycle", F.concat(F.lit("parent "), "parent_code"))
    orphan = _problem(
        chain.where(F.col("parent_code").isNotNull() & F.col("code_1").isNull()), "parent_unknown", F.concat(F.lit("parent "), "parent_code")
    )
    return Resolved(rows.toArrow(), cyclic.unionByName(orphan).toArrow())


def _below(rows: DataFrame, code: str, level: int, parent: str) -> DataFrame:
    return rows.select(
        "region_system",
        F.col(code).alias("region_code"),
        F.lit(level).cast("bigint").alias("region_level"),
        F.col(parent).alias("parent_code"),
    )


def _problem(rows: DataFrame, problem: str, detail: Column) -> DataFrame:
    level = F.col("region_level")
    subject = F.when(level == GRID_LEVEL, "grid").when(level == MICRO_GRID_LEVEL, "micro_grid").otherwise("region")
    return rows.select(
        F.lit(problem).alias("problem"),
        subject.alias("subject_type"),
        "region_system",
        F.col("region_code").alias("subject_id"),
        detail.alias("detail"),
    )


_SPARK_TYPE = {pa.string(): "string", pa.int64(): "bigint", pa.date32(): "date"}
