"""What quarantine holds of a feed: every row once, in its newest state, as it was received and as a replay may have left it.

States are appended, never altered: a row of quarantine says its state from that replay on (`state_number`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa

from gridlake.contracts.compile import QUARANTINE_SCHEMA
from gridlake.tables import Tables
from streaming.quarantine import REFUSED, WAITING

# Rows as they are now: the first state's columns, and the newest's `state`, `reasons`, `waits_for`, `changed_at` and `number`.
_ROWS = """
with kept as (
    select * from read_parquet($files, union_by_name = true, filename = 'file')
    union all by name
    select * from no_row
),
moved as (
    select
        _source_position, max(state_number) as number, arg_max(state, state_number) as state, arg_max(reasons, state_number) as reasons,
        arg_max(waits_for, state_number) as waits_for, max(_received_at) as changed_at
    from kept
    where state_number > 0
    group by _source_position
),
held as (
    select
        kept._source_position, kept._sender_code, kept._delivery_id, kept._received_at, kept._contract_version, kept.payload_form, kept.file,
        kept.payload_ref is not null as is_in_a_file,
        case when moved.number is null then kept.state else moved.state end as state,
        case when moved.number is null then kept.reasons else moved.reasons end as reasons,
        case when moved.number is null then kept.waits_for else moved.waits_for end as waits_for,
        coalesce(moved.changed_at, kept._received_at) as changed_at,
        coalesce(moved.number, 0) as number
    from kept
    left join moved on kept._source_position = moved._source_position
    where coalesce(kept.state_number, 0) = 0
)
"""
_LABELS = "list_transform(reasons, lambda r: case when r.field is null then r.rule else r.rule || '/' || r.field end)"


@dataclass(frozen=True)
class Wanted:
    """Which held rows: in one of the states, refused for this `rule` or `rule/field`, of this sender, received since."""

    states: Sequence[str] = (REFUSED, WAITING)
    reason: str | None = None
    sender: str | None = None
    since: datetime | None = None

    def condition(self) -> tuple[str, dict[str, Any]]:
        """As SQL over `held`, with its parameters."""
        parts, given = ["list_contains($states, state)"], {"states": list(self.states)} | {}
        if self.reason is not None:
            wanted = "l = $reason" if "/" in self.reason else "split_part(l, '/', 1) = $reason"
            parts.append(f"len(list_filter({_LABELS}, lambda l: {wanted})) > 0")
            given["reason"] = self.reason  # type: ignore[assignment]
        if self.sender is not None:
            parts.append("_sender_code = $sender")
            given["sender"] = self.sender  # type: ignore[assignment]
        if self.since is not None:
            parts.append("_received_at >= $since")
            given["since"] = self.since  # type: ignore[assignment]
        return " and ".join(parts), given


class HeldRows:
    """The quarantine table of one feed, read."""

    def __init__(self, tables: Tables, feed: str) -> None:
        self._tables, self._table = tables, f"quarantine.{feed}"
        self._connection = duckdb.connect(":memory:", config={"temp_directory": "", "memory_limit": "2GB"})
        self._connection.execute("set timezone = 'UTC'")
        self._connection.register("no_row", QUARANTINE_SCHEMA.empty_table().append_column("file", pa.array([], pa.string())))

    def find(self, wanted: Wanted) -> pa.Table:
        """The rows in the order in which they came, without their payloads: columns of `held`."""
        condition, given = wanted.condition()
        return self.ask(f"select * from held where {condition} order by _received_at, _source_position", given)

    def payloads(self, rows: pa.Table) -> pa.Table:
        """`_source_position, payload_sealed, _payload_digest` of found rows, in their order; null where a sealed file holds the payload."""
        self._connection.register("asked", rows.select(["_source_position"]).append_column("place", pa.array(range(rows.num_rows), pa.int64())))
        query = """
            select kept._source_position, kept.payload_sealed, kept._payload_digest
            from (select * from read_parquet($files, union_by_name = true) union all by name select * from no_row) as kept
            inner join asked on kept._source_position = asked._source_position
            where coalesce(kept.state_number, 0) = 0
            order by asked.place
        """
        files = sorted(set(rows.column("file").to_pylist()))
        return self._connection.sql(query, params={"files": files}).to_arrow_table()

    def moved(self) -> pa.Table:
        """`_source_position, number` of the rows that a replay has moved, and the newest one that did."""
        query = """
            select _source_position, max(state_number) as number from kept where state_number > 0 group by _source_position
        """
        return self.ask(query)

    def ask(self, query: str, given: dict[str, Any] | None = None) -> pa.Table:
        """A query over `held`."""
        files = self._tables.files(self._table) if self._tables.exists(self._table) else []
        source = (
            _ROWS if files else _ROWS.replace("select * from read_parquet($files, union_by_name = true, filename = 'file')", "select * from no_row")
        )
        parameters: dict[str, Any] = dict(given or {}) | ({"files": files} if files else {})
        return self._connection.sql(f"{source} {query}", params=parameters).to_arrow_table()


def labels() -> str:
    """SQL for the `rule/field` of each reason of a row of `held`."""
    return _LABELS


def slices(rows: pa.Table, size: int) -> Iterator[pa.Table]:
    """The rows, so many at a time."""
    for start in range(0, rows.num_rows, size):
        yield rows.slice(start, size)
