"""Whether feeds come as often as their contracts promise: the time since a sender's last delivery against frequency and latency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

import pyarrow.dataset as ds

from gridlake.contracts import Contract
from gridlake.runs import Run

_RECEIPTS = "ops.receipt"
# A correction counts rows of an earlier delivery; it is none.
_NO_DELIVERY = "replayed"
_DAYS = {"d": 1, "w": 7, "m": 31, "mo": 31, "y": 366}
_UNITS = {"h": timedelta(hours=1)} | {unit: timedelta(days=days) for unit, days in _DAYS.items()}
_PROMISED = ("frequency", "latency")


@dataclass(frozen=True)
class Freshness:
    """How a feed keeps its promise: the sender that has been silent longest, and how many are beyond the promise of those that ever sent."""

    feed: str
    promised: timedelta
    silent_for: timedelta
    sender_code: str
    late_count: int
    sender_count: int

    @property
    def days_late(self) -> float:
        """Days beyond the promise; 0 or less where it is kept."""
        return (self.silent_for - self.promised) / timedelta(days=1)


def promised(contract: Contract) -> timedelta | None:
    """The longest that a sender may be silent: frequency and latency together; None where the contract promises no frequency."""
    said = {str(p["property"]): int(p["value"]) * _UNITS[str(p["unit"])] for p in contract.sla if p.get("property") in _PROMISED}
    return sum(said.values(), timedelta()) if "frequency" in said else None


def measure(run: Run) -> Iterator[Freshness]:
    """Each promised feed that has ever been delivered, at the run's clock, by the receipts of its cut."""
    if _RECEIPTS not in run.cut or run.as_of is None:
        return
    columns = ["feed", "sender_code", "received_at", "state"]
    receipts = run.tables.read(_RECEIPTS, version=run.cut[_RECEIPTS], columns=columns, where=ds.field("state") != _NO_DELIVERY)
    newest: dict[str, dict[str, datetime]] = {}
    for row in receipts.group_by(["feed", "sender_code"]).aggregate([("received_at", "max")]).to_pylist():
        newest.setdefault(row["feed"], {})[row["sender_code"]] = row["received_at_max"]
    for contract in run.contracts.values():
        promise = promised(contract)
        if promise is None or contract.id not in newest:
            continue
        silent = {sender: run.as_of - at for sender, at in newest[contract.id].items()}
        sender = max(silent, key=lambda code: (silent[code], code))
        late = sum(length > promise for length in silent.values())
        yield Freshness(contract.id, promise, max(silent[sender], timedelta()), sender, late, len(silent))
