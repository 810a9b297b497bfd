"""Which accepted rows were landed before: same sender, same payload digest, within the contract's repeat window.

Held in memory are 128 bits of (sender, digest) and the second of receipt, 20 bytes for each row of the window. Rows count from the moment they are
judged, so what is judged next sees them; what other processes land is read when this one commits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gridlake.tables import Tables
from streaming.reasons import Mask

# The payload digest is itself 128 bits of a keyed hash: its first half beside a hash of all of it and the sender tell rows apart as well as it does.
_IDENTITY = "hash(_sender_code, _payload_digest) as h, ('0x' || left(_payload_digest, 16))::ubigint as d"
_SECOND = "(epoch_us(_received_at) // 1000000)::uinteger as s"
# A sorted run is merged into the one before it until that one is so many times its size: few runs to search, and a row is merged a few times at most.
_TIMES = 4


@dataclass(frozen=True)
class _Rows:
    """Rows by `h` ascending, of equal ones the newest last."""

    h: npt.NDArray[np.uint64]
    d: npt.NDArray[np.uint64]
    s: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.h)

    def with_(self, later: _Rows) -> _Rows:
        """These and rows that were received later."""
        h = np.concatenate([self.h, later.h])
        order = np.argsort(h, kind="stable")
        return _Rows(h[order], np.concatenate([self.d, later.d])[order], np.concatenate([self.s, later.s])[order])

    def where(self, kept: Mask) -> _Rows:
        """Some of them."""
        return self if kept.all() else _Rows(self.h[kept], self.d[kept], self.s[kept])

    def hold(self, wanted: _Rows, window: int) -> Mask:
        """For each wanted row whether it is among these, received up to `window` seconds before it."""
        if not len(self.h) or not len(wanted.h):
            return np.zeros(len(wanted.h), np.bool_)
        # In their order the searches go through memory in its order too: five times as fast.
        order = np.argsort(wanted.h)
        first = np.searchsorted(self.h, wanted.h[order])
        hit = self.h[np.minimum(first, len(self.h) - 1)] == wanted.h[order]
        found: Mask = np.zeros(len(wanted.h), np.bool_)
        rows, first = order[hit], first[hit]
        end = np.searchsorted(self.h, wanted.h[rows], side="right")
        found[rows] = (self.d[end - 1] == wanted.d[rows]) & _in_time(self.s[end - 1], wanted.s[rows], window)
        # One that was landed again after the window, or another of the same hash: seldom, so they are looked at one by one.
        for place in np.flatnonzero((end - first > 1) & ~found[rows]):
            some, row = slice(first[place], end[place]), rows[place]
            found[row] = ((self.d[some] == wanted.d[row]) & _in_time(self.s[some], wanted.s[row], window)).any()
        return found


_NONE = _Rows(np.array([], np.uint64), np.array([], np.uint64), np.array([], np.uint32))


def _in_time(earlier: npt.NDArray[np.uint32], later: npt.NDArray[np.uint32], window: int) -> Mask:
    return (earlier <= later) & (earlier.astype(np.int64) + window >= later)


class Repeats:
    """The rows of one bronze table that a new row may repeat."""

    def __init__(self, tables: Tables, table: str, window: timedelta) -> None:
        self._tables, self._table, self._window = tables, table, window
        self._connection = duckdb.connect(":memory:", config={"temp_directory": "", "memory_limit": "1GB", "preserve_insertion_order": "false"})
        self._connection.execute("set timezone = 'UTC'")
        self.reset()

    def reset(self) -> None:
        """Forget everything, rows that were judged and never landed with it; the table is read again when it is needed."""
        self._files: frozenset[str] | None = None
        self._runs: list[_Rows] = []
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._oldest = 0

    def newest(self, at: datetime) -> datetime:
        """When the newest row of the table was received; `at` is now."""
        self._load(at)
        return self._newest

    def among(self, senders: pa.Array, digests: pa.Array, received_at: datetime) -> Mask:
        """For each row whether it repeats a row judged before or an earlier one of these; the others are remembered, as they are about to be landed.

        Rows must be in the order of landing.
        """
        repeated: Mask = np.zeros(len(digests), np.bool_)
        if not len(digests):
            return repeated
        self._load(received_at)
        wanted = self._identified(senders, digests, received_at)
        window = int(self._window.total_seconds())
        for run in self._runs:
            repeated |= run.hold(wanted, window)
        if len(np.unique(wanted.h)) < len(wanted.h):
            repeated |= self._within(senders, digests)
        if not repeated.all():
            self._remember(wanted.where(~repeated))
        return repeated

    def landed_meanwhile(self, senders: pa.Array, digests: pa.Array, received_at: datetime) -> Mask:
        """For each row whether it repeats one that another process has landed since the last look. To be asked while no other can land."""
        self._load(received_at)
        present = frozenset(self._tables.files(self._table))
        appeared = present - (self._files or frozenset())
        self._files = present
        if not appeared:
            return np.zeros(len(digests), np.bool_)
        theirs = self._read(appeared)
        found = theirs.hold(self._identified(senders, digests, received_at), int(self._window.total_seconds()))
        self._remember(theirs)
        return found

    def landed(self) -> None:
        """What was expected is in the table: its files are no other process's."""
        self._files = frozenset(self._tables.files(self._table))

    def _load(self, at: datetime) -> None:
        since = int((at - self._window).timestamp())
        if self._files is not None:
            if since > self._oldest + self._window.total_seconds():
                self._runs, self._oldest = [run.where(run.s >= since) for run in self._runs], since
            return
        self._oldest = since
        self._files = frozenset(self._tables.files(self._table)) if self._tables.exists(self._table) else frozenset()
        self._runs = [self._read(self._files)]

    def _read(self, files: frozenset[str]) -> _Rows:
        if not files:
            return _NONE
        given = {"files": sorted(files)}
        query = "select max(_received_at) from read_parquet($files, union_by_name = true) having max(_received_at) is not null"
        for (newest,) in self._connection.sql(query, params=given).fetchall():
            self._newest = max(self._newest, newest.astimezone(UTC))
        since = datetime.fromtimestamp(self._oldest, UTC)
        landed = f"select {_IDENTITY}, {_SECOND} from read_parquet($files, union_by_name = true)"
        found = self._connection.sql(f"{landed} where _received_at >= $since", params=given | {"since": since}).fetchnumpy()
        order = np.lexsort((found["s"], found["h"]))
        return _Rows(found["h"].astype(np.uint64)[order], found["d"].astype(np.uint64)[order], found["s"].astype(np.uint32)[order])

    def _remember(self, rows: _Rows) -> None:
        self._runs.append(_NONE.with_(rows))
        while len(self._runs) > 1 and len(self._runs[-2]) <= _TIMES * len(self._runs[-1]):
            later = self._runs.pop()
            self._runs[-1] = self._runs[-1].with_(later)

    def _identified(self, senders: pa.Array, digests: pa.Array, received_at: datetime) -> _Rows:
        rows = pa.table({"_sender_code": senders, "_payload_digest": digests})
        self._connection.register("candidates", rows)
        found = self._connection.sql(f"select {_IDENTITY} from candidates").fetchnumpy()
        second = np.full(len(digests), int(received_at.timestamp()), np.uint32)
        return _Rows(found["h"].astype(np.uint64), found["d"].astype(np.uint64), second)

    def _within(self, senders: pa.Array, digests: pa.Array) -> Mask:
        rows = pa.table({"n": np.arange(len(digests)), "_sender_code": senders, "_payload_digest": digests})
        self._connection.register("candidates", rows)
        found = self._connection.sql(
            "select n from candidates qualify row_number() over (partition by _sender_code, _payload_digest order by n) > 1"
        ).fetchnumpy()["n"]
        mask: Mask = np.zeros(len(digests), np.bool_)
        mask[np.asarray(found, np.int64)] = True
        return mask
