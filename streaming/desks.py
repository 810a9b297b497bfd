"""Where a reader of logs hands rows in: the desk of a feed, or that for feeds which no contract knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
from streaming.feed_lander import BEFORE_ANY, END, EPOCH, Batch, FeedLander
from streaming.logs import Logs, Offsets, consecutive
from streaming.quarantine import UNROUTED
from streaming.reasons import Reasons, label
from streaming.receipts import LANDED, Receipt
from streaming.rows import Block, Chunk, Delivery, Refusal


class Desk(Protocol):
    """Takes in the rows of one feed's logs."""

    @property
    def rows(self) -> int:
        """Rows that wait to be landed."""

    def landed(self, logs: Sequence[Delivery]) -> dict[str, int]:
        """The last row of each log that is landed, whoever landed it; logs of which none is are left out."""

    def take_over(self, logs: Sequence[Delivery]) -> dict[str, int]:
        """Become the only lander of the logs; gives by id the offset from which each is to be read."""

    def let_go(self, ids: Iterable[str]) -> None:
        """Leave logs to others; their rows that wait are dropped."""

    def add(self, log_id: str, offsets: Offsets, block: Block) -> None:
        """Rows of a log as read, ascending."""

    def land(self) -> list[Receipt]:
        """Land what waits; raises gridlake.tables.Fenced."""

    def is_ended(self, log: Delivery) -> bool:
        """Whether nothing more is expected of the log."""

    def skip(self, log: Delivery, first_row: int, last_row: int, message: str) -> None:
        """Go on behind rows that nobody can send any more; a receipt says so."""

    def end(self, log: Delivery, message: str) -> None:
        """Expect nothing more of a log; a receipt says so."""


class FeedDesk:
    """The desk of a feed that has a contract."""

    def __init__(self, run: Run, contract: Contract, regions: RegionTree) -> None:
        self._tables, self._bronze = run.tables, f"bronze.{contract.id}"
        self._lander = FeedLander(run, contract, regions)
        self._logs = Logs(self._lander)
        self.let_go, self.add, self.land = self._logs.let_go, self._logs.add, self._logs.land
        self.skip, self.end = self._lander.skip, self._lander.end

    @property
    def rows(self) -> int:
        """Rows that wait to be landed."""
        return self._logs.rows

    def landed(self, logs: Sequence[Delivery]) -> dict[str, int]:
        """The last row of each log that is landed."""
        return self._tables.resume_points(self._bronze, [log.id for log in logs])

    def take_over(self, logs: Sequence[Delivery]) -> dict[str, int]:
        """Become the only lander of the logs; gives by id the offset from which each is to be read."""
        self._pass_over_unrouted(logs)
        return self._logs.take_over(logs)

    def is_ended(self, log: Delivery) -> bool:
        """Whether nothing more is expected of the log."""
        return self._tables.resume_point(self._bronze, log.id + END) is not None

    def _pass_over_unrouted(self, logs: Sequence[Delivery]) -> None:
        """What came before there was a contract was received and kept then; it is not received a second time."""
        apps = {receipts.app_id(log.feed, log.id): log.id for log in logs}
        with self._tables.only_writer(self._bronze):
            landed = self.landed(logs)
            unrouted = self._tables.resume_points(f"quarantine.{UNROUTED}", apps)
            told = self._tables.resume_points(receipts.TABLE, unrouted)
            points = {apps[app]: min(row, told[app]) for app, row in unrouted.items() if app in told and apps[app] not in landed}
            if points:
                self._tables.append(self._bronze, self._tables.schema(self._bronze).empty_table(), points)


class UnroutedDesk:
    """The desk for a feed without a contract: every row is kept sealed, with a receipt, and receipts say how far it is."""

    def __init__(self, run: Run, feed: str, refusal: Refusal) -> None:
        self._run, self._tables, self._feed, self._refusal = run, run.tables, feed, refusal
        self._table = f"quarantine.{UNROUTED}"
        self._epochs: dict[str, dict[str, int]] = {self._table: {}, receipts.TABLE: {}}
        self._waiting: list[Chunk] = []
        self._logs: dict[str, Delivery] = {}
        with self._tables.only_writer(receipts.TABLE):
            self._tables.ensure(self._table, QUARANTINE_SCHEMA)
            self._tables.ensure(receipts.TABLE, RECEIPT_SCHEMA)

    @property
    def rows(self) -> int:
        """Rows that wait to be landed."""
        return sum(chunk.rows for chunk in self._waiting)

    def landed(self, logs: Sequence[Delivery]) -> dict[str, int]:
        """The last row of each log that is landed."""
        return self._points(receipts.TABLE, logs)

    def take_over(self, logs: Sequence[Delivery]) -> dict[str, int]:
        """Become the only lander of the logs; gives by id the offset from which each is to be read."""
        apps = [self._app(log) + EPOCH for log in logs]
        with self._tables.only_writer(self._table):
            for table, epochs in self._epochs.items():
                epochs.update(self._tables.claim(table, apps))
            self._logs |= {log.id: log for log in logs}
            landed = self.landed(logs)
        return {log.id: landed.get(log.id, BEFORE_ANY) + 1 for log in logs}

    def let_go(self, ids: Iterable[str]) -> None:
        """Leave logs to others."""
        gone = set(ids)
        self._waiting = [chunk for chunk in self._waiting if chunk.delivery.id not in gone]

    def add(self, log_id: str, offsets: Offsets, block: Block) -> None:
        """Rows of a log as read, ascending."""
        for first, part in consecutive(offsets, block):
            self._waiting.append(Chunk(self._logs[log_id], first, first, (part,), False, sum(part.sizes())))

    def land(self) -> list[Receipt]:
        """Refuse what waits."""
        chunks, self._waiting = self._waiting, []
        if not chunks:
            return []
        batch = Batch(chunks, datetime.now(UTC))
        last = {self._app(chunk.delivery): chunk.last_row for chunk in chunks}
        with self._tables.only_writer(self._table):
            kept = self._points(self._table, [chunk.delivery for chunk in chunks])
            first_missing = np.array([kept.get(chunk.delivery.id, BEFORE_ANY) + 1 for chunk in chunks])
            rows = np.flatnonzero(batch.row_numbers >= first_missing[batch.chunk_of_row])
            if len(rows):
                self._keep(batch, rows)
            barrier("landing.after_quarantine", self._feed)
            why = label(self._refusal.rule, None)
            made = [Receipt(chunk, 0, chunk.rows, 0, {why: chunk.rows}, "", batch.received_at, LANDED) for chunk in chunks]
            self._tables.append(receipts.TABLE, receipts.rows(made), last, self._believed(receipts.TABLE, last))
            barrier("landing.after_receipt", self._feed)
        return made

    def is_ended(self, log: Delivery) -> bool:
        """Whether nothing more is expected of the log."""
        return self._tables.resume_point(receipts.TABLE, self._app(log) + END) is not None

    def skip(self, log: Delivery, first_row: int, last_row: int, message: str) -> None:
        """Go on behind rows that nobody can send any more."""
        notice = receipts.notice(log, receipts.GAP, first_row, last_row, "", datetime.now(UTC), message)
        point = {self._app(log): last_row}
        self._tables.append(receipts.TABLE, notice, point, self._believed(receipts.TABLE, point))

    def end(self, log: Delivery, message: str) -> None:
        """Expect nothing more of a log."""
        landed = self.landed([log]).get(log.id, BEFORE_ANY)
        notice = receipts.notice(log, receipts.ENDED, landed + 1, landed, "", datetime.now(UTC), message)
        self._tables.append(receipts.TABLE, notice, {self._app(log) + END: landed + 1})

    def _keep(self, batch: Batch, rows: Offsets) -> None:
        reasons = Reasons()
        reasons.add(self._refusal.rule, None, self._refusal.detail, rows)
        payloads, references = batch.payloads(rows)
        table = quarantine.rows(batch.audit(rows, ""), pa.nulls(len(rows), pa.string()), reasons.lists(rows), payloads, references, self._run.keys)
        points = {self._app(batch.chunks[n].delivery): batch.chunks[n].last_row for n in np.unique(batch.chunk_of_row[rows])}
        self._tables.append(self._table, table, points, self._believed(self._table, points))

    def _points(self, table: str, logs: Sequence[Delivery]) -> dict[str, int]:
        ids = {self._app(log): log.id for log in logs}
        return {ids[app]: row for app, row in self._tables.resume_points(table, ids).items()}

    def _app(self, log: Delivery) -> str:
        return receipts.app_id(self._feed, log.id)

    def _believed(self, table: str, apps: Iterable[str]) -> dict[str, int]:
        known = self._epochs[table]
        return {app + EPOCH: known[app + EPOCH] for app in apps if app + EPOCH in known}
