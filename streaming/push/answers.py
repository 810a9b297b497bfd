"""Receipts by idempotency key: what a repeated push is answered, also after a restart. Sealed, as they hold digests of what was sent."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from gridlake.barriers import barrier
from gridlake.privacy import Keys
from gridlake.tables import fsync, make_folder

# A sender that has had no answer for a week asks a person.
KEPT = timedelta(days=7)
_FORGOTTEN_AT_ONCE = 1000
_TABLE = """
create table if not exists answer (
    feed text, sender text, key text, digest text, kept_at real, sealed text,
    primary key (feed, sender, key)
) without rowid;
create index if not exists answer_age on answer (kept_at);
"""


@dataclass(frozen=True)
class Answer:
    """The receipt of one push; `digest` is its content's, behind a secret."""

    key: str
    digest: str
    receipt: bytes


class Answers:
    """One thread's view of the receipts of a lake's pushes."""

    def __init__(self, path: Path, keys: Keys) -> None:
        make_folder(path.parent)
        self._keys = keys
        self._connection = sqlite3.connect(path, timeout=30, isolation_level=None, check_same_thread=False)
        self._connection.execute("pragma journal_mode = wal")
        # Every commit is synced (https://sqlite.org/pragma.html#pragma_synchronous).
        self._connection.execute("pragma synchronous = full")
        self._connection.executescript(_TABLE)
        fsync(path.parent)

    def find(self, feed: str, sender: str, key: str) -> Answer | None:
        """The receipt that was given under a key."""
        found = self._connection.execute(
            "select digest, sealed from answer where feed = ? and sender = ? and key = ?", (feed, sender, key)
        ).fetchone()
        return Answer(key, found[0], self._keys.open_bytes(found[1])) if found else None

    def keep(self, feed: str, answers: Sequence[tuple[str, Answer]], at: datetime) -> None:
        """Remember (sender, receipt) pairs durably, a later one in the place of an earlier; forget the oldest."""
        now = at.timestamp()
        rows = [(feed, sender, a.key, a.digest, now, self._keys.seal_bytes(a.receipt)) for sender, a in answers]
        old = (now - KEPT.total_seconds(), _FORGOTTEN_AT_ONCE)
        self._connection.execute("begin immediate")
        try:
            self._connection.executemany("insert or replace into answer values (?, ?, ?, ?, ?, ?)", rows)
            self._connection.execute(
                "delete from answer where (feed, sender, key) in (select feed, sender, key from answer where kept_at < ? order by kept_at limit ?)",
                old,
            )
            barrier("answers.before_commit", feed)
            self._connection.execute("commit")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("rollback")
            raise
        barrier("answers.after_commit", feed)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()
