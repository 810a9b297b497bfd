"""Into which file a row of a monthly or quarterly feed goes, and which versions of a record are sent at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import dirt
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import PROVINCE
from streaming.simulator.parcels import LINE, PLACE, Feed, arranged, json_lines

# assumed, for small monthly lists: a row in so many comes months late, or a second time.
_LATE_SHARE, _REPEATED_SHARE = 0.004, 0.002


@dataclass(frozen=True)
class Period:
    """The simulated days; `start` and `end` in local time, seconds, the end not included."""

    first_day: np.datetime64
    days: int

    @property
    def start(self) -> np.datetime64:
        """When the first day begins."""
        moment: np.datetime64 = self.first_day.astype("datetime64[s]")
        return moment

    @property
    def end(self) -> np.datetime64:
        """When the last day is over."""
        moment: np.datetime64 = (self.first_day + np.timedelta64(self.days, "D")).astype("datetime64[s]")
        return moment


def placed(rows: pd.DataFrame, sender: Any, feed: str, suffix: str) -> pd.DataFrame:
    """The rows with their place: the file of the month in which they were changed, in the order of change."""
    file = month_files(feed, rows.changed_at, suffix)
    return rows.assign(_sender=np.asarray(sender, object), _file=file, _order=seconds(rows.changed_at).astype(float))


def quarterly(rows: pd.DataFrame, sender: Any, feed: str, suffix: str) -> pd.DataFrame:
    """As `placed`, with a file for each quarter of the year."""
    year, month = np.divmod(rows.changed_at.to_numpy().astype("datetime64[M]").astype(np.int64), 12)
    quarter = np.char.add(np.char.add((year + 1970).astype(str), "-q"), (month // 3 + 1).astype(str)).astype(object)
    return placed(rows, sender, feed, suffix).assign(_file=f"{feed}-" + quarter + f".{suffix}")


def typed_feed(
    random: np.random.Generator,
    source: str,
    feed: str,
    rows: pd.DataFrame,
    schema: pa.Schema,
    kinds: Sequence[Dirt],
    *,
    gb18030_senders: Sequence[str] = (),
) -> Feed:
    """A small feed of CSV or Parquet: the rows in their places, one bad row of each kind, and two copies. The key is the schema's first column."""
    bad = dirt.spoiled_cells(random, rows, kinds, 1, schema.names[0])
    return arranged(feed, [rows, bad, dirt.repeated(random, rows, 2)], schema, gb18030_senders=gb18030_senders, source=source)


def line_feed(random: np.random.Generator, source: str, feed: str, rows: pd.DataFrame, columns: Sequence[str], kinds: Sequence[Dirt]) -> Feed:
    """A small feed of JSON lines: the rows in their places, one bad row of each kind, and two copies. The key is the first column."""
    lines = lined(rows, columns)
    bad = dirt.spoiled_lines(random, lines, kinds, 1, columns[0])
    return arranged(feed, [lines, bad, dirt.repeated(random, lines, 2)], pa.schema([]), source=source)


def month_files(feed: str, times: pd.Series, suffix: str) -> pd.Series:
    """`<feed>-<month>.<suffix>`; such names sort by time."""
    return feed + "-" + months(times) + "." + suffix


def months(times: pd.Series) -> pd.Series:
    """`2026-03` and the like."""
    return pd.Series(np.datetime_as_string(times.to_numpy().astype("datetime64[M]")), times.index, object)


def seconds(times: pd.Series) -> NDArray[np.int64]:
    """Since 1970, of local times."""
    return times.to_numpy().astype("datetime64[s]").astype(np.int64)


def lined(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows as JSON lines in their places."""
    return rows[PLACE].assign(**{LINE: json_lines(rows, columns)})


def sent_versions(record: pd.Series, changed_at: pd.Series, every_version: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which rows are sent: the last of a record in each month, and all where `every_version`; rows are sorted by record and time."""
    month = months(changed_at)
    last = (record != record.shift(-1)) | (month != month.shift(-1))
    return np.asarray(last.to_numpy() | every_version, dtype=np.bool_)


def numbered(prefix: str, times: pd.Series, sender: pd.Series | None = None, digits: int = 6) -> NDArray[np.object_]:
    """Local ids that count within each sender in the order of the rows: prefix, day, number. The same ids come from every sender, as in life.

    Without `sender` all rows are one sender's.
    """
    day = np.char.replace(times.to_numpy().astype("datetime64[D]").astype(str), "-", "").astype(object)
    number = (np.arange(len(times)) if sender is None else sender.groupby(sender.to_numpy(object)).cumcount().to_numpy()) + 1
    found: NDArray[np.object_] = prefix + day + np.char.zfill(number.astype(str), digits).astype(object)
    return found


def no_times(rows: pd.DataFrame) -> pd.Series:
    """A column for what has not happened yet."""
    return pd.Series(pd.NaT, rows.index, "datetime64[s]")


def digests(random: np.random.Generator, where: NDArray[np.bool_]) -> NDArray[np.object_]:
    """SHA-256 sums of papers that nobody wrote, None elsewhere."""
    found = np.full(len(where), None, object)
    count = int(where.sum())
    if count:
        found[where] = np.frombuffer(random.bytes(32 * count).hex().encode(), "S64").astype(str).astype(object)
    return found


def drawn(random: np.random.Generator, shares: dict[str, float], count: int) -> NDArray[np.object_]:
    """Codes by their shares, which need not add up to one."""
    weights = np.array(list(shares.values()))
    found: NDArray[np.object_] = np.array(list(shares), object)[random.choice(len(shares), size=count, p=weights / weights.sum())]
    return found


def histories(times: NDArray[np.datetime64], period: Period) -> pd.DataFrame:
    """Which states of records are sent, by the times (record × state, rising, NaT for a state not taken) at which they came about.

    Columns: record, state, at, version (counted from 1). Of what was before the period only the last state is sent.
    """
    taken = ~np.isnat(times)
    record, state = np.nonzero(taken & (times < period.end))
    at = times[record, state]
    is_overtaken = np.append((record[1:] == record[:-1]) & (at[1:] < period.start), False)
    kept = (at >= period.start) | ~is_overtaken
    version = taken.cumsum(axis=1)[record, state]
    return pd.DataFrame({"record": record[kept], "state": state[kept], "at": at[kept], "version": version[kept]})


def from_province(
    random: np.random.Generator, name: str, rows: pd.DataFrame, schema: pa.Schema, kinds: Sequence[dirt.Dirt], period: Period, key: str | None = None
) -> Feed:
    """Rows of a small feed as the province sends them: CSV, what was changed before the period in one file, then a file for each month.

    One bad row of each kind, with an id of its own where `key` names the column; some rows come late, some twice.
    """
    rows = rows[rows.changed_at < period.end].sort_values("changed_at", kind="stable", ignore_index=True)
    is_old = rows.changed_at < period.start
    rows = placed(rows, PROVINCE, name, "csv")
    rows["_file"] = rows._file.where(~is_old, f"{name}-{period.first_day.astype('datetime64[M]') - 1}-full.csv")
    bad = dirt.spoiled_cells(random, rows, kinds, 1, key)
    rows = dirt.delayed(random, rows, ~is_old, round(len(rows) * _LATE_SHARE))
    again = dirt.repeated(random, rows[rows._kind.isna()], max(1, round(len(rows) * _REPEATED_SHARE)))
    return arranged(name, [rows, bad, again], schema, source="province_platform")
