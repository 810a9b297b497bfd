"""The step `land`: deliveries of a connector, chunk by chunk, to bronze or quarantine, with a receipt for each."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa

from gridlake.barriers import barrier
from gridlake.contracts.compile import QUARANTINE_SCHEMA
from gridlake.progress import Task
from gridlake.regions import RegionTree
from gridlake.runs import Run, RunError
from streaming import gates, quarantine, receipts
from streaming.feed_lander import BEFORE_ANY, END, Batch, FeedLander, Unfinished, prepare
from streaming.files import SHAPE, Inbox
from streaming.quarantine import UNROUTED, Vault
from streaming.reasons import Reasons, label, total
from streaming.receipts import REFUSED_WHOLE, WARNING, Receipt
from streaming.replay import Replay
from streaming.rows import Chunk, Connector, Delivery, DeliveryChanged, cut

# A chunk is landed whole or not at all. It is cut by the delivery's own rows alone, so a repeat cuts it at the same ones.
CHUNK_ROWS = 100_000
CHUNK_BYTES = 64 << 20
# Held while a whole inbox is landed; `inbox.<feed>` while a feed of it is.
INBOX = "inbox"
# Small files share a batch, and so a commit; beyond so many of them a commit's list of transactions grows long.
_MOST_CHUNKS = 2000
_STATES = ("received", "accepted", "refused", "duplicate", "waiting")


def land(run: Run) -> dict[str, Any]:
    """Land the inbox and take the cut.

    Gives {"feeds": {id: {received, accepted, refused, duplicate, waiting, released, deliveries, already_landed}}, "refusals": {id: {"rule/field":
    rows}}, "waits" and "warnings" likewise}: what this call did, an entry for every contract and for every folder that no contract knows. `released`
    rows had waited before, or waited and were let go by this call. Raises RunError where there is no inbox.
    """
    if not run.settings.inbox.is_dir():
        raise RunError(f"{run.settings.inbox}: no such folder; expected an inbox of {SHAPE}, give it with --inbox or --input")
    vault = Vault(run.settings.home, run.keys)
    inbox = Inbox(run.settings.inbox, run.contracts, run.senders, vault, run.progress.say)
    with run.tables.only_writer(INBOX):
        landed = land_from(run, inbox)
    run.take_cut()
    return {
        "feeds": {feed: counts.entry() for feed, counts in sorted(landed.items())},
        "refusals": {feed: counts.refusals for feed, counts in sorted(landed.items()) if counts.refusals},
        "waits": {feed: counts.waits for feed, counts in sorted(landed.items()) if counts.waits},
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
    released: int = 0
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
        return {key: rows for key, rows in sorted(self.reasons.items()) if not key.startswith((WARNING, f"{gates.REFERENCE}/"))}

    @property
    def waits(self) -> dict[str, int]:
        """Waiting rows by the gate that holds them."""
        return {key: rows for key, rows in sorted(self.reasons.items()) if key.startswith(f"{gates.REFERENCE}/")}

    @property
    def warnings(self) -> dict[str, int]:
        """Rows that were taken in with a warning, by rule."""
        return {key.removeprefix(WARNING): rows for key, rows in sorted(self.reasons.items()) if key.startswith(WARNING)}

    def entry(self) -> dict[str, int]:
        """The counts by name."""
        return {name: getattr(self, name) for name in (*_STATES, "released", "deliveries", "already_landed")}


def land_from(run: Run, connector: Connector) -> dict[str, Counts]:
    """Land everything that a connector has ready; gives the counts by feed."""
    ready = set(connector.feeds())
    regions = RegionTree(run.vocabularies.regions)
    counts: dict[str, Counts] = {}
    released: Counter[str] = Counter()
    prepare(run)
    for feed in gates.in_order(run.contracts):
        counts[feed], let_go = _land_feed(run, connector if feed in ready else None, feed, regions)
        released.update(let_go)
    for feed in sorted(ready - run.contracts.keys()):
        counts[feed] = _refuse_unrouted(run, connector, feed)
    for feed, rows in released.items():
        counts[feed].released = rows
    return counts


def land_feed(run: Run, connector: Connector, feed: str) -> Counts:
    """Land what a connector has ready of one feed, beside others who land other feeds; `released` are the rows of all feeds that this let go."""
    prepare(run, [feed])
    ready = feed in connector.feeds()
    counts, released = _land_feed(run, connector if ready else None, feed, RegionTree(run.vocabularies.regions))
    counts.released = sum(released.values())
    return counts


def _land_feed(run: Run, connector: Connector | None, feed: str, regions: RegionTree) -> tuple[Counts, Counter[str]]:
    """The counts of one feed, and by feed the rows that its landing let go."""
    # Two that land the same file at once would meet at its app transaction.
    with run.tables.only_writer(f"{INBOX}.{feed}"):
        lander = FeedLander(run, run.contracts[feed], regions)
        counts = _InboxLander(run, lander, connector).land() if connector else Counts()
        # What a killed replay or lander has left open, and what others have landed.
        Replay(run, lander).finish()
        lander.open_gates()
    return counts, lander.released


class _InboxLander:
    """Lands the deliveries of one feed that lie in an inbox."""

    def __init__(self, run: Run, lander: FeedLander, connector: Connector) -> None:
        self._run, self._lander, self._connector = run, lander, connector
        self._contract = lander.contract
        self._counts = Counts()
        self._below_minimum: dict[str, bool] = {}
        self._shares: dict[str, int] = {}

    def land(self) -> Counts:
        deliveries = self._connector.deliveries(self._contract.id)
        finished = self._run.tables.resume_points(f"bronze.{self._contract.id}", [d.id + END for d in deliveries])
        new = [d for d in deliveries if d.id + END not in finished]
        self._counts.already_landed = len(deliveries) - len(new)
        if not new:
            return self._counts
        started = time.monotonic()
        unfinished = self._lander.unfinished(new)
        title = f"落地 {self._contract.source}.{self._contract.feed}（字节）"
        with self._run.progress.task(title, total=sum(d.size for d in new)) as task:
            self._finish_pending(new, unfinished, task)
            received_at = self._lander.received_now(self._run.received_at)
            for chunks in self._batches(new, unfinished):
                self._land(chunks, received_at, unfinished, task)
        self._say(time.monotonic() - started)
        return self._counts

    def _finish_pending(self, deliveries: Iterable[Delivery], unfinished: Unfinished, task: Task) -> None:
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
        received_at = self._lander.received_now(self._lander.received_then(chunks) or self._run.received_at)
        self._land(chunks, received_at, unfinished, task)
        for chunk in chunks:
            unfinished.landed[chunk.delivery.id] = chunk.last_row

    def _begun_chunks(self, delivery: Delivery, unfinished: Unfinished) -> list[Chunk]:
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

    def _chunks(self, delivery: Delivery, unfinished: Unfinished) -> Iterator[Chunk]:
        """The chunks of a delivery that bronze does not have."""
        landed = unfinished.landed.get(delivery.id, BEFORE_ANY)
        for chunk in _cut(self._connector, delivery):
            if chunk.last_row > landed:
                yield chunk

    def _batches(self, deliveries: Iterable[Delivery], unfinished: Unfinished) -> Iterator[list[Chunk]]:
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

    def _land(self, chunks: Sequence[Chunk], received_at: datetime, unfinished: Unfinished, task: Task) -> None:
        below = frozenset(number for number, chunk in enumerate(chunks) if self._is_below_minimum(chunk))
        judged = self._lander.judge(Batch(chunks, received_at, below))
        for receipt in self._lander.commit(judged, unfinished):
            self._counts.add(receipt)
            task.advance(self._new_share(receipt.chunk))

    def _new_share(self, chunk: Chunk) -> int:
        """Bytes of a delivery that are done with this chunk and were not before; unpacked rows may be more than the file, never more than the bar."""
        before = self._shares.get(chunk.delivery.id, 0)
        self._shares[chunk.delivery.id] = chunk.delivery.size if chunk.is_last else min(before + chunk.size, chunk.delivery.size)
        return self._shares[chunk.delivery.id] - before

    def _is_below_minimum(self, chunk: Chunk) -> bool:
        minimum = self._contract.volume.min
        if minimum is None or not chunk.rows or chunk.last_row >= minimum or chunk.refused_whole is not None:
            return False
        if chunk.is_last:
            return True
        if chunk.delivery.id not in self._below_minimum:
            self._below_minimum[chunk.delivery.id] = sum(c.rows for c in _cut(self._connector, chunk.delivery)) < minimum
        return self._below_minimum[chunk.delivery.id]

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
        refusal = chunk.refused_whole
        if refusal is None:
            raise ValueError(f"{feed}: {delivery.id} has no contract and was not refused by its connector")
        batch, first = Batch([chunk], run.received_at), np.zeros(1, np.int64)
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
