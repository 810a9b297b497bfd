"""Which accepted rows were landed before: same sender, same payload digest, within the contract's repeat window.

A 64-bit hash of (sender, digest) is held for each row of the window, 8 bytes a row; what it finds is confirmed by the whole digest.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gridlake.tables import Tables
from streaming.reasons import Mask

_HASH = "hash(_sender_code, _payload_digest)"
# Newly landed hashes are searched apart until they are a tenth of the rest, so that merging costs a constant share of each row.
_MERGE_AT = 0.1


class Repeats:
    """The rows of one bronze table that a new row may repeat."""

    def __init__(self, tables: Tables, table: str, received_at: datetime, window: timedelta) -> None:
        self._tables, self._table = tables, table
        self._since = received_at - window
        self._connection = duckdb.connect(":memory:", config={"temp_directory": "", "memory_limit": "1GB", "preserve_insertion_order": "false"})
        self._connection.execute("set timezone = 'UTC'")
        self._old = np.array([], np.uint64)
        self._new = np.array([], np.uint64)
        if tables.exists(table) and (files := tables.files(table)):
            found = self._connection.sql(
                f"select {_HASH} as h from read_parquet($files, union_by_name = true) where _received_at >= $since",
                params={"files": files, "since": self._since},
            )
            self._old = np.sort(found.fetchnumpy()["h"].astype(np.uint64))

    def among(self, senders: pa.Array, digests: pa.Array) -> Mask:
        """For each row whether it repeats a landed row or an earlier one of these. Rows must be in the order of landing."""
        repeated: Mask = np.zeros(len(digests), np.bool_)
        if not len(digests):
            return repeated
        hashes = self._hashes(senders, digests)
        landed = _contains(self._old, hashes) | _contains(self._new, hashes)
        if landed.any():
            repeated |= self._confirmed(senders, digests, landed)
        if len(np.unique(hashes)) < len(hashes):
            repeated |= self._within(senders, digests)
        return repeated

    def add(self, senders: pa.Array, digests: pa.Array) -> None:
        """Remember rows that are in bronze now."""
        if len(digests):
            self._new = np.sort(np.concatenate([self._new, self._hashes(senders, digests)]))
            if len(self._new) > _MERGE_AT * len(self._old):
                self._old, self._new = np.sort(np.concatenate([self._old, self._new]), kind="stable"), self._new[:0]

    def _hashes(self, senders: pa.Array, digests: pa.Array) -> npt.NDArray[np.uint64]:
        rows = pa.table({"_sender_code": senders, "_payload_digest": digests})
        self._connection.register("candidates", rows)
        found: npt.NDArray[np.uint64] = self._connection.sql(f"select {_HASH} as h from candidates").fetchnumpy()["h"].astype(np.uint64)
        return found

    def _confirmed(self, senders: pa.Array, digests: pa.Array, wanted: Mask) -> Mask:
        numbers = np.flatnonzero(wanted)
        rows = pa.table({"n": numbers, "_sender_code": senders.take(numbers), "_payload_digest": digests.take(numbers)})
        self._connection.register("candidates", rows)
        found = self._connection.sql(
            "select n from candidates semi join (select _sender_code, _payload_digest from read_parquet($files, union_by_name = true) "
            "where _received_at >= $since) using (_sender_code, _payload_digest)",
            params={"files": self._tables.files(self._table), "since": self._since},
        ).fetchnumpy()["n"]
        return _at(found, len(digests))

    def _within(self, senders: pa.Array, digests: pa.Array) -> Mask:
        rows = pa.table({"n": np.arange(len(digests)), "_sender_code": senders, "_payload_digest": digests})
        self._connection.register("candidates", rows)
        found = self._connection.sql(
            "select n from candidates qualify row_number() over (partition by _sender_code, _payload_digest order by n) > 1"
        ).fetchnumpy()["n"]
        return _at(found, len(digests))


def _contains(ordered: npt.NDArray[np.uint64], wanted: npt.NDArray[np.uint64]) -> Mask:
    if not len(ordered):
        return np.zeros(len(wanted), np.bool_)
    place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    found: Mask = ordered[place] == wanted
    return found


def _at(numbers: npt.NDArray[np.int64], rows: int) -> Mask:
    mask: Mask = np.zeros(rows, np.bool_)
    mask[np.asarray(numbers, np.int64)] = True
    return mask
