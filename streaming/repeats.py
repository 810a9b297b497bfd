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
# New rows are searched apart until they are a tenth of the rest, so that merging costs a constant share of each row.
_MERGE_AT = 0.1


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

    def since(self, second: int) -> _Rows:
        """Those received at that second or later."""
        kept = self.s >= second
        return self if kept.all() else _Rows(self.h[kept], self.d[kept], self.s[kept])

    def hold(self, wanted: _Rows, window: int) -> Mask:
        """For each wanted row whether it is among these, received up to `window` seconds before it."""
        if not len(self.h) or not len(wanted.h):
            return np.zeros(len(wanted.h), np.bool_)
        start, end = np.searchsorted(self.h, wanted.h), np.searchsorted(self.h, wanted.h, side="right")
        last = np.maximum(end - 1, 0)
        found: Mask = (end > start) & (self.d[last] == wanted.d) & _in_time(self.s[last], wanted.s, window)
        # One that was landed again after the window, or another of the same hash: seldom, so they are looked at one by one.
        for row in np.flatnonzero((end - start > 1) & ~found):
            some = slice(start[row], end[row])
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
        self._old = self._new = _NONE
        self._newest = datetime.min.replace(tzinfo=UTC)
        self._oldest = 0

    def newest(self, at: datetime) -> datetime:
        """When the newest row of the table was received; `at` is now."""
        self._load(at)
        return self._newest

    def among(self, senders: pa.Array, digests: pa.Array, received_at: datetime) -> Mask:
        """For each row whether it repeats a row judged before or an earlier one of these. Rows must be in the order of landing."""
        repeated: Mask = np.zeros(len(digests), np.bool_)
        if not len(digests):
            return repeated
        self._load(received_at)
        wanted = self._identified(senders, digests, received_at)
        window = int(self._window.total_seconds())
        repeated |= self._old.hold(wanted, window) | self._new.hold(wanted, window)
        if len(np.unique(wanted.h)) < len(wanted.h):
            repeated |= self._within(senders, digests)
        return repeated

    def expect(self, senders: pa.Array, digests: pa.Array, received_at: datetime) -> None:
        """Remember rows that are about to be landed."""
        if len(digests):
            self._remember(self._identified(senders, digests, received_at))

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
                self._old, self._oldest = self._old.with_(self._new).since(since), since
                self._new = _NONE
            return
        self._oldest = since
        self._files = frozenset(self._tables.files(self._table)) if self._tables.exists(self._table) else frozenset()
        self._old = self._read(self._files)

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
        self._new = self._new.with_(rows)
        if len(self._new) > _MERGE_AT * len(self._old):
            self._old, self._new = self._old.with_(self._new), _NONE

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
