"""Into which file a row of a monthly feed goes, and which versions of a record are sent at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streaming.simulator.parcels import LINE, PLACE, json_lines


def placed(rows: pd.DataFrame, sender: Any, feed: str, suffix: str) -> pd.DataFrame:
    """The rows with their place: the file of the month in which they were changed, in the order of change."""
    file = month_files(feed, rows.changed_at, suffix)
    return rows.assign(_sender=np.asarray(sender, object), _file=file, _order=seconds(rows.changed_at).astype(float))


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


def numbered(prefix: str, times: pd.Series, sender: pd.Series, digits: int = 6) -> NDArray[np.object_]:
    """Local ids that count within each sender in the order of the rows: prefix, day, number. The same ids come from every sender, as in life."""
    day = np.char.replace(times.to_numpy().astype("datetime64[D]").astype(str), "-", "").astype(object)
    number = sender.groupby(sender.to_numpy(object)).cumcount().to_numpy() + 1
    found: NDArray[np.object_] = prefix + day + np.char.zfill(number.astype(str), digits).astype(object)
    return found


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
