"""`outbox.message`: what goes out to others (findings, dispatches, and whatever a room has to tell), written with the lake's own durability.

A room puts messages here and forgets them; a relay (`gridlake relay kafka`) publishes them in the order in which they were put.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pyarrow as pa

from gridlake.tables import Tables

TABLE = "outbox.message"
SCHEMA = pa.schema(
    [
        ("message_id", pa.string()),
        ("topic", pa.string()),
        ("key", pa.string()),
        ("payload", pa.string()),
        ("made_at", pa.timestamp("us", "UTC")),
    ]
)


@dataclass(frozen=True)
class Message:
    """One message. `id` is the same whenever the same thing is said again: a receiver drops what it has had. `payload` is JSON without L4 values."""

    id: str
    topic: str
    key: str
    payload: str


def put(tables: Tables, messages: Sequence[Message], transactions: Mapping[str, int] | None = None) -> None:
    """Put messages into the outbox, all or none; `transactions` as those of `Tables.append`, so that a repeated run puts nothing twice."""
    tables.ensure(TABLE, SCHEMA)
    now = datetime.now(UTC)
    made = [{"message_id": m.id, "topic": m.topic, "key": m.key, "payload": m.payload, "made_at": now} for m in messages]
    tables.append(TABLE, pa.Table.from_pylist(made, SCHEMA), transactions)
