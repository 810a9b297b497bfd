"""Bronze rows without files: what landing would have written, put there directly, so that a test decides every version and delivery."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA, bronze_schema
from gridlake.runs import Run
from gridlake.settings import Settings

SENDER = "hangzhou"
_CLOCK = "%Y-%m-%d %H:%M:%S"


def at(text: str) -> datetime:
    """'2026-03-01 09:00:00', in UTC."""
    return datetime.strptime(text, _CLOCK).replace(tzinfo=UTC)


def new_run(home: Path, as_of: str, contracts: Path | None = None, run_id: str = "test") -> Run:
    """A run over a lake of one's own."""
    settings = Settings(home=home, inbox=home.parent / "inbox", contracts=contracts, as_of=at(as_of))
    run = Run.start(settings, quiet=True)
    run.run_id = run_id
    return run


def land(run: Run, feed: str, rows: Iterable[Mapping[str, Any]], *, delivery: int, received_at: str, sender: str = SENDER) -> None:
    """Append rows to `bronze.<feed>` as one delivery; a row may say `_op`."""
    contract = run.contracts[feed]
    schema = bronze_schema(contract)
    run.tables.ensure(f"bronze.{feed}", schema)
    landed = []
    delivery_id = f"files:{sender}/{delivery:04d}.jsonl@{delivery:016d}"
    for number, row in enumerate(rows, 1):
        digest = hashlib.sha256(json.dumps(dict(row), sort_keys=True, default=str).encode()).hexdigest()[:32]
        audit = {
            "_sender_code": sender,
            "_received_at": at(received_at),
            "_source_position": f"{delivery_id}#{number:010d}",
            "_delivery_id": delivery_id,
            "_op": row.get("_op", "upsert"),
            "_contract_version": contract.version,
            "_payload_digest": digest,
        }
        landed.append({**dict.fromkeys(schema.names), **row, **audit})
    run.tables.append(f"bronze.{feed}", pa.Table.from_pylist(landed, schema))


def land_nothing_else(run: Run) -> None:
    """The tables that landing always leaves, empty."""
    run.tables.ensure("ops.receipt", RECEIPT_SCHEMA)
    for feed in run.contracts:
        run.tables.ensure(f"quarantine.{feed}", QUARANTINE_SCHEMA)
