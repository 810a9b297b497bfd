"""What a sender is told: for each delivery and chunk how many rows came and what became of them, by rule and field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from gridlake.contracts.compile import RECEIPT_SCHEMA
from streaming.receipt_rows import content_digest
from streaming.rows import Chunk, Delivery

TABLE = "ops.receipt"
LANDED, EMPTY, REFUSED_WHOLE, BELOW_MINIMUM = "landed", "empty", "refused_whole", "below_minimum"
# Of a log: rows that were never received and cannot be sent any more; nothing more is expected.
GAP, ENDED = "gap", "ended"
# A correction: rows of an earlier receipt have moved between states, so its counts may be negative and it receives nothing.
REPLAYED = "replayed"
WARNING = "warning:"
_WHOLE = {
    "unknown_feed": "平台没有这个数据接口",
    "unknown_sender": "报送单位未登记，或文件不在报送单位的文件夹内",
    "not_entitled": "该单位未获准报送这一接口的这一版本",
    "retired": "接口的这一版本已停用，请改用现行版本",
    "format": "文件格式不符、已损坏或加密",
    "header": "首行不是约定的列名",
    "encoding": "文字编码不符，应为 UTF-8（CSV 亦可 GB18030）",
    "archive_too_large": "压缩内容解开后过大",
}


def app_id(feed: str, delivery_id: str) -> str:
    """The app transaction of a delivery in this table, which all feeds share: the same file may come for two of them."""
    return f"{feed}/{delivery_id}"


@dataclass(frozen=True)
class Receipt:
    """What became of one chunk. received = accepted + refused + duplicate + waiting."""

    chunk: Chunk
    accepted: int
    refused: int
    duplicate: int
    reasons: Mapping[str, int]
    contract_version: str
    received_at: datetime
    state: str
    minimum: int | None = None
    waiting: int = 0
    row_digests: bytes = b""
    row_outcomes: bytes = b""

    @property
    def received(self) -> int:
        """Rows of the chunk."""
        return self.accepted + self.refused + self.duplicate + self.waiting

    def said(self) -> str:
        """The message to the sender."""
        if self.state == REFUSED_WHOLE:
            return "整件拒收：" + "；".join(_WHOLE.get(rule, rule) for rule in self.reasons) + "。请改正后重新报送。"
        if self.state == EMPTY:
            return "空文件：没有数据行。"
        if self.state == BELOW_MINIMUM:
            return f"整件拒收：共 {self.received} 行，约定至少 {self.minimum} 行。请补齐后重新报送。"
        waiting = f"，待关联 {self.waiting}" if self.waiting else ""
        return f"第 {self.chunk.first_row}–{self.chunk.last_row} 行：接收 {self.accepted}，拒收 {self.refused}，重复 {self.duplicate}{waiting}。"


def rows(receipts: Sequence[Receipt]) -> pa.Table:
    """Receipts as rows of the table."""
    made = [
        {
            "_delivery_id": r.chunk.delivery.id,
            "feed": r.chunk.delivery.feed,
            "sender_code": r.chunk.delivery.sender_code,
            "file_name": r.chunk.delivery.file_name,
            "batch": r.chunk.number,
            "first_row": r.chunk.first_row,
            "last_row": r.chunk.last_row,
            "received": r.received,
            "accepted": r.accepted,
            "refused": r.refused,
            "duplicate": r.duplicate,
            "waiting": r.waiting,
            "reasons": json.dumps(dict(sorted(r.reasons.items())), ensure_ascii=False),
            "contract_version": r.contract_version,
            "received_at": r.received_at,
            "state": r.state,
            "message": r.said(),
            "payload_bytes": r.chunk.payload_bytes,
            "counted_at": r.received_at,
            "row_digests": r.row_digests,
            "row_outcomes": r.row_outcomes,
            "digest": content_digest(r.row_digests, r.row_outcomes),
        }
        for r in receipts
    ]
    return pa.Table.from_pylist(made, RECEIPT_SCHEMA)


def notice(log: Delivery, state: str, first_row: int, last_row: int, contract_version: str, at: datetime, message: str) -> pa.Table:
    """A receipt for rows that did not come: GAP or ENDED, with a message that says why."""
    counts = dict.fromkeys((f.name for f in RECEIPT_SCHEMA if f.type == pa.int64()), 0)
    said = {"first_row": first_row, "last_row": last_row, "reasons": "{}", "contract_version": contract_version, "received_at": at, "state": state}
    sent = {"_delivery_id": log.id, "feed": log.feed, "sender_code": log.sender_code, "file_name": log.file_name, "message": message}
    rows_of_it = {"counted_at": at, "row_digests": b"", "row_outcomes": b"", "digest": content_digest(b"", b"")}
    return pa.Table.from_pylist([counts | said | sent | rows_of_it], RECEIPT_SCHEMA)


def correction(
    of: Mapping[str, Any],
    counts: Mapping[str, int],
    reasons: Mapping[str, int],
    rows: Mapping[str, Sequence[int]],
    contract_version: str,
    at: datetime,
) -> dict[str, Any]:
    """What a replay adds to the counts of an earlier receipt, as a row of the table: nothing received, rows moved between the states.

    `rows` are the numbers of the rows that are in a state now.
    """
    moved = json.dumps({state: sorted(numbers) for state, numbers in sorted(rows.items())}).encode()
    added = {state: counts.get(state, 0) for state in ("accepted", "refused", "duplicate", "waiting")}
    names = {"accepted": "接收", "refused": "拒收", "duplicate": "重复", "waiting": "待关联"}
    said = "，".join(f"{names[state]} {number:+d}" for state, number in added.items() if number)
    return {
        **{name: of[name] for name in ("_delivery_id", "feed", "sender_code", "file_name", "batch", "first_row", "last_row")},
        "received": 0,
        **added,
        "reasons": json.dumps({key: number for key, number in sorted(reasons.items()) if number}, ensure_ascii=False),
        "contract_version": contract_version,
        "received_at": at,
        "state": REPLAYED,
        "message": f"重新判定第 {of['first_row']}–{of['last_row']} 行：{said}。",
        "payload_bytes": 0,
        "counted_at": of["received_at"],
        "row_digests": b"",
        "row_outcomes": moved,
        "digest": content_digest(b"", moved),
    }
