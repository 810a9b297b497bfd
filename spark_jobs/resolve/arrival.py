"""When each key of an entity first arrived: read from the whole landing history, so a later version or a delete changes nothing."""

from __future__ import annotations

from functools import reduce
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812

from gridlake.contracts import Contract
from gridlake.runs import Run


def history(run: Run, entity: str, columns: list[str]) -> DataFrame | None:
    """Every landed row of the entity's feeds: region_system, _sender_code, _received_at, _source_position and the canonical `columns` as strings.

    The first of `columns` is the entity's key, as the sender writes it. None where no feed of the entity has landed. Nothing says which column is
    which in a feed mapped by its own .sql: its keys count from their newest version in staging.
    """
    parts = []
    for contract in run.contracts.conforming(entity):
        if f"bronze.{contract.id}" not in run.cut:
            continue
        source = run.spark.table(f"staging.stg_{contract.id}" if contract.sql else f"bronze.{contract.id}")
        values = [F.col(name) if contract.sql else _canonical(contract, name) for name in columns]
        if contract.sql:
            # Staging has put the sender before the id; `local_id` is the id as landed.
            values = [F.col("local_id") if name == columns[0] else value for name, value in zip(columns, values, strict=True)]
        parts.append(
            source.select(
                F.lit(contract.region_system).alias("region_system"),
                "_sender_code",
                "_received_at",
                "_source_position",
                *(value.cast("string").alias(name) for name, value in zip(columns, values, strict=True)),
            )
        )
    return reduce(DataFrame.unionByName, parts) if parts else None


def _canonical(contract: Contract, name: str) -> Column:
    entry: dict[str, Any] = dict(contract.mapping.get(name) or {"column": name})
    if "sql" in entry:
        return F.expr(str(entry["sql"]))
    if "column" not in entry:
        return F.lit(entry.get("constant"))
    column = F.col(entry["column"])
    if "codes" not in entry:
        return column
    cases = reduce(lambda chosen, code: chosen.when(column.cast("string") == str(code[0]), F.lit(code[1])), entry["codes"].items(), F)
    return cases.otherwise(F.lit(entry.get("default")))
