"""Where a lander of logs hands its rows in: a feed's own desk, or that for feeds which no contract knows."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import numpy as np
import pyarrow as pa

from gridlake.barriers import barrier
from gridlake.contracts import Contract
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA
from gridlake.regions import RegionTree
from gridlake.runs import Run
from streaming import quarantine, receipts
from streaming.feed_lander import BEFORE_ANY, END, EPOCH, Batch, FeedLander, Unfinished
from streaming.quarantine import UNROUTED
from streaming.reasons import Reasons, label
from streaming.receipts import LANDED, Receipt
from streaming.rows import Chunk, Delivery, Refused, Unreadable


class Desk(Protocol):
    """Takes in the rows of one feed's logs."""

    def take_over(self, logs: Sequence[Delivery]) -> Unfinished:
        """Become the only lander of the logs, and say how far they are."""

    def unfinished(self, logs: Sequence[Delivery]) -> Unfinished:
        """How far the logs are, whoever lands them."""

    def is_ended(self, log: Delivery) -> bool:
        """Whether nothing more is expected of the log."""

    def land(self, chunks: Sequence[Chunk], unfinished: Unfinished, *, was_finishing: bool) -> list[Receipt]:
        """Land a batch; `was_finishing`: it is the one that a killed lander began."""

    def skip(self, log: Delivery, first_row: int, last_row: int, message: str) -> None:
        """Go on behind rows that nobody can send any more; a receipt says so."""

    def end(self, log: Delivery, message: str) -> None:
        """Expect nothing more of a log; a receipt says so."""


class FeedDesk:
    """The desk of a feed that has a contract."""

    def __init__(self, run: Run, contract: Contract, regions: RegionTree) -> None:
        self._tables, self._bronze = run.tables, f"bronze.{contract.id}"
        self._lander = FeedLander(run, contract, regions)
        self.take_over, self.unfinished = self._lander.take_over, self._lander.unfinished
        self.skip, self.end = self._lander.skip, self._lander.end

    def is_ended(self, log: Delivery) -> bool:
        """Whether nothing more is expected of the log."""
        return self._tables.resume_point(self._bronze, log.id + END) is not None

    def land(self, chunks: Sequence[Chunk], unfinished: Unfinished, *, was_finishing: bool) -> list[Receipt]:
        """Land a batch."""
        then = self._lander.received_then(chunks) if was_finishing else None
        return self._lander.commit(self._lander.judge(Batch(chunks, self._lander.received_now(then))), unfinished)


class UnroutedDesk:
    """The desk for a feed without a contract: every row is kept sealed, with a receipt, and receipts say how far it is."""

    def __init__(self, run: Run, feed: str) -> None:
        self._run, self._tables, self._feed = run, run.tables, feed
        self._table = f"quarantine.{UNROUTED}"
        self._epochs: dict[str, int] = {}
        self._tables.ensure(self._table, QUARANTINE_SCHEMA)
        self._tables.ensure(receipts.TABLE, RECEIPT_SCHEMA)

    def take_over(self, logs: Sequence[Delivery]) -> Unfinished:
        """Become the only lander of the logs, and say how far they are."""
        apps = [self._app(log) + EPOCH for log in logs]
        with self._tables.only_writer(self._table):
            self._epochs |= {self._table + app: epoch for app, epoch in self._tables.claim(self._table, apps).items()}
            self._epochs |= {receipts.TABLE + app: epoch for app, epoch in self._tables.claim(receipts.TABLE, apps).items()}
            return self.unfinished(logs)

    def unfinished(self, logs: Sequence[Delivery]) -> Unfinished:
        """How far the logs are."""
        ids = {self._app(log): log.id for log in logs}
        told = {ids[app]: row for app, row in self._tables.resume_points(receipts.TABLE, ids).items()}
        kept = {ids[app]: row for app, row in self._tables.resume_points(self._table, ids).items()}
        return Unfinished(landed=told, quarantined=kept, receipted=dict(told))

    def is_ended(self, log: Delivery) -> bool:
        """Whether nothing more is expected of the log."""
        return self._tables.resume_point(receipts.TABLE, self._app(log) + END) is not None

    def land(self, chunks: Sequence[Chunk], unfinished: Unfinished, *, was_finishing: bool) -> list[Receipt]:
        """Refuse a batch."""
        batch = Batch(chunks, datetime.now(UTC))
        last = {self._app(c.delivery): c.last_row for c in chunks}
        with self._tables.only_writer(self._table):
            missing = np.array([unfinished.quarantined.get(c.delivery.id, BEFORE_ANY) < c.last_row for c in chunks], np.bool_)
            rows = np.flatnonzero(missing[batch.chunk_of_row])
            if len(rows):
                payloads, references = batch.payloads(rows)
                table = quarantine.rows(
                    batch.audit(rows, ""), pa.nulls(len(rows), pa.string()), self._reasons(batch).lists(rows), payloads, references, self._run.keys
                )
                owners = {self._app(c.delivery): c.last_row for c, is_missing in zip(chunks, missing, strict=True) if is_missing}
                self._tables.append(self._table, table, owners, self._believed(self._table, owners))
            barrier("landing.after_quarantine", self._feed)
            made = [Receipt(c, 0, c.rows, 0, {label(_refusal(c).rule, None): c.rows}, "", batch.received_at, LANDED) for c in chunks]
            self._tables.append(receipts.TABLE, receipts.rows(made), last, self._believed(receipts.TABLE, last))
            barrier("landing.after_receipt", self._feed)
        return made

    def skip(self, log: Delivery, first_row: int, last_row: int, message: str) -> None:
        """Go on behind rows that nobody can send any more."""
        notice = receipts.notice(log, receipts.GAP, first_row, last_row, "", datetime.now(UTC), message)
        app = {self._app(log): last_row}
        self._tables.append(receipts.TABLE, notice, app, self._believed(receipts.TABLE, app))

    def end(self, log: Delivery, message: str) -> None:
        """Expect nothing more of a log."""
        landed = self.unfinished([log]).landed.get(log.id, BEFORE_ANY)
        notice = receipts.notice(log, receipts.ENDED, landed + 1, landed, "", datetime.now(UTC), message)
        self._tables.append(receipts.TABLE, notice, {self._app(log) + END: landed + 1})

    def _app(self, log: Delivery) -> str:
        return receipts.app_id(self._feed, log.id)

    def _believed(self, table: str, apps: dict[str, int]) -> dict[str, int]:
        return {app + EPOCH: self._epochs[table + app + EPOCH] for app in apps if table + app + EPOCH in self._epochs}

    @staticmethod
    def _reasons(batch: Batch) -> Reasons:
        reasons = Reasons()
        for number, chunk in enumerate(batch.chunks):
            refusal = _refusal(chunk)
            reasons.add(refusal.rule, None, refusal.detail, batch.chunk_of_row == number)
        return reasons


def _refusal(chunk: Chunk) -> Refused | Unreadable:
    first = chunk.blocks[0]
    if not isinstance(first, Refused | Unreadable):
        raise ValueError(f"{chunk.delivery.feed}: {chunk.delivery.id} has no contract and was not refused by its connector")
    return first
