"""Subjects in slices of days: what a factor's sorts and joins hold of one slice fits the engine's memory, however long the history.

A slice is exact, not a sample: a factor that says how many days it looks back sees those days before the slice too, and only the slice's own
subjects count.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every PySpark reader knows

from gridlake.runs import Run

# What a factor is asked for at a time unless it says less.
ROWS = 1_000_000
# The partition column of a table that is read slice by slice: weeks since 1970-01-01.
WEEK = "business_week"


@dataclass(frozen=True)
class Slice:
    """The subjects whose business date lies in [first, end); None is open."""

    first: date | None = None
    end: date | None = None

    def own(self, rows: DataFrame) -> DataFrame:
        """The rows of the slice's days."""
        return self._between(rows, self.first)

    def seen(self, rows: DataFrame, lookback_days: int) -> DataFrame:
        """The rows of the slice's days and of those before that its subjects are compared with."""
        # A day more: the clock that a factor counts by may be hours away from the date.
        return self._between(rows, self.first - timedelta(lookback_days + 1) if self.first else None)

    def _between(self, rows: DataFrame, first: date | None) -> DataFrame:
        """Those of the days in [first, end); a table that is partitioned by weeks is asked for its weeks too."""
        has_weeks = WEEK in rows.columns
        if first is not None:
            rows = rows.where(F.col("business_date") >= F.lit(first))
            rows = rows.where(F.col(WEEK) >= _week(first)) if has_weeks else rows
        if self.end is not None:
            rows = rows.where(F.col("business_date") < F.lit(self.end))
            rows = rows.where(F.col(WEEK) <= _week(self.end)) if has_weeks else rows
        return rows


def _week(day: date) -> int:
    return (day - date(1970, 1, 1)).days // 7


WHOLE = Slice()


def of_days(run: Run, table: str, rows: int | None = None) -> list[Slice]:
    """The table's days in slices of at most `rows` and never more than ROWS (a single day may have more); one slice where that holds everything."""
    most = min(rows or ROWS, ROWS)
    if run.tables.row_count(table) <= most:
        return [WHOLE]
    daily = run.spark.table(table).where(F.col("business_date").isNotNull()).groupBy("business_date").count().orderBy("business_date").toArrow()
    starts, held = [], 0
    for day, count in zip(*(daily.column(c).to_pylist() for c in ("business_date", "count")), strict=True):
        if held and held + count > most:
            starts.append(day)
            held = 0
        held += count
    return [Slice(first, end) for first, end in zip([None, *starts], [*starts, None], strict=True)]
