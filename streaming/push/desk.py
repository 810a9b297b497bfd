"""The desk of one feed: takes pushes in, makes them durable, judges them, answers, and lands them in micro-batches.

Order: nonces and journal on the disk, rows judged, the answer given; then within `COMMIT_EVERY_S` the receipts by key, refused rows, receipts,
bronze, and last the journal's landed segments are removed. Bronze says how far a journal is landed. What fails after a push is on the disk is
tried again from there; what fails before is answered as not taken.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import pyarrow as pa

from gridlake.contracts import Contract
from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.signatures import content_digest
from gridlake.tables import Fenced
from streaming.decoder import OP
from streaming.feed_lander import BEFORE_ANY, Batch, FeedLander, Judged, Unfinished
from streaming.push.answers import Answer, Answers
from streaming.push.bodies import blocks
from streaming.push.journal import Journal, JournalDamaged, Kind, Push, Record
from streaming.push.nonces import Nonces
from streaming.quarantine import Vault
from streaming.reasons import Reason, Reasons
from streaming.rows import Block, Chunk, Delivery, Readable

# How old the oldest judged row gets before it is in bronze, and how many rows or bytes make it sooner.
COMMIT_EVERY_S = 1.5
_COMMIT_ROWS, _COMMIT_BYTES = 50_000, 64 << 20
# Rows and bytes that are made durable and judged together.
_GROUP_ROWS, _GROUP_BYTES = 10_000, 32 << 20
# Up to so many rows of a push are each told of; of a larger push only those that were not accepted.
_ROWS_TOLD = 1000
_PAUSES_S = (0.5, 1, 2, 4, 8, 15)
JOURNALS = "journal"
ANSWERS = "answers.sqlite"
Channel = Literal["http", "pull"]


@dataclass(eq=False)
class Entry:
    """A push on its way: `answered` is called once, with its receipt, or with the error that kept it from being taken or judged."""

    sender: str
    push: Push
    blocks: Sequence[Block]
    answered: Callable[[bytes | Exception], None]
    receipt: bytes | None = None
    is_durable: bool = False

    @property
    def size(self) -> int:
        """Bytes of its content."""
        return len(self.push.content)


class NotTaken(Exception):
    """The push is not durable and will not be landed; the sender may send it again."""


class JournalInDoubt(Exception):
    """A journal could not be made durable: whether its end is on the disk, only a new start tells."""


class AnswerLater(Exception):
    """The push is durable, its rows are judged later."""


class Desk:
    """One feed's pushes, in a thread of their own."""

    def __init__(
        self,
        run: Run,
        contract: Contract,
        regions: RegionTree,
        nonces: Nonces | None,
        on_broken: Callable[[Exception], None],
        channel: Channel = "http",
    ) -> None:
        self.feed, self._channel = contract.id, channel
        self._run, self._contract, self._regions, self._nonces, self._on_broken = run, contract, regions, nonces, on_broken
        self._folder = folder_of(run.settings.home, channel) / contract.id
        self._vault = Vault(run.settings.home, run.keys)
        self._known = frozenset({*(c.name for c in contract.columns), OP})
        self._journals: dict[str, Journal] = {}
        self.answers = Answers(folder_of(run.settings.home, channel) / ANSWERS, run.keys)
        self._waiting: deque[Entry] = deque()
        self._changed = threading.Condition()
        self._pending: dict[tuple[str, str], Entry] = {}
        self._judged: list[tuple[Judged, list[Entry]]] = []
        self._judged_rows = self._judged_bytes = 0
        self._oldest_judged = 0.0
        self._lander: FeedLander | None = None
        self._received_at = datetime.min.replace(tzinfo=UTC)
        self._is_stopping = False
        self.failure: Exception | None = None
        self.commits = 0
        self.landed_at: float | None = None
        self._thread = threading.Thread(target=self._work, name=f"push {contract.id}", daemon=True)

    def start(self) -> None:
        """Land what a process before left in the journals, then take pushes."""
        self._recover()
        self._thread.start()

    def stop(self) -> None:
        """Answer and land what is here, then end."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join()
        for journal in self._journals.values():
            journal.close()

    def blocks(self, kind: Kind, content: bytes, sender: str, digest: str) -> list[Block]:
        """The rows of a body; rows too large to carry are sealed on the way, under a name made of the body's digest."""
        kept = 0

        def keep(row: Readable) -> str:
            nonlocal kept
            kept += 1
            return self._vault.keep(row, self.feed, f"{self.feed}/{self._channel}:{sender}/{digest}/{kept}")

        return blocks(kind, content, self._known, keep)

    def pending(self, sender: str, key: str) -> Entry | None:
        """The push of that key, until its receipt is kept."""
        return self._pending.get((sender, key))

    def offer(self, entry: Entry) -> None:
        """Queue a push."""
        with self._changed:
            self._pending[entry.sender, entry.push.key] = entry
            self._waiting.append(entry)
            self._changed.notify()

    def withdraw(self, entry: Entry) -> bool:
        """Take a push back that nothing was done with yet; False where it is on its way to the disk or there."""
        with self._changed:
            if entry not in self._waiting:
                return False
            self._waiting.remove(entry)
            del self._pending[entry.sender, entry.push.key]
            return True

    @property
    def waiting(self) -> int:
        """Pushes in the queue."""
        return len(self._waiting)

    @property
    def journal_bytes(self) -> int:
        """Bytes of the journals."""
        return sum(journal.size for journal in [*self._journals.values()])

    @property
    def unlanded(self) -> int:
        """Rows that were judged and are not in bronze yet."""
        return self._judged_rows

    def _work(self) -> None:
        pauses = iter(_PAUSES_S)
        while True:
            try:
                if self.failure is not None:
                    self._recover()
                    self.failure, pauses = None, iter(_PAUSES_S)
                if not self._turn():
                    return
            except Exception as error:  # noqa: BLE001 - whatever it is, the journal is landed from again
                self._fail(error)
                if isinstance(error, Fenced | JournalInDoubt) or self._is_stopping:
                    self._on_broken(error)
                    return
                with self._changed:
                    self._changed.wait(next(pauses, _PAUSES_S[-1]))

    def _turn(self) -> bool:
        """One group and, when it is time, one commit; False when all is done and the desk is to stop."""
        group = self._take()
        if group:
            taken = self._keep(group)
            if taken:
                self._judge(taken)
        is_due = self._judged and time.monotonic() - self._oldest_judged >= COMMIT_EVERY_S
        if is_due or self._judged_rows >= _COMMIT_ROWS or self._judged_bytes >= _COMMIT_BYTES or (self._judged and self._is_stopping):
            self._commit()
        return not (self._is_stopping and not self._waiting and not self._judged)

    def _take(self) -> list[Entry]:
        with self._changed:
            if not self._waiting and not self._is_stopping:
                until = self._oldest_judged + COMMIT_EVERY_S - time.monotonic() if self._judged else None
                if until is None or until > 0:
                    self._changed.wait(until)
            group: list[Entry] = []
            rows = size = 0
            while self._waiting and (not group or (rows < _GROUP_ROWS and size < _GROUP_BYTES)):
                group.append(self._waiting.popleft())
                rows, size = rows + group[-1].push.rows, size + group[-1].size
            return group

    def _keep(self, group: Sequence[Entry]) -> list[tuple[Record, Entry]]:
        """Make the group durable; those that the disk did not take are answered so."""
        by_sender: dict[str, list[Entry]] = {}
        for entry in group:
            by_sender.setdefault(entry.sender, []).append(entry)
        taken: list[tuple[Record, Entry]] = []
        try:
            if self._nonces is not None:
                self._nonces.sync(time.time())
            for sender, entries in by_sender.items():
                records = self._journal(sender).append([e.push for e in entries])
                taken += zip(records, entries, strict=True)
        except OSError as error:
            kept = {id(entry) for _, entry in taken}
            self._refuse([e for e in group if id(e) not in kept], NotTaken(f"the disk does not take it: {error.strerror}"))
        for sender in {entry.sender for _, entry in taken}:
            self._sync(self._journal(sender))
        for _, entry in taken:
            entry.is_durable = True
        return taken

    def _sync(self, journal: Journal) -> None:
        try:
            journal.sync()
        except OSError as error:
            # The kernel drops pages that it failed to write, and the next fsync succeeds without them.
            raise JournalInDoubt(f"{journal.folder}: {error.strerror}") from error

    def _judge(self, taken: Sequence[tuple[Record, Entry]]) -> None:
        ordered = sorted(taken, key=lambda pair: (pair[1].sender, pair[0].first_row))
        chunks = [self._chunk(sender, [(r, e.blocks) for r, e in ordered if e.sender == sender]) for sender in sorted({e.sender for _, e in ordered})]
        lander = self._landing()
        if lander.is_outdated():
            if self._judged:  # a commit holds rows that one contract judged
                self._commit()
            lander.renew()
            self._contract = lander.contract
            self._known = frozenset({*(c.name for c in lander.contract.columns), OP})
        self._received_at = max(self._received_at, lander.received_now())
        judged = lander.judge(Batch(chunks, self._received_at))
        if not self._judged:
            self._oldest_judged = time.monotonic()
        self._judged.append((judged, [entry for _, entry in ordered]))
        self._judged_rows += judged.batch.rows
        self._judged_bytes += sum(entry.size for _, entry in ordered)
        receipts = self._receipts(judged, [e.push for _, e in ordered])
        for (_, entry), receipt in zip(ordered, receipts, strict=True):
            entry.receipt = receipt
            entry.answered(receipt)

    def _commit(self) -> None:
        judged = joined([j for j, _ in self._judged])
        entries = [entry for _, found in self._judged for entry in found]
        answers = [(e.sender, Answer(e.push.key, e.push.digest, e.receipt)) for e in entries if e.receipt is not None]
        self.answers.keep(self.feed, answers, datetime.now(UTC))
        self._landing().commit(judged, Unfinished())
        self._judged, self._judged_rows, self._judged_bytes = [], 0, 0
        self.commits, self.landed_at = self.commits + 1, time.time()
        self._forget(entries)
        self._release(judged.batch.points)

    def _release(self, points: dict[str, int]) -> None:
        for journal, log in self._logs():
            if log.id in points:
                journal.release(points[log.id])

    def _forget(self, entries: Iterable[Entry]) -> None:
        with self._changed:
            for entry in entries:
                self._pending.pop((entry.sender, entry.push.key), None)

    def _refuse(self, entries: Sequence[Entry], error: Exception) -> None:
        self._forget(entries)
        for entry in entries:
            entry.answered(error)

    def _fail(self, error: Exception) -> None:
        """What is on the disk is landed by the recovery; its senders are told so."""
        self.failure = error
        self._run.progress.say(f"push {self.feed}: {type(error).__name__}: {error}; what is in the journal is tried again")
        with self._changed:
            waiting = set(map(id, self._waiting))
            unanswered = [e for e in self._pending.values() if e.receipt is None and id(e) not in waiting]
        self._refuse([e for e in unanswered if not e.is_durable], NotTaken("a failure of this server; send it again under the same key"))
        for entry in unanswered:
            if entry.is_durable:
                entry.answered(AnswerLater(str(error)))

    def _recover(self) -> None:
        """Land the journals' tails: first what a killed commit had begun, cut as it was then, then the rest."""
        self._judged, self._judged_rows, self._judged_bytes = [], 0, 0
        for journal in self._journals.values():
            # What a failure left between its writing and its fsync is landed too.
            self._sync(journal)
        for path in sorted(self._folder.iterdir()) if self._folder.is_dir() else ():
            self._journal(path.name)
        self._lander = lander = FeedLander(self._run, self._contract, self._regions)
        logs = self._logs()
        unfinished = lander.take_over([log for _, log in logs])
        for journal, log in logs:
            _see_whole(journal, unfinished.landed.get(log.id, 0))
        begun = {log.id: unfinished.begun(log) for _, log in logs if unfinished.is_pending(log)}
        self._land_tail(logs, unfinished, begun)
        unfinished.landed.update(begun)
        self._land_tail(logs, unfinished, {log.id: journal.next_row - 1 for journal, log in logs})
        for journal, log in logs:
            journal.release(max(lander.unfinished([log]).landed.get(log.id, 0), 0))
        with self._changed:
            done = [e for e in self._pending.values() if e.is_durable]
        self._forget(done)

    def _land_tail(self, logs: Sequence[tuple[Journal, Delivery]], unfinished: Unfinished, ends: dict[str, int]) -> None:
        records: list[tuple[str, Record]] = []
        for journal, log in logs:
            landed = max(unfinished.landed.get(log.id, BEFORE_ANY), 0)
            records += [(log.sender_code, r) for r in journal.records(landed + 1) if landed < r.first_row and r.last_row <= ends.get(log.id, 0)]
        if not records:
            return
        chunks, told = [], []
        for sender in sorted({sender for sender, _ in records}):
            own = [record for owner, record in records if owner == sender]
            read = [(r, self.blocks(r.push.kind, r.push.content, sender, r.push.digest)) for r in own]
            chunks.append(self._chunk(sender, read))
            told += [(sender, r) for r in own]
        newest = max(r.push.received_at for _, r in records)
        lander = self._landing()
        self._received_at = lander.received_now(lander.received_then(chunks) or newest)
        judged = lander.judge(Batch(chunks, self._received_at))
        receipts = self._receipts(judged, [r.push for _, r in told])
        answers = [(sender, Answer(r.push.key, r.push.digest, receipt)) for (sender, r), receipt in zip(told, receipts, strict=True)]
        self.answers.keep(self.feed, answers, datetime.now(UTC))
        lander.commit(judged, unfinished)

    def _landing(self) -> FeedLander:
        if self._lander is None:
            raise ValueError(f"push {self.feed}: not started")
        return self._lander

    def _journal(self, sender: str) -> Journal:
        if sender not in self._journals:
            journal = Journal(self._folder / sender, self._run.keys)
            self._journals[sender] = journal
            if self._lander is not None:
                self._lander.take_over([self._log(sender, journal)])
        return self._journals[sender]

    def _logs(self) -> list[tuple[Journal, Delivery]]:
        return [(journal, self._log(sender, journal)) for sender, journal in sorted(self._journals.items())]

    def _log(self, sender: str, journal: Journal) -> Delivery:
        return Delivery(self.feed, sender, self._channel, f"{self._channel}:{sender}/{journal.id}", 0, is_log=True)

    def _chunk(self, sender: str, read: Sequence[tuple[Record, Sequence[Block]]]) -> Chunk:
        first = read[0][0].first_row
        size = sum(len(record.push.content) for record, _ in read)
        log = self._log(sender, self._journals[sender])
        return Chunk(log, first, first, tuple(block for _, found in read for block in found), False, size)

    def _receipts(self, judged: Judged, pushes: Sequence[Push]) -> list[bytes]:
        """The receipt of each push, in the order of the batch's rows."""
        batch = judged.batch
        ends = np.cumsum([push.rows for push in pushes])
        push_of_row = np.repeat(np.arange(len(pushes)), [push.rows for push in pushes])
        states = np.where(judged.refused, "refused", np.where(judged.duplicate, "duplicate", np.where(judged.waiting, "waiting", "accepted")))
        reasons, warnings = (
            judged.reasons.counts(push_of_row, len(pushes)),
            judged.warnings.counts(push_of_row, len(pushes), keep=~judged.refused & ~judged.waiting),
        )
        held = np.flatnonzero(judged.refused | judged.waiting)
        why = dict(zip(held.tolist(), judged.reasons.lists(held).to_pylist(), strict=True))
        positions = batch.audit(np.arange(batch.rows), self._contract.version).position.to_pylist()
        senders = [batch.chunks[place].delivery.sender_code for place in batch.chunk_of_row[ends - 1]]
        made = []
        for number, push in enumerate(pushes):
            first, end = int(ends[number]) - push.rows, int(ends[number])
            own = states[first:end]
            count = {state: int((own == state).sum()) for state in ("accepted", "refused", "duplicate", "waiting")}
            is_told = own != "accepted" if push.rows > _ROWS_TOLD else np.ones(push.rows, np.bool_)
            receipt = {
                "feed": f"{self._contract.source}.{self._contract.feed}",
                "sender": senders[number],
                "key": push.key,
                "received_at": push.received_at,
                "contract_version": self._contract.version,
                "received": push.rows,
                **count,
                "message": f"接收 {count['accepted']}，拒收 {count['refused']}，重复 {count['duplicate']}，待关联 {count['waiting']}。",
                "reasons": reasons[number],
                "warnings": warnings[number],
                "content_digest": content_digest(push.content),
                "first_position": positions[first],
                "last_position": positions[end - 1],
                "rows_told": "all" if push.rows <= _ROWS_TOLD else "not_accepted",
                "rows": [
                    {"row": row + 1, "position": positions[first + row], "state": str(own[row])}
                    | ({"reasons": why[first + row]} if first + row in why else {})
                    for row in np.flatnonzero(is_told).tolist()
                ],
            }
            made.append(msgspec.json.encode(receipt))
        return made


def joined(parts: Sequence[Judged]) -> Judged:
    """Judged batches of one feed as one, received when the last of them was; each delivery's chunks become one chunk."""
    if len(parts) == 1:
        return parts[0]
    chunks = [chunk for part in parts for chunk in part.batch.chunks]
    deliveries = list({chunk.delivery.id: None for chunk in chunks})
    whole = [_one_chunk([c for c in chunks if c.delivery.id == wanted]) for wanted in deliveries]
    number = {wanted: place for place, wanted in enumerate(deliveries)}
    delivery_of_row = np.repeat([number[c.delivery.id] for c in chunks], [c.rows for c in chunks])
    order = np.argsort(delivery_of_row, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    starts = np.cumsum([0, *(part.batch.rows for part in parts)])
    accepted = place[np.concatenate([part.accepted + start for part, start in zip(parts, starts, strict=False)])]
    by_row = np.argsort(accepted, kind="stable")

    def moved(found: Sequence[Reasons]) -> Reasons:
        entries = [
            Reason(r.rule, r.field, r.detail, np.sort(place[r.rows + start])) for reasons, start in zip(found, starts, strict=False) for r in reasons
        ]
        return Reasons(entries).gathered()

    batch = Batch(whole, parts[-1].batch.received_at)
    bronze = pa.concat_tables([part.bronze for part in parts]).take(pa.array(by_row)).combine_chunks()
    received = bronze.schema.get_field_index("_received_at")
    came = pa.repeat(pa.scalar(batch.received_at, bronze.schema.field(received).type), bronze.num_rows)
    return replace(
        parts[-1],
        batch=batch,
        refused=np.concatenate([part.refused for part in parts])[order],
        duplicate=np.concatenate([part.duplicate for part in parts])[order],
        waits_for=pa.concat_arrays([part.waits_for for part in parts]).take(pa.array(order)),
        accepted=accepted[by_row],
        bronze=bronze.set_column(received, bronze.schema.field(received), came),
        reasons=moved([part.reasons for part in parts]),
        warnings=moved([part.warnings for part in parts]),
    )


def folder_of(home: Path, channel: Channel) -> Path:
    """Where the journals of a channel lie, a folder for each feed and sender: pushes and pulls are taken by processes of their own."""
    return home / JOURNALS / channel


def _one_chunk(chunks: Sequence[Chunk]) -> Chunk:
    blocks_in_order = tuple(block for chunk in chunks for block in chunk.blocks)
    return replace(chunks[0], blocks=blocks_in_order, size=sum(chunk.size for chunk in chunks))


def _see_whole(journal: Journal, landed: int) -> None:
    if not journal.first_row - 1 <= max(landed, 0) < journal.next_row:
        raise JournalDamaged(
            f"{journal.folder}: holds rows {journal.first_row} to {journal.next_row - 1}, bronze has those up to {landed}; "
            "expected no gap between them and no end before it: see infra/runbooks/push-journal.md"
        )
