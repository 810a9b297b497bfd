"""Rows of a PostgreSQL table in the order of a watermark, a page at a time; each round begins an overlap before the newest watermark seen.

A row whose transaction commits late has a watermark below rows that were pulled before: the overlap finds it, and what it finds again is left out.
Rows are never deleted by a pull: a source that deletes says so in a column (`_op`) or by another channel.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import Any

import psycopg
import pyarrow as pa
from psycopg import sql

from gridlake.contracts import Contract
from gridlake.contracts.pulls import PostgresPull
from streaming.decoder import OP
from streaming.pull.pages import Page, Place, PullError, Seen

_TRIES, _FIRST_PAUSE_S = 5, 0.5
_STATEMENT_TIMEOUT_MS = 300_000


class PostgresSource:
    """One declared server of type postgres."""

    def __init__(
        self, contract: Contract, pull: PostgresPull, password: str | None, secret: bytes, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        self._contract, self._pull, self._secret, self._sleep = contract, pull, secret, sleep
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None
        self._how: dict[str, Any] = {
            "host": pull.host, "port": pull.port, "dbname": pull.database, "user": pull.user, "sslmode": pull.sslmode, "connect_timeout": 10,
            "options": f"-c timezone=UTC -c statement_timeout={_STATEMENT_TIMEOUT_MS} -c default_transaction_read_only=on",
            "application_name": "gridlake", "autocommit": True,
        }  # fmt: skip
        if password is not None:
            self._how["password"] = password

    def pages(self, place: Place) -> Iterator[Page]:
        """Pages from the overlap before the place's watermark on, until there are no more rows."""
        columns = self._columns()
        newest = _value(place.get("watermark"))
        recent: list[tuple[str, Any]] = [(digest, _value(mark)) for digest, mark in place.get("seen", ())]
        after: tuple[Any, ...] | None = None
        while True:
            rows = self._rows(columns, None if newest is None else newest - self._overlap(), after)
            if not rows:
                return
            marks, keys = [row[0] for row in rows], len(self._pull.key)
            seen = Seen(self._secret, {digest for digest, _ in recent})
            digests = [seen.digest(repr(row).encode()) for row in rows]
            new = seen.new(digests)
            top = max(marks[-1], newest) if newest is not None else marks[-1]
            recent = [(d, m) for d, m in dict([*recent, *zip(digests, marks, strict=True)]).items() if m >= top - self._overlap()]
            table = _table(columns, [rows[at][1 + keys :] for at in new])
            after = rows[-1][: 1 + keys]
            yield Page("arrow", table, len(new), len(rows), {"watermark": _said(top), "seen": [[d, _said(m)] for d, m in recent]})
            if len(rows) < self._pull.size:
                return

    def _overlap(self) -> Any:
        return self._pull.overlap

    def _columns(self) -> list[str]:
        """The columns of the table that the contract knows."""
        pull = self._pull
        found = self._ask(
            sql.SQL("select column_name from information_schema.columns where table_schema = %s and table_name = %s order by ordinal_position"),
            (pull.schema_name, pull.table),
        )
        present = [name for (name,) in found]
        known = {*(c.name for c in self._contract.columns), OP}
        missing = [name for name in (pull.watermark, *pull.key) if name not in present]
        columns = [name for name in present if name in known]
        if missing or not columns:
            raise PullError(f"{self._named()}: expected watermark, key and columns of the contract, came {', '.join(present) or 'no such table'}")
        return columns

    def _rows(self, columns: Sequence[str], since: Any, after: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
        """(watermark, key …, columns …) of at most a page, in order of watermark and key."""
        pull = self._pull
        order = sql.SQL(", ").join(map(sql.Identifier, (pull.watermark, *pull.key)))
        conditions: list[sql.Composable] = [sql.SQL("{} is not null").format(sql.Identifier(pull.watermark))]
        values: list[Any] = []
        if after is not None:
            conditions.append(sql.SQL("({}) > ({})").format(order, sql.SQL(", ").join([sql.Placeholder()] * len(after))))
            values += after
        elif since is not None:
            conditions.append(sql.SQL("{} >= {}").format(sql.Identifier(pull.watermark), sql.Placeholder()))
            values.append(since)
        query = sql.SQL("select {}, {} from {} where {} order by {} limit {}").format(
            order,
            sql.SQL(", ").join(map(sql.Identifier, columns)),
            sql.Identifier(pull.schema_name, pull.table),
            sql.SQL(" and ").join(conditions),
            order,
            sql.Literal(pull.size),
        )
        return self._ask(query, values)

    def _ask(self, query: sql.SQL | sql.Composed, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        pause, why = _FIRST_PAUSE_S, ""
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(pause)
                pause *= 2
            try:
                if self._connection is None or self._connection.closed:
                    self._connection = psycopg.connect(**self._how)
                return self._connection.execute(query, values).fetchall()
            except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                # Its text may name a host and a user, never a row; a wrong password is not tried again.
                why = str(error).strip().splitlines()[0]
                if isinstance(error.__cause__, psycopg.errors.InvalidPassword) or "authentication failed" in why:
                    break
            except psycopg.Error as error:
                raise PullError(
                    f"{self._named()}: {type(error).__name__} ({error.sqlstate or 'in the answer'}); check table, columns and rights"
                ) from None
        raise PullError(f"{self._named()}: {why}; what was pulled is kept, pull again later")

    def _named(self) -> str:
        pull = self._pull
        return f"server {pull.server} ({pull.host}:{pull.port}/{pull.database}, {pull.schema_name}.{pull.table})"


def _table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    """The rows as an Arrow stream, so that times and numbers come as what they are."""
    arrays = [_array(list(values)) for values in (zip(*rows, strict=True) if rows else [()] * len(columns))]
    sink = io.BytesIO()
    table = pa.table(arrays, names=list(columns))
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    return sink.getvalue()


def _array(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _said(value: Any) -> Any:
    """A watermark as the place keeps it."""
    if isinstance(value, datetime):
        return {"at": value.isoformat()}
    if isinstance(value, int):
        return value
    raise PullError(f"a watermark of {type(value).__name__}; expected a timestamp or an integer")


def _value(said: Any) -> Any:
    return datetime.fromisoformat(said["at"]) if isinstance(said, dict) else said
