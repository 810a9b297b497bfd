"""`ops.log`: which logs were opened, and at which offset, so that what is missing later is known to be missing."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import pyarrow as pa
import pyarrow.dataset as ds

from gridlake.tables import Tables
from streaming.rows import Delivery

TABLE = "ops.log"
SCHEMA = pa.schema(
    [
        ("_delivery_id", pa.string()),
        ("feed", pa.string()),
        ("sender_code", pa.string()),
        ("name", pa.string()),
        ("first_offset", pa.int64()),
        ("opened_at", pa.timestamp("us", "UTC")),
    ]
)
_OPENED = 1


class OpenedLogs:
    """The logs that this lake has begun to land."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        with tables.only_writer(TABLE):  # another lander may be starting too
            tables.ensure(TABLE, SCHEMA)

    def names(self, names: Sequence[str]) -> dict[str, tuple[str, int]]:
        """{log id: (name, first offset)} of every log that was opened under one of the names, topics for example."""
        rows = self._tables.read(TABLE, where=ds.field("name").isin(list(names)))
        columns = (rows.column(c).to_pylist() for c in ("_delivery_id", "name", "first_offset"))
        return {i: (name, first) for i, name, first in zip(*columns, strict=True)}

    def enter(self, logs: Sequence[Delivery], first_offsets: Sequence[int], at: datetime) -> None:
        """Enter logs that are landed from now on; one that another process has entered already stays as entered."""
        with self._tables.only_writer(TABLE):
            known = self._tables.resume_points(TABLE, [log.id for log in logs])
            made = [
                {"_delivery_id": d.id, "feed": d.feed, "sender_code": d.sender_code, "name": d.file_name, "first_offset": first, "opened_at": at}
                for d, first in zip(logs, first_offsets, strict=True)
                if d.id not in known
            ]
            if made:
                self._tables.append(TABLE, pa.Table.from_pylist(made, SCHEMA), {str(row["_delivery_id"]): _OPENED for row in made})
