"""The receipt of one sender, feed and day as a file: every receipt of the day, its rows, a Merkle root over them, signed by the platform.

It is checked without the lake, by the platform's public key alone: `verify` recomputes digests, root and counts, and finds the sender's own rows.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.dataset as ds

from gridlake.contracts import Contract
from gridlake.runs import Run, RunError
from gridlake.signing import PublicKey, SigningKey, canonical
from streaming import merkle, receipts
from streaming.receipt_rows import DIGEST_BYTES, NO_DIGEST, OUTCOMES, Salts, content_digest, digests_of
from streaming.receipts import REPLAYED
from streaming.rows import Cells, Lines, Readable, RefusedWhole
from streaming.text_files import Unpacked, read_csv, read_json_lines

KIND, FORMAT = "gridlake.receipt", 1
STATES = ("received", "accepted", "refused", "duplicate", "waiting")
# The roots that were given out for whole days: a day that is over has one.
ROOTS = "ops.receipt_root"
_ROOT_SCHEMA = pa.schema(
    [
        ("feed", pa.string()),
        ("sender_code", pa.string()),
        ("day", pa.string()),
        ("root", pa.string()),
        ("receipts", pa.int64()),
        ("made_at", pa.timestamp("us", "UTC")),
    ]
)
_STATE_OF = {ord(letter): state for state, letter in OUTCOMES.items()}


class ReceiptError(RunError):
    """A receipt that does not stand, or rows that it does not have; the message names the first difference."""


def export(run: Run, contract: Contract, sender_code: str, day: date) -> dict[str, Any]:
    """The signed receipt of one day, by the clock of the feed's zone. Raises ReceiptError where the lake's receipts are not what they were."""
    zone = ZoneInfo(contract.time_zone)
    start, end = (datetime.combine(d, time(), zone).astimezone(UTC) for d in (day, day + timedelta(days=1)))
    now = datetime.now(UTC)
    batches = [_batch(row) for row in _rows(run, contract.id, sender_code, start, end)]
    for batch, salt in zip(batches, Salts(run.keys).of(contract.id, [b["delivery_id"] for b in batches]), strict=True):
        batch["salt"] = salt.hex() if batch["row_digests"] else None
    document = {
        "document": KIND,
        "format": FORMAT,
        "sender": sender_code,
        "sender_name": run.senders[sender_code].name if sender_code in run.senders else None,
        "feed": f"{contract.source}.{contract.feed}",
        "title": contract.title,
        "day": day.isoformat(),
        "time_zone": contract.time_zone,
        "made_at": now.isoformat(timespec="seconds"),
        "is_complete": now >= end,
        "counts": {state: sum(b[state] for b in batches) for state in STATES},
        "receipts": batches,
        "merkle": {"hash": "SHA-256 (RFC 6962)", "leaves": len(batches), "root": _root(batches)},
    }
    if document["is_complete"]:
        _remember(run, contract.id, sender_code, document)
    return SigningKey.load(run.settings.signing_key).sign(document)


def senders_of(run: Run, feed: str, start: datetime, end: datetime) -> list[str]:
    """The senders that were given receipts for a feed between two times."""
    if not run.tables.exists(receipts.TABLE):
        return []
    where = (ds.field("feed") == feed) & (ds.field("received_at") >= pa.scalar(start)) & (ds.field("received_at") < pa.scalar(end))
    return sorted(set(run.tables.read(receipts.TABLE, columns=["sender_code"], where=where).column(0).to_pylist()))


def verify(document: Mapping[str, Any], key: PublicKey) -> None:
    """Raises SignatureError or ReceiptError unless the receipt stands as the platform signed it and adds up."""
    key.verify(document)
    batches = document["receipts"]
    for place, batch in enumerate(batches):
        where = f"receipt {place + 1} ({batch['file_name']}, rows {batch['first_row']} to {batch['last_row']})"
        digests, outcomes = _decoded(batch)
        found = content_digest(digests, outcomes)
        if found != batch["digest"]:
            raise ReceiptError(f"{where}: its rows have the digest {found}, it says {batch['digest']}; ask the platform for the receipt again")
        if batch["received"] != sum(batch[state] for state in STATES[1:]):
            raise ReceiptError(f"{where}: received {batch['received']} is not accepted + refused + duplicate + waiting; ask the platform")
        if batch["state"] != REPLAYED and outcomes:
            counted = {state: outcomes.count(letter) for state, letter in OUTCOMES.items()}
            wrong = next((state for state in STATES[1:] if counted[state] != batch[state]), None)
            if wrong or len(digests) != DIGEST_BYTES * len(outcomes):
                raise ReceiptError(
                    f"{where}: {wrong or 'rows'} is told as {batch.get(wrong or 'received')}, its rows say otherwise; ask the platform"
                )
    root = _root(batches)
    if root != document["merkle"]["root"]:
        raise ReceiptError(f"the root of the receipts is {root}, the file says {document['merkle']['root']}; ask the platform for the receipt again")


@dataclass
class Matched:
    """What a receipt says of a file of rows: how many are in which state; `lines` has (line's number, state, delivery, row) of each that is there."""

    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATES[1:], 0))
    lines: list[tuple[int, str, str, int]] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    not_sent: int = 0


def match(document: Mapping[str, Any], rows: Path) -> Matched:
    """Find a sender's own rows (.jsonl, .ndjson or .csv, each also .gz) in the receipt.

    A delivery of the very file is compared row by row; the rows of any other file are looked for in everything else. `not_sent` counts rows of
    the same deliveries that the file does not have.
    """
    sent = list(_sent(rows))
    told = _told(document)
    name = f"@{_file_digest(rows)[:16]}"
    same_file = {delivery: found for delivery, found in told.items() if delivery.endswith(name)}
    matched = Matched()
    known = [_Known(rows_of, salt) for rows_of, salt in (same_file or told).values()]
    for number, row in enumerate(sent, 1):
        found = next((place for one in known if (place := one.take(row)) is not None), None)
        if found is None:
            matched.missing.append(number)
            continue
        delivery, row_number, state = found
        matched.counts[state] += 1
        matched.lines.append((number, state, delivery, row_number))
    matched.not_sent = sum(one.left for one in known if one.was_used)
    return matched


class _Known:
    """The rows of one delivery by their digest, each given once, the earliest first."""

    def __init__(self, rows: Sequence[tuple[bytes, tuple[str, int, str]]], salt: bytes) -> None:
        self._salt = salt
        self._rows: dict[bytes, deque[tuple[str, int, str]]] = {}
        for digest, place in rows:
            self._rows.setdefault(digest, deque()).append(place)
        self.left, self.was_used = len(rows), False

    def take(self, row: bytes) -> tuple[str, int, str] | None:
        """(delivery, row, state) of the next such row."""
        places = self._rows.get(digests_of([row], self._salt)[0])
        if not places:
            return None
        self.left, self.was_used = self.left - 1, True
        return places.popleft()


def _told(document: Mapping[str, Any]) -> dict[str, tuple[list[tuple[bytes, tuple[str, int, str]]], bytes]]:
    """By delivery its rows, each with its digest and newest state, and its salt."""
    moved: dict[tuple[str, int], str] = {}
    for batch in document["receipts"]:
        if batch["state"] == REPLAYED:
            for state, numbers in json.loads(_decoded(batch)[1]).items():
                moved.update({(batch["delivery_id"], number): state for number in numbers})
    found: dict[str, tuple[list[tuple[bytes, tuple[str, int, str]]], bytes]] = {}
    for batch in document["receipts"]:
        delivery, (digests, outcomes) = batch["delivery_id"], _decoded(batch)
        if batch["state"] == REPLAYED or not digests:
            continue
        rows, _ = found.setdefault(delivery, ([], bytes.fromhex(batch["salt"])))
        for place, letter in enumerate(outcomes):
            digest, number = digests[place * DIGEST_BYTES : (place + 1) * DIGEST_BYTES], batch["first_row"] + place
            if digest != NO_DIGEST:
                rows.append((digest, (delivery, number, moved.get((delivery, number), _STATE_OF[letter]))))
    return found


def _rows(run: Run, feed: str, sender_code: str, start: datetime, end: datetime) -> list[dict[str, Any]]:
    if not run.tables.exists(receipts.TABLE):
        return []
    where = (ds.field("feed") == feed) & (ds.field("sender_code") == sender_code)
    where &= (ds.field("received_at") >= pa.scalar(start)) & (ds.field("received_at") < pa.scalar(end))
    found: list[dict[str, Any]] = run.tables.read(receipts.TABLE, where=where).to_pylist()
    return sorted(found, key=lambda r: (r["received_at"], r["_delivery_id"], r["first_row"], r["state"], r["digest"] or ""))


def _batch(row: Mapping[str, Any]) -> dict[str, Any]:
    digests, outcomes = row["row_digests"] or b"", row["row_outcomes"] or b""
    if row["digest"] is not None and content_digest(digests, outcomes) != row["digest"]:
        raise ReceiptError(
            f"ops.receipt: the rows of {row['_delivery_id']}, {row['first_row']} to {row['last_row']}, are not those that its digest was made of; "
            "something has changed the table: restore it from a backup"
        )
    names = ("file_name", "batch", "first_row", "last_row", *STATES, "contract_version", "state", "message")
    return {
        "delivery_id": row["_delivery_id"],
        **{name: row[name] for name in names},
        "received_at": row["received_at"].astimezone(UTC).isoformat(),
        "reasons": json.loads(row["reasons"]),
        "digest": content_digest(digests, outcomes),
        "row_digests": base64.b64encode(digests).decode(),
        "row_outcomes": base64.b64encode(outcomes).decode(),
    }


def _decoded(batch: Mapping[str, Any]) -> tuple[bytes, bytes]:
    return base64.b64decode(batch["row_digests"]), base64.b64decode(batch["row_outcomes"])


def _root(batches: Sequence[Mapping[str, Any]]) -> str:
    # The digest stands for the rows, so that a leaf stays small.
    leaves = [{name: value for name, value in batch.items() if name not in {"row_digests", "row_outcomes"}} for batch in batches]
    return merkle.root([merkle.leaf_hash(canonical(leaf)) for leaf in leaves]).hex()


def _remember(run: Run, feed: str, sender_code: str, document: Mapping[str, Any]) -> None:
    app, root = f"{feed}/{sender_code}/{document['day']}", document["merkle"]["root"]
    with run.tables.only_writer(ROOTS):
        run.tables.ensure(ROOTS, _ROOT_SCHEMA)
        if run.tables.resume_point(ROOTS, app) is None:
            made = {"feed": feed, "sender_code": sender_code, "day": document["day"], "root": root, "receipts": document["merkle"]["leaves"]}
            row = pa.Table.from_pylist([made | {"made_at": datetime.now(UTC)}], _ROOT_SCHEMA)
            run.tables.append(ROOTS, row, {app: 1})
            return
    where = (ds.field("feed") == feed) & (ds.field("sender_code") == sender_code) & (ds.field("day") == document["day"])
    (known,) = run.tables.read(ROOTS, where=where).to_pylist()
    if known["root"] != root:
        raise ReceiptError(
            f"{document['feed']} {sender_code} {document['day']}: the receipts of that day have the root {root}; the root given out at "
            f"{known['made_at']:%Y-%m-%d %H:%M} was {known['root']}, over {known['receipts']} receipts. Something has changed ops.receipt: restore it"
        )


def _sent(path: Path) -> Iterator[bytes]:
    def opened() -> Any:
        content = path.open("rb")
        return Unpacked(content, path.stat().st_size) if path.suffix == ".gz" else content

    def keep(_: Readable) -> str:
        return ""

    suffix = Path(path.name.lower().removesuffix(".gz")).suffix
    try:
        if suffix == ".csv":
            with opened() as source:
                first = source.read(1 << 16).split(b"\n")[0]
            blocks = read_csv(opened, keep, frozenset(_names(first)))
        elif suffix in {".jsonl", ".ndjson"}:
            blocks = read_json_lines(opened(), keep)
        else:
            raise ReceiptError(f"{path}: expected .jsonl, .ndjson or .csv, each also .gz; of sheets and Parquet files a receipt has no rows' digests")
        for block in blocks:
            if isinstance(block, Lines | Cells):
                yield from block.raw or []
    except RefusedWhole as broken:
        raise ReceiptError(f"{path}: {broken.refusal.rule}: {broken.refusal.detail}") from broken


def _names(header: bytes) -> list[str]:

    text = header.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "ignore")
    return [name.strip() for name in next(csv.reader(io.StringIO(text)), [])]


def _file_digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
