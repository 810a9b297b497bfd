"""The step `land`: deliveries of a connector, chunk by chunk, to bronze or quarantine, with a receipt for each.

Order of commits: refused rows, receipts, bronze. Bronze's app transactions alone say what is landed; a run that was killed between
two of them lands the same chunks again, skips what the other tables have of them, and ends in the same tables.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake.barriers import barrier
from gridlake.contracts import Contract
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA, bronze_schema
from gridlake.progress import Task
from gridlake.regions import RegionTree
from gridlake.runs import Run, RunError
from gridlake.tables import Tables
from streaming import quarantine, receipts
from streaming.bronze import Audit, BronzeRows, Digests
from streaming.checks import Checks
from streaming.decoder import Decoded, Decoder
from streaming.files import SHAPE, Inbox
from streaming.quarantine import UNROUTED, Vault
from streaming.reasons import Mask, Reasons, label, total
from streaming.receipts import BELOW_MINIMUM, EMPTY, LANDED, REFUSED_WHOLE, WARNING, Receipt
from streaming.repeats import Repeats
from streaming.rows import Block, Chunk, Connector, Delivery, DeliveryChanged, Unreadable, cut

# A chunk is landed whole or not at all. It is cut by the delivery's own rows alone, so a repeat cuts it at the same ones.
CHUNK_ROWS = 100_000
CHUNK_BYTES = 64 << 20
# Small files share a batch, and so a commit; beyond so many of them a commit's list of transactions grows long.
_MOST_CHUNKS = 2000
# The app transaction that says that a delivery is landed to its end; the delivery's own says how far it is.
_END = "#end"
_BEFORE_ANY = -1
_STATES = ("received", "accepted", "refused", "duplicate", "waiting")


def land(run: Run) -> dict[str, Any]:
    """Land the inbox and take the cut.

    Gives {"feeds": {id: {received, accepted, refused, duplicate, waiting, deliveries, already_landed}}, "refusals": {id: {"rule/field": rows}},
    "warnings": likewise}: what this call did, an entry for every contract and for every folder that no contract knows. Raises RunError
    where there is no inbox.
    """
    if not run.settings.inbox.is_dir():
        raise RunError(f"{run.settings.inbox}: no such folder; expected an inbox of {SHAPE}, give it with --inbox or --input")
    vault = Vault(run.settings.home, run.keys)
    landed = land_from(run, Inbox(run.settings.inbox, run.contracts, run.senders, vault, run.progress.say))
    run.take_cut()
    return {
        "feeds": {feed: counts.entry() for feed, counts in sorted(landed.items())},
        "refusals": {feed: counts.refusals for feed, counts in sorted(landed.items()) if counts.refusals},
        "warnings": {feed: counts.warnings for feed, counts in sorted(landed.items()) if counts.warnings},
    }


@dataclass
class Counts:
    """What one call landed of a feed."""

    received: int = 0
    accepted: int = 0
    refused: int = 0
    duplicate: int = 0
    waiting: int = 0
    deliveries: int = 0
    already_landed: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def add(self, receipt: Receipt) -> None:
        """Count one receipt."""
        for state in _STATES:
            setattr(self, state, getattr(self, state) + getattr(receipt, state))
        self.deliveries += receipt.chunk.is_last
        self.reasons = total([self.reasons, receipt.reasons])

    @property
    def refusals(self) -> dict[str, int]:
        """Refused rows by rule and field; a row with two reasons stands under both."""
        return {key: rows for key, rows in sorted(self.reasons.items()) if not key.startswith(WARNING)}

    @property
    def warnings(self) -> dict[str, int]:
        """Rows that were taken in with a warning, by rule."""
        return {key.removeprefix(WARNING): rows for key, rows in sorted(self.reasons.items()) if key.startswith(WARNING)}

    def entry(self) -> dict[str, int]:
        """The counts by name."""
        return {name: getattr(self, name) for name in (*_STATES, "deliveries", "already_landed")}


def land_from(run: Run, connector: Connector) -> dict[str, Counts]:
    """Land everything that a connector has ready; gives the counts by feed."""
    ready = set(connector.feeds())
    regions = RegionTree(run.vocabularies.regions)
    counts = {}
    run.tables.ensure(receipts.TABLE, RECEIPT_SCHEMA)
    for feed, contract in run.contracts.items():
        run.tables.ensure(f"bronze.{feed}", bronze_schema(contract))
        run.tables.ensure(f"quarantine.{feed}", QUARANTINE_SCHEMA)
        counts[feed] = _FeedLander(run, contract, connector, regions).land() if feed in ready else Counts()
    for feed in sorted(ready - run.contracts.keys()):
        counts[feed] = _refuse_unrouted(run, connector, feed)
    return counts


@dataclass
class _Batch:
    """Chunks that are committed together, with their rows decoded and judged."""

    chunks: Sequence[Chunk]
    received_at: datetime

    @cached_property
    def rows(self) -> int:
        return sum(c.rows for c in self.chunks)

    @cached_property
    def chunk_of_row(self) -> npt.NDArray[np.int64]:
        return np.repeat(np.arange(len(self.chunks)), [c.rows for c in self.chunks])

    @cached_property
    def row_numbers(self) -> npt.NDArray[np.int64]:
        return np.concatenate([np.arange(c.first_row, c.last_row + 1) for c in self.chunks])

    @cached_property
    def blocks(self) -> list[Block]:
        return [block for chunk in self.chunks for block in chunk.blocks]

    def payloads(self, rows: npt.NDArray[np.int64]) -> tuple[list[bytes], list[str | None]]:
        """(the bytes as sent, the sealed file that holds them instead) of some rows."""
        starts = np.cumsum([0, *map(len, self.blocks)])
        payloads, references = [], []
        for row, index in zip(rows.tolist(), (np.searchsorted(starts, rows, side="right") - 1).tolist(), strict=True):
            block = self.blocks[index]
            payloads.append(block.payload(row - int(starts[index])))
            references.append(block.reference if isinstance(block, Unreadable) else None)
        return payloads, references

    def audit(self, rows: npt.NDArray[np.int64], contract_version: str) -> Audit:
        owner = pa.array(self.chunk_of_row[rows])
        return Audit(
            sender_code=pa.array([c.delivery.sender_code for c in self.chunks], pa.string()).take(owner),
            delivery_id=pa.array([c.delivery.id for c in self.chunks], pa.string()).take(owner),
            row=pa.array(self.row_numbers[rows]),
            received_at=self.received_at,
            contract_version=contract_version,
        )

    def per_chunk(self, mask: Mask) -> npt.NDArray[np.int64]:
        return np.bincount(self.chunk_of_row[mask], minlength=len(self.chunks))


@dataclass
class _Unfinished:
    """How far other tables than bronze are with deliveries that bronze has not whole: not further, unless a run was killed."""

    landed: dict[str, int]
    quarantined: dict[str, int]
    receipted: dict[str, int]

    def begun(self, delivery: Delivery) -> int:
        """The last row of the chunk that was begun and not finished; what bronze has, where none was."""
        return max(points.get(delivery.id, _BEFORE_ANY) for points in (self.landed, self.quarantined, self.receipted))

    def is_pending(self, delivery: Delivery) -> bool:
        return self.begun(delivery) > self.landed.get(delivery.id, _BEFORE_ANY)


class _FeedLander:
    """Lands the deliveries of one feed."""

    def __init__(self, run: Run, contract: Contract, connector: Connector, regions: RegionTree) -> None:
        self._run, self._contract, self._connector = run, contract, connector
        self._tables: Tables = run.tables
        self._bronze, self._quarantine = f"bronze.{contract.id}", f"quarantine.{contract.id}"
        self._decoder = Decoder(contract)
        self._checks = Checks(contract, run.vocabularies, regions)
        self._rows = BronzeRows(contract, run.keys)
        self._digests = Digests(contract, run.keys)
        self._bronze_schema = self._tables.schema(self._bronze)
        self._counts = Counts()
        self._below_minimum: dict[str, bool] = {}
        self._shares: dict[str, int] = {}

    def land(self) -> Counts:
        deliveries = self._connector.deliveries(self._contract.id)
        finished = self._tables.resume_points(self._bronze, [d.id + _END for d in deliveries])
        new = [d for d in deliveries if d.id + _END not in finished]
        self._counts.already_landed = len(deliveries) - len(new)
        if not new:
            return self._counts
        started = time.monotonic()
        unfinished = self._unfinished(new)
        title = f"落地 {self._contract.source}.{self._contract.feed}（字节）"
        with self._run.progress.task(title, total=sum(d.size for d in new)) as task:
            self._finish_pending(new, unfinished, task)
            received_at = self._never_backwards(self._run.received_at)
            repeats = Repeats(self._tables, self._bronze, received_at, self._contract.repeat_window)
            for chunks in self._batches(new, unfinished):
                self._land(_Batch(chunks, received_at), unfinished, repeats, task)
        self._say(time.monotonic() - started)
        return self._counts

    def _finish_pending(self, deliveries: Iterable[Delivery], unfinished: _Unfinished, task: Task) -> None:
        """Land first what a killed run had begun: the same chunks, received when it received them, so that every row ends where it did then."""
        chunks: list[Chunk] = []
        for delivery in deliveries:
            if unfinished.is_pending(delivery):
                try:
                    chunks += self._begun_chunks(delivery, unfinished)
                except DeliveryChanged as changed:
                    self._leave(changed)
        if not chunks:
            return
        received_at = self._never_backwards(self._received_then(chunks))
        repeats = Repeats(self._tables, self._bronze, received_at, self._contract.repeat_window)
        self._land(_Batch(chunks, received_at), unfinished, repeats, task)
        for chunk in chunks:
            unfinished.landed[chunk.delivery.id] = chunk.last_row

    def _begun_chunks(self, delivery: Delivery, unfinished: _Unfinished) -> list[Chunk]:
        end = unfinished.begun(delivery)
        chunks = [c for c in self._chunks(delivery, unfinished) if c.last_row <= end]
        if not chunks or chunks[-1].last_row != end:
            raise RunError(
                f"{delivery.feed} {delivery.id}: a killed run had begun it up to row {end}, and it is cut elsewhere now; "
                "finish it with the version of gridlake that began it"
            )
        return chunks

    def _leave(self, changed: DeliveryChanged) -> None:
        self._run.progress.say(f"{changed}; left for the next run")

    def _received_then(self, begun: Sequence[Chunk]) -> datetime:
        ids = [c.delivery.id for c in begun]
        feed_is_ours = (ds.field("feed") == self._contract.id) & ds.field("_delivery_id").isin(ids)
        told = self._tables.read(receipts.TABLE, columns=["received_at"], where=feed_is_ours)
        kept = self._tables.read(self._quarantine, columns=["_received_at"], where=ds.field("_delivery_id").isin(ids))
        newest = [pc.max(table.column(0)).as_py() for table in (told, kept) if table.num_rows]
        return _utc(max(newest)) if newest else self._run.received_at

    def _never_backwards(self, at: datetime) -> datetime:
        """The time, or that of the newest row where that is later."""
        later = self._tables.read(self._bronze, columns=["_received_at"], where=ds.field("_received_at") > pa.scalar(at))
        return _utc(pc.max(later.column(0)).as_py()) if later.num_rows else at

    def _unfinished(self, deliveries: Sequence[Delivery]) -> _Unfinished:
        ids = [d.id for d in deliveries]
        told = {receipts.app_id(self._contract.id, i): i for i in ids}
        return _Unfinished(
            landed=self._tables.resume_points(self._bronze, ids),
            quarantined=self._tables.resume_points(self._quarantine, ids),
            receipted={told[app]: row for app, row in self._tables.resume_points(receipts.TABLE, told).items()},
        )

    def _chunks(self, delivery: Delivery, unfinished: _Unfinished) -> Iterator[Chunk]:
        """The chunks of a delivery that bronze does not have."""
        landed = unfinished.landed.get(delivery.id, _BEFORE_ANY)
        for chunk in _cut(self._connector, delivery):
            if chunk.last_row > landed:
                yield chunk

    def _batches(self, deliveries: Iterable[Delivery], unfinished: _Unfinished) -> Iterator[list[Chunk]]:
        """Chunks in the order of landing, as many at a time as one commit takes."""
        held: list[Chunk] = []
        rows = size = 0
        for delivery in deliveries:
            try:
                for chunk in self._chunks(delivery, unfinished):
                    rows, size = rows + chunk.rows, size + chunk.size
                    if held and (rows > CHUNK_ROWS or size > CHUNK_BYTES or len(held) == _MOST_CHUNKS):
                        yield held
                        held, rows, size = [], chunk.rows, chunk.size
                    held.append(chunk)
            except DeliveryChanged as changed:
                self._leave(changed)
                held = [c for c in held if c.delivery is not delivery]
        if held:
            yield held

    def _land(self, batch: _Batch, unfinished: _Unfinished, repeats: Repeats, task: Task) -> None:
        decoded = self._decoder.decode(batch.blocks)
        reasons, warnings = self._judge(batch, decoded)
        refused = decoded.unread | reasons.mask(batch.rows)
        sound = np.flatnonzero(~refused)
        columns, op = decoded.columns, decoded.op
        if refused.any():
            columns, op = {name: a.take(pa.array(sound)) for name, a in columns.items()}, op.take(pa.array(sound))
        digests = self._digests.of_rows(columns, op)
        senders = batch.audit(sound, self._contract.version).sender_code
        repeated = repeats.among(senders, digests)
        if repeated.any():
            kept = pa.array(np.flatnonzero(~repeated))
            columns, op, digests, senders = {name: a.take(kept) for name, a in columns.items()}, op.take(kept), digests.take(kept), senders.take(kept)
        duplicate: Mask = np.zeros(batch.rows, np.bool_)
        duplicate[sound[repeated]] = True
        accepted = sound[~repeated]

        self._commit_refused(batch, refused, reasons, unfinished)
        barrier("landing.after_quarantine", self._contract.id)
        made = self._receipts(batch, refused, duplicate, reasons, warnings)
        self._commit_receipts(made, unfinished)
        barrier("landing.after_receipt", self._contract.id)
        self._commit_accepted(batch, self._rows.of(columns, op, digests, batch.audit(accepted, self._contract.version)))
        barrier("landing.after_bronze", self._contract.id)
        repeats.add(senders, digests)
        for receipt in made:
            self._counts.add(receipt)
            task.advance(self._new_share(receipt.chunk))

    def _new_share(self, chunk: Chunk) -> int:
        """Bytes of a delivery that are done with this chunk and were not before; unpacked rows may be more than the file, never more than the bar."""
        before = self._shares.get(chunk.delivery.id, 0)
        self._shares[chunk.delivery.id] = chunk.delivery.size if chunk.is_last else min(before + chunk.size, chunk.delivery.size)
        return self._shares[chunk.delivery.id] - before

    def _judge(self, batch: _Batch, decoded: Decoded) -> tuple[Reasons, Reasons]:
        codes = {c.delivery.sender_code for c in batch.chunks} & self._run.senders.keys()
        index = {code: number for number, code in enumerate(sorted(codes))}
        # Rows of an unknown sender have nothing to check: their delivery is refused as a whole.
        sender_of_row = np.array([index.get(c.delivery.sender_code, 0) for c in batch.chunks], np.int64)[batch.chunk_of_row]
        reasons, warnings = self._checks.check(decoded, [self._run.senders[code] for code in index], sender_of_row, batch.received_at)
        volume = self._contract.volume
        for number, chunk in enumerate(batch.chunks):
            if self._is_below_minimum(chunk):
                reasons.add("volume_min", None, f"expected at least {volume.min} rows in a delivery", batch.chunk_of_row == number)
        if volume.max is not None:
            warnings.add("volume_max", None, f"expected at most {volume.max} rows in a delivery", batch.row_numbers > volume.max)
        return reasons, warnings

    def _is_below_minimum(self, chunk: Chunk) -> bool:
        minimum = self._contract.volume.min
        if minimum is None or not chunk.rows or chunk.last_row >= minimum or _is_refused_whole(chunk):
            return False
        if chunk.is_last:
            return True
        if chunk.delivery.id not in self._below_minimum:
            self._below_minimum[chunk.delivery.id] = sum(c.rows for c in _cut(self._connector, chunk.delivery)) < minimum
        return self._below_minimum[chunk.delivery.id]

    def _receipts(self, batch: _Batch, refused: Mask, duplicate: Mask, reasons: Reasons, warnings: Reasons) -> list[Receipt]:
        refused_rows, duplicate_rows = batch.per_chunk(refused), batch.per_chunk(duplicate)
        why = reasons.counts(batch.chunk_of_row, len(batch.chunks))
        warned = warnings.counts(batch.chunk_of_row, len(batch.chunks), keep=~refused)
        made = []
        for number, chunk in enumerate(batch.chunks):
            whole = _is_refused_whole(chunk)
            state = LANDED
            if whole is not None:
                state = REFUSED_WHOLE
            elif self._is_below_minimum(chunk):
                state = BELOW_MINIMUM
            elif chunk.last_row == 0:
                state = EMPTY
            made.append(
                Receipt(
                    chunk=chunk,
                    accepted=chunk.rows - int(refused_rows[number]) - int(duplicate_rows[number]),
                    refused=int(refused_rows[number]),
                    duplicate=int(duplicate_rows[number]),
                    reasons=why[number] | {WARNING + key: rows for key, rows in warned[number].items()},
                    contract_version=self._contract.version,
                    received_at=batch.received_at,
                    state=state,
                    minimum=self._contract.volume.min,
                )
            )
        return made

    def _commit_refused(self, batch: _Batch, refused: Mask, reasons: Reasons, unfinished: _Unfinished) -> None:
        missing = np.array([unfinished.quarantined.get(c.delivery.id, _BEFORE_ANY) < c.last_row for c in batch.chunks], np.bool_)
        rows = np.flatnonzero(refused & missing[batch.chunk_of_row])
        if not len(rows):
            return
        payloads, references = batch.payloads(rows)
        digests = self._digests.of_bytes(pa.array([r.encode() if r else p for p, r in zip(payloads, references, strict=True)], pa.binary()))
        table = quarantine.rows(batch.audit(rows, self._contract.version), digests, reasons.lists(rows), payloads, references, self._run.keys)
        owners = [batch.chunks[number] for number in np.unique(batch.chunk_of_row[rows])]
        self._tables.append(self._quarantine, table, {c.delivery.id: c.last_row for c in owners})

    def _commit_receipts(self, made: Sequence[Receipt], unfinished: _Unfinished) -> None:
        missing = [r for r in made if unfinished.receipted.get(r.chunk.delivery.id, _BEFORE_ANY) < r.chunk.last_row]
        if missing:
            done = {receipts.app_id(self._contract.id, r.chunk.delivery.id): r.chunk.last_row for r in missing}
            self._tables.append(receipts.TABLE, receipts.rows(missing), done)

    def _commit_accepted(self, batch: _Batch, rows: pa.Table) -> None:
        done = {c.delivery.id: c.last_row for c in batch.chunks}
        done |= {c.delivery.id + _END: c.last_row for c in batch.chunks if c.is_last}
        # An older version of the contract may have left columns that this one no longer has.
        columns = [rows.column(f.name) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in self._bronze_schema]
        self._tables.append(self._bronze, pa.table(columns, schema=self._bronze_schema), done)

    def _say(self, seconds: float) -> None:
        c = self._counts
        self._run.progress.say(
            f"  {self._contract.source}.{self._contract.feed}: {c.received:,} received = {c.accepted:,} accepted + {c.refused:,} refused + "
            f"{c.duplicate:,} duplicate + {c.waiting:,} waiting; {c.deliveries:,} deliveries in {seconds:.1f} s"
        )


def _refuse_unrouted(run: Run, connector: Connector, feed: str) -> Counts:
    """Deliveries of a feed that no contract knows: each kept sealed, with a receipt. There is no bronze table to say what is done, so receipts do."""
    table = f"quarantine.{UNROUTED}"
    run.tables.ensure(table, QUARANTINE_SCHEMA)
    counts = Counts()
    deliveries = connector.deliveries(feed)
    told = run.tables.resume_points(receipts.TABLE, [receipts.app_id(feed, d.id) for d in deliveries])
    kept = run.tables.resume_points(table, [receipts.app_id(feed, d.id) for d in deliveries])
    for delivery in deliveries:
        app = receipts.app_id(feed, delivery.id)
        if app in told:
            counts.already_landed += 1
            continue
        chunk = next(_cut(connector, delivery))
        refusal = _is_refused_whole(chunk)
        if refusal is None:
            raise ValueError(f"{feed}: {delivery.id} has no contract and was not refused by its connector")
        batch, first = _Batch([chunk], run.received_at), np.zeros(1, np.int64)
        reasons = Reasons()
        reasons.add(refusal.rule, None, refusal.detail, [0])
        if app not in kept:
            payloads, references = batch.payloads(first)
            row = quarantine.rows(batch.audit(first, ""), pa.nulls(1, pa.string()), reasons.lists(first), payloads, references, run.keys)
            run.tables.append(table, row, {app: chunk.last_row})
        barrier("landing.after_quarantine", feed)
        why = {label(refusal.rule, None): 1}
        receipt = Receipt(chunk, 0, 1, 0, why, "", run.received_at, REFUSED_WHOLE)
        run.tables.append(receipts.TABLE, receipts.rows([receipt]), {app: chunk.last_row})
        barrier("landing.after_receipt", feed)
        counts.add(receipt)
    return counts


def _cut(connector: Connector, delivery: Delivery) -> Iterator[Chunk]:
    return cut(delivery, connector.blocks(delivery), lambda: connector.keep(delivery), rows=CHUNK_ROWS, size=CHUNK_BYTES)


def _is_refused_whole(chunk: Chunk) -> Unreadable | None:
    first = chunk.blocks[0] if chunk.blocks else None
    return first if isinstance(first, Unreadable) and first.is_whole else None


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
