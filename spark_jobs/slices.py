"""Subjects in slices of days: what a factor's sorts and joins hold of one slice fits the engine's memory, however long the history.

A slice is exact, not a sample: a factor that says how many days it looks back sees those days before the slice too, and only the slice's own
subjects count.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F  # noqa: N812 - the name every PySpark reader knows

from gridlake.contracts.staging import MONTH, NO_MONTH
from gridlake.runs import Run

# What a factor is asked for at a time unless it says less.
ROWS = 1_000_000
# No factor may look back further, as the texts of so many days before a month are prepared with it.
MOST_LOOKBACK_DAYS = 31


@dataclass(frozen=True)
class Slice:
    """The subjects whose business date lies in [first, end); None is open."""

    first: date | None = None
    end: date | None = None

    def own(self, rows: DataFrame) -> DataFrame:
        """The rows of the slice's days."""
        return _between(rows, self.first, self.end)

    def seen(self, rows: DataFrame, lookback_days: int) -> DataFrame:
        """The rows of the slice's days and of those before that its subjects are compared with."""
        # A day more: the clock that a factor counts by may be hours away from the date.
        return _between(rows, _moved(self.first, -lookback_days - 1) if self.first else None, self.end)


WHOLE = Slice()


def of_days(run: Run, table: str, rows: int | None = None, months: Sequence[str] | None = None) -> list[Slice]:
    """The table's days in slices of at most `rows` and never more than ROWS (a single day may have more); one slice where that holds everything.

    With `months` the days of these only, and no slice reaches over a gap between them.
    """
    most = min(rows or ROWS, ROWS)
    if months is None and run.tables.row_count(table) <= most:
        return [WHOLE]
    dated = of_months(run.spark.table(table), months).where(F.col("business_date").isNotNull())
    daily = dated.groupBy("business_date").count().orderBy("business_date").toArrow()
    counted = list(zip(*(daily.column(c).to_pylist() for c in ("business_date", "count")), strict=True))
    if months is None:
        starts = _starts(counted, most)
        # Open at both ends: subjects without a date too.
        return [Slice(first, end) for first, end in zip([None, *starts[1:]], [*starts[1:], None], strict=True)]
    found = []
    for first, end in _runs(months):
        within = [(day, count) for day, count in counted if first <= day < end]
        starts = _starts(within, most) or [first]
        found += [Slice(begin, finish) for begin, finish in zip([first, *starts[1:]], [*starts[1:], end], strict=True)]
    return found


def seen_with(rows: DataFrame, months: Sequence[str] | None) -> DataFrame:
    """The rows of these months and of the days before that their subjects may be compared with; all where None."""
    return rows if months is None else of_months(rows, sorted({*months, *(m for first, _ in _runs(months) for m in _before(first))}))


def months_compared_with(months: Sequence[str]) -> list[str]:
    """These months and those whose subjects may be compared with theirs: as many days after as a factor may look back."""
    ends = [_first_day(_next(month)) for month in months if month != NO_MONTH]
    return sorted({*months, *(_month(_moved(end, days)) for end in ends for days in (0, MOST_LOOKBACK_DAYS))})


def month_of(column: str) -> Column:
    """The month that a date's row is filed under."""
    return F.coalesce(F.substring(F.col(column).cast("string"), 1, 7), F.lit(NO_MONTH))


def of_months(rows: DataFrame, months: Sequence[str] | None) -> DataFrame:
    """The rows of these months; all where None."""
    if months is None:
        return rows
    return rows.where((F.col(MONTH) if MONTH in rows.columns else month_of("business_date")).isin(list(months)))


def _between(rows: DataFrame, first: date | None, end: date | None) -> DataFrame:
    """Those of the days in [first, end); a table that is partitioned by months is asked for its months too."""
    has_months = MONTH in rows.columns
    if first is not None:
        rows = rows.where(F.col("business_date") >= F.lit(first))
        rows = rows.where(F.col(MONTH) >= _month(first)) if has_months else rows
    if end is not None:
        rows = rows.where(F.col("business_date") < F.lit(end))
        rows = rows.where(F.col(MONTH) <= _month(end)) if has_months else rows
    return rows


def _starts(counted: list[tuple[date, int]], most: int) -> list[date]:
    """The first day of each slice."""
    starts, held = [], most
    for day, count in counted:
        if held + count > most:
            starts.append(day)
            held = 0
        held += count
    return starts


def _runs(months: Sequence[str]) -> Iterator[tuple[date, date]]:
    """[first day, first day after) of each run of months without a gap."""
    numbered = sorted({int(month[:4]) * 12 + int(month[5:]) - 1 for month in months if month != NO_MONTH})
    for _, run in groupby(enumerate(numbered), lambda pair: pair[1] - pair[0]):
        members = [number for _, number in run]
        yield _day(members[0]), _day(members[-1] + 1)


def _before(first: date) -> Iterator[str]:
    # A day more, as `Slice.seen` takes it.
    for days in (1, MOST_LOOKBACK_DAYS + 1):
        yield _month(_moved(first, -days))


def _next(month: str) -> str:
    return _month(_day(int(month[:4]) * 12 + int(month[5:])))


def _first_day(month: str) -> date:
    return date(int(month[:4]), int(month[5:]), 1)


def _day(number: int) -> date:
    return date(number // 12, number % 12 + 1, 1) if number < 12 * (date.max.year + 1) else date.max


def _month(day: date) -> str:
    return day.isoformat()[:7]


def _moved(day: date, days: int) -> date:
    """So many days later, within what a date can be: a sender's clock may be set to the year 9999."""
    return date.fromordinal(min(max(day.toordinal() + days, date.min.toordinal()), date.max.toordinal()))
