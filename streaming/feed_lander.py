"""Lands batches of one feed: decodes and judges rows, then commits refused rows, receipts and bronze, in that order.

Bronze's app transactions alone say what is landed. Whoever lands a delivery again begins after bronze's point with the batch that the other two
tables have of it, skips what they have, and ends in the same tables. Several processes may land one feed: reading and checking go side by side,
commits one after another, and a log that another lander has taken over is fenced by its epoch.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property, reduce
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake.barriers import barrier
from gridlake.contracts import Contract
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA, bronze_schema
from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.tables import Held, SchemaConflict, Tables
from streaming import quarantine, receipt_rows, receipts
from streaming.bronze import Audit, BronzeRows, Digests, position
from streaming.checks import Checks
from streaming.decoder import Decoded, Decoder
from streaming.gates import Gates
from streaming.reasons import Mask, Reasons
from streaming.receipt_rows import OUTCOMES, Salts
from streaming.receipts import BELOW_MINIMUM, EMPTY, LANDED, REFUSED_WHOLE, WARNING, Receipt
from streaming.repeats import Repeats
from streaming.rows import Block, Chunk, Delivery, Unreadable

if TYPE_CHECKING:
    from streaming.waiting import WaitingRoom

# The app transaction that says that a delivery is landed to its end; the delivery's own says how far it is.
END = "#end"
# The app transaction that counts how often a log was taken over.
EPOCH = "#epoch"
BEFORE_ANY = -1
# The app transaction of quarantine for rows that a changed contract refuses of a batch whose refused rows were kept before.
_LATE = "#late"


@dataclass
class Batch:
    """Chunks that are committed together. `below_minimum`: their deliveries hold fewer rows than the contract asks for."""

    chunks: Sequence[Chunk]
    received_at: datetime
    below_minimum: frozenset[int] = frozenset()

    @cached_property
    def rows(self) -> int:
        """How many rows."""
        return sum(c.rows for c in self.chunks)

    @cached_property
    def chunk_of_row(self) -> npt.NDArray[np.int64]:
        """For each row the place of its chunk."""
        return np.repeat(np.arange(len(self.chunks)), [c.rows for c in self.chunks])

    @cached_property
    def row_numbers(self) -> npt.NDArray[np.int64]:
        """For each row its number within its delivery."""
        return np.concatenate([np.arange(c.first_row, c.last_row + 1) for c in self.chunks])

    @cached_property
    def blocks(self) -> list[Block]:
        """The rows as sent."""
        return [block for chunk in self.chunks for block in chunk.blocks]

    @property
    def points(self) -> dict[str, int]:
        """The last row of each delivery."""
        return {c.delivery.id: c.last_row for c in self.chunks}

    @property
    def came_at(self) -> datetime | pa.Array:
        """When the rows were received, or when each of them was: what rules of the contract mean by `_received_at`."""
        return self.received_at

    def forms(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """How the payloads of some rows are to be read again; null where they cannot be."""
        starts = np.cumsum([0, *map(len, self.blocks)])
        forms = pa.array([block.form for block in self.blocks], pa.string())
        return forms.take(pa.array(np.searchsorted(starts, rows, side="right") - 1))

    def payloads(self, rows: npt.NDArray[np.int64]) -> tuple[list[bytes], list[str | None]]:
        """(the bytes as sent, the sealed file that holds them instead) of some rows."""
        starts = np.cumsum([0, *map(len, self.blocks)])
        payloads, references = [], []
        for row, index in zip(rows.tolist(), (np.searchsorted(starts, rows, side="right") - 1).tolist(), strict=True):
            block = self.blocks[index]
            payloads.append(block.payload(row - int(starts[index])))
            references.append(block.reference if isinstance(block, Unreadable) else None)
        return payloads, references

    def senders(self, rows: npt.NDArray[np.int64]) -> pa.Array:
        """Who sent some rows."""
        return pa.array([c.delivery.sender_code for c in self.chunks], pa.string()).take(pa.array(self.chunk_of_row[rows]))

    def audit(self, rows: npt.NDArray[np.int64], contract_version: str) -> Audit:
        """Where some rows come from."""
        return Audit(
            sender_code=self.senders(rows),
            delivery_id=pa.array([c.delivery.id for c in self.chunks], pa.string()).take(pa.array(self.chunk_of_row[rows])),
            row=pa.array(self.row_numbers[rows]),
            received_at=self.received_at,
            contract_version=contract_version,
        )

    def per_chunk(self, rows: Mask | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """How many of the rows, given as a mask or by their places, each chunk has."""
        return np.bincount(self.chunk_of_row[rows], minlength=len(self.chunks))


@dataclass
class Unfinished:
    """How far other tables than bronze are with deliveries that bronze has not whole: not further, unless a lander was killed."""

    landed: dict[str, int] = field(default_factory=dict)
    quarantined: dict[str, int] = field(default_factory=dict)
    receipted: dict[str, int] = field(default_factory=dict)

    def begun(self, delivery: Delivery) -> int:
        """The last row of the chunk that was begun and not finished; what bronze has, where none was."""
        return max(points.get(delivery.id, BEFORE_ANY) for points in (self.landed, self.quarantined, self.receipted))

    def is_pending(self, delivery: Delivery) -> bool:
        """Whether a killed lander left a chunk of it between two commits."""
        return self.begun(delivery) > self.landed.get(delivery.id, BEFORE_ANY)


class Rules:
    """What a contract makes of rows: read, checked, turned into bronze's. Replaced as a whole when the contract changes."""

    def __init__(self, run: Run, contract: Contract, regions: RegionTree) -> None:
        self.contract, self.vocabularies, self.regions = contract, run.vocabularies, regions
        self.decoder = Decoder(contract)
        self.checks = Checks(contract, run.vocabularies, regions)
        self.rows = BronzeRows(contract, run.keys)
        self.digests = Digests(contract, run.keys)
        self.gates = Gates(run.tables, contract, run.contracts)


@dataclass(frozen=True)
class Judged:
    """A batch and what is to become of its rows: masks over all of them, and those `accepted` (their places) as bronze takes them.

    `waits_for` says of each row what it waits for, null where it does not wait; `reasons` are those of refused and of waiting rows.
    """

    batch: Batch
    rules: Rules
    refused: Mask
    duplicate: Mask
    waits_for: pa.Array
    accepted: npt.NDArray[np.int64]
    bronze: pa.Table
    reasons: Reasons
    warnings: Reasons

    def without(self, repeated: Mask) -> Judged:
        """The same with some of the accepted rows (a mask over them) found to be duplicates."""
        duplicate = self.duplicate.copy()
        duplicate[self.accepted[repeated]] = True
        return replace(self._less(repeated), duplicate=duplicate)

    def without_held(self, told: Mask, reasons: Sequence[Sequence[Mapping[str, str | None]]], waits_for: Sequence[str | None]) -> Judged:
        """The same with some of the accepted rows (a mask over them) held after all: quarantine has them, for reasons of its own."""
        rows = self.accepted[told]
        waiting = np.array(self.waits_for.to_pylist(), object)
        waiting[rows] = list(waits_for)
        refused = self.refused.copy()
        refused[rows] = [awaited is None for awaited in waits_for]
        why = Reasons(list(self.reasons))
        for row, causes in zip(rows.tolist(), reasons, strict=True):
            for cause in causes:
                why.add(str(cause["rule"]), cause["field"], str(cause["detail"]), [row])
        return replace(self._less(told), refused=refused, waits_for=pa.array(waiting.tolist(), pa.string()), reasons=why)

    def _less(self, gone: Mask) -> Judged:
        """The same without some of the accepted rows."""
        return replace(self, accepted=self.accepted[~gone], bronze=self.bronze.filter(pa.array(~gone)))

    @property
    def digests(self) -> pa.Array:
        """Of the accepted rows."""
        return pa.concat_arrays([pa.array([], pa.string()), *self.bronze.column("_payload_digest").chunks])

    @cached_property
    def waiting(self) -> Mask:
        """The rows that wait."""
        found: Mask = pc.is_valid(self.waits_for).to_numpy(zero_copy_only=False)
        return found

    def outcomes(self) -> bytes:
        """A letter for each row: what becomes of it."""
        letters = np.full(self.batch.rows, ord(OUTCOMES["accepted"]), np.uint8)
        for mask, state in ((self.refused, "refused"), (self.duplicate, "duplicate"), (self.waiting, "waiting")):
            letters[mask] = ord(OUTCOMES[state])
        return letters.tobytes()


def prepare(run: Run, feeds: Iterable[str] | None = None) -> None:
    """Create the tables of these feeds (of every feed unless given), and add the columns that their contracts have gained."""
    with run.tables.only_writer(receipts.TABLE):  # another lander may be starting too
        run.tables.ensure(receipts.TABLE, RECEIPT_SCHEMA)
    for feed in run.contracts if feeds is None else feeds:
        with run.tables.only_writer(f"bronze.{feed}"):
            run.tables.ensure(f"bronze.{feed}", bronze_schema(run.contracts[feed]))
            run.tables.ensure(f"quarantine.{feed}", QUARANTINE_SCHEMA)


class FeedLander:
    """Lands what is sent for one contract; its tables are there (`prepare`)."""

    def __init__(self, run: Run, contract: Contract, regions: RegionTree) -> None:
        self._run = run
        self._tables: Tables = run.tables
        self._bronze, self._quarantine = f"bronze.{contract.id}", f"quarantine.{contract.id}"
        if not self._tables.exists(self._bronze):
            prepare(run, [contract.id])  # a contract that has come while landers run
        self._contract, self._regions = contract, regions
        self._bronze_schema = self._tables.schema(self._bronze)
        self._epochs: dict[str, dict[str, int]] = {}
        self._salts = Salts(run.keys)
        self._waiting_rooms: list[WaitingRoom] | None = None
        self.released: Counter[str] = Counter()

    # Made when the first row is judged: of fifty feeds most bring nothing to a landing.
    @cached_property
    def _rules(self) -> Rules:
        return Rules(self._run, self._contract, self._regions)

    @cached_property
    def _repeats(self) -> Repeats:
        return Repeats(self._tables, self._bronze, self._contract.repeat_window)

    @property
    def gates(self) -> Gates:
        """The gates of the contract by which rows are judged now."""
        return self._rules.gates

    @property
    def known(self) -> frozenset[str]:
        """Every name that the contract gives a column."""
        return self._rules.decoder.known

    @property
    def contract(self) -> Contract:
        """The contract by which rows are judged now."""
        return self._contract

    def is_outdated(self) -> bool:
        """Whether the contract, code lists or regions in force are others than those by which rows are judged; asked between batches."""
        self._run.renew()
        contract = self._run.contracts.get(self.contract.id, self.contract)
        return contract is not self.contract or self._run.vocabularies is not self._rules.vocabularies

    def renew(self) -> None:
        """Go by what is in force now. Batches that were judged before are committed by what they were judged by.

        A repeat window that has changed holds from the next start on: the rows of a longer one are not in memory.
        """
        contract, words = self._run.contracts.get(self.contract.id, self.contract), self._run.vocabularies
        is_same_map = words.regions.equals(self._rules.vocabularies.regions)
        rules = Rules(self._run, contract, self._regions if is_same_map else RegionTree(words.regions))
        with self._tables.only_writer(self._bronze):
            self._tables.ensure(self._bronze, bronze_schema(contract))
        self._bronze_schema = self._tables.schema(self._bronze)
        self._rules, self._waiting_rooms = rules, None
        self._contract, self._regions = contract, rules.regions

    def unfinished(self, deliveries: Sequence[Delivery]) -> Unfinished:
        """How far each table is with the deliveries."""
        ids = [d.id for d in deliveries]
        told = {receipts.app_id(self.contract.id, i): i for i in ids}
        return Unfinished(
            landed=self._tables.resume_points(self._bronze, ids),
            quarantined=self._tables.resume_points(self._quarantine, ids),
            receipted={told[app]: row for app, row in self._tables.resume_points(receipts.TABLE, told).items()},
        )

    def take_over(self, logs: Sequence[Delivery]) -> Unfinished:
        """Become the only lander of the logs, whoever was it before, and say how far they are. The one before meets `gridlake.tables.Fenced`."""
        epochs = [log.id + EPOCH for log in logs]
        of_receipts = [receipts.app_id(self.contract.id, epoch) for epoch in epochs]
        with self._tables.only_writer(self._bronze):
            for table, apps in ((self._bronze, epochs), (self._quarantine, epochs), (receipts.TABLE, of_receipts)):
                self._epochs.setdefault(table, {}).update(self._tables.claim(table, apps))
            return self.unfinished(logs)

    def let_go(self, logs: Sequence[Delivery]) -> None:
        """Another lands the logs from now on. What was judged and not committed is forgotten."""
        for table in self._epochs.values():
            for log in logs:
                table.pop(log.id + EPOCH, None)
                table.pop(receipts.app_id(self.contract.id, log.id + EPOCH), None)
        self._repeats.reset()

    def received_now(self, at: datetime | None = None) -> datetime:
        """The time, or that of the newest row where that is later: the time at which rows are received never runs backwards."""
        now = at or datetime.now(UTC)
        return max(now, self._repeats.newest(now))

    def received_then(self, begun: Sequence[Chunk]) -> datetime | None:
        """When a killed lander received the chunks that it had begun; None where it left no trace of them."""
        ids = [c.delivery.id for c in begun]
        feed_is_ours = (ds.field("feed") == self.contract.id) & ds.field("_delivery_id").isin(ids)
        told = self._tables.read(receipts.TABLE, columns=["received_at"], where=feed_is_ours)
        kept = self._tables.read(self._quarantine, columns=["_received_at"], where=ds.field("_delivery_id").isin(ids))
        newest = [pc.max(table.column(0)).as_py() for table in (told, kept) if table.num_rows]
        return _utc(max(newest)) if newest else None

    def judge(self, batch: Batch) -> Judged:
        """Decode and check every row; find those that wait for something, and those that repeat a landed one or one judged before.

        Batches are judged in the order of landing.
        """
        rules = self._rules
        decoded = rules.decoder.decode(batch.blocks)
        reasons, warnings = self._check(rules, batch, decoded)
        refused = decoded.unread | reasons.mask(batch.rows)
        sound = np.flatnonzero(~refused)
        columns, op, waits_for = decoded.columns, decoded.op, pa.nulls(batch.rows, pa.string())
        if rules.gates.columns and len(sound):
            waits_for = rules.gates.held(columns, op, batch.senders(np.arange(batch.rows)), refused, reasons)
            sound = np.flatnonzero(~refused & pc.is_null(waits_for).to_numpy(zero_copy_only=False))
        if len(sound) < batch.rows:
            columns, op = {name: a.take(pa.array(sound)) for name, a in columns.items()}, op.take(pa.array(sound))
        digests = rules.digests.of_rows(columns, op)
        duplicate: Mask = np.zeros(batch.rows, np.bool_)
        repeated = self._repeats.among(batch.senders(sound), digests, batch.received_at)
        if repeated.any():
            duplicate[sound[repeated]] = True
            kept = pa.array(np.flatnonzero(~repeated))
            sound, op, digests = sound[~repeated], op.take(kept), digests.take(kept)
            columns = {name: a.take(kept) for name, a in columns.items()}
        # Sealed here, where several processes may be at work, not in the commit, where one is.
        bronze = rules.rows.of(columns, op, digests, batch.audit(sound, rules.contract.version))
        return Judged(batch, rules, refused, duplicate, waits_for, sound, bronze, reasons, warnings)

    def commit(self, judged: Judged, unfinished: Unfinished) -> list[Receipt]:
        """Land a judged batch; gives a receipt for each chunk. Batches are committed in the order in which they were judged.

        Rows that another process has landed since they were judged become duplicates. Raises `Fenced` where another lander has taken
        over one of the logs: what it lands is landed, this batch is not. Whatever is raised, rows judged and not landed are forgotten and have
        to be judged again.
        """
        try:
            made = self._commit(judged, unfinished)
        except BaseException:
            self._repeats.reset()
            raise
        self.open_gates(judged.batch.received_at)
        return made

    def open_gates(self, at: datetime | None = None) -> None:
        """Land what waits for nothing more, here and in the feeds that wait for this one; `released` counts the rows by feed.

        Whoever commits looks afterwards, at the rows that wait and at what has arrived. So of two processes that land a row and what it waits for
        at the same time, the later one finds both.
        """
        if self._waiting_rooms is None:
            from streaming.waiting import rooms_of  # it lands by a FeedLander

            self._waiting_rooms = rooms_of(self.contract.id, self._run, self._regions)
        try:
            while sum(left := [room.let_go(at) for room in self._waiting_rooms]):
                self.released.update({room.feed: rows for room, rows in zip(self._waiting_rooms, left, strict=True)})
        except Held as held:
            self._run.progress.say(f"{held}; rows that wait are looked at again after the next batch")

    def catch_up(self, at: datetime) -> None:
        """See what others have landed, up to now, which is `at`; nobody can meanwhile, where the caller holds the feed."""
        nothing = pa.array([], pa.string())
        self._repeats.landed_meanwhile(nothing, nothing, at)

    def land_again(self, judged: Judged, done: Mapping[str, int]) -> None:
        """Append the accepted rows of a replay to bronze; whoever calls holds the feed."""
        self._commit_accepted(judged, done)
        self._repeats.landed()

    def forget(self) -> None:
        """Forget rows that were judged and not landed."""
        self._repeats.reset()

    def _commit(self, judged: Judged, unfinished: Unfinished) -> list[Receipt]:
        batch = judged.batch
        salts = self._salts.of(self.contract.id, [c.delivery.id for c in batch.chunks])
        row_digests = [receipt_rows.digests(chunk.blocks, salt) for chunk, salt in zip(batch.chunks, salts, strict=True)]
        with self._tables.only_writer(self._bronze):
            judged = self._as_told(judged, unfinished)
            # What a killed lander had told of its rows stands, whatever came after it.
            if not any(unfinished.is_pending(c.delivery) for c in batch.chunks):
                repeated = self._repeats.landed_meanwhile(batch.senders(judged.accepted), judged.digests, batch.received_at)
                judged = judged.without(repeated) if repeated.any() else judged
            self._commit_refused(judged, unfinished)
            barrier("landing.after_quarantine", self.contract.id)
            made = self._receipts(judged, row_digests)
            self._commit_receipts(made, unfinished)
            barrier("landing.after_receipt", self.contract.id)
            self._commit_accepted(judged, batch.points | {c.delivery.id + END: c.last_row for c in batch.chunks if c.is_last})
            barrier("landing.after_bronze", self.contract.id)
            self._repeats.landed()
        return made

    def skip(self, log: Delivery, first_row: int, last_row: int, message: str) -> None:
        """Go on behind rows of a log that nobody can send any more; a receipt says so. May be repeated after a kill."""
        self._note(log, receipts.GAP, first_row, last_row, message, {log.id: last_row})

    def end(self, log: Delivery, message: str) -> None:
        """Expect nothing more of a log; a receipt says so. May be repeated after a kill."""
        landed = self.unfinished([log]).landed.get(log.id, BEFORE_ANY)
        self._note(log, receipts.ENDED, landed + 1, landed, message, {log.id + END: landed + 1})

    def _note(self, log: Delivery, state: str, first_row: int, last_row: int, message: str, points: Mapping[str, int]) -> None:
        told = {receipts.app_id(self.contract.id, app) + "#" + state: row for app, row in points.items()}
        with self._tables.only_writer(self._bronze):
            known = self._tables.resume_points(receipts.TABLE, told)
            if any(known.get(app, BEFORE_ANY) < row for app, row in told.items()):
                notice = receipts.notice(log, state, first_row, last_row, self.contract.version, datetime.now(UTC), message)
                self._tables.append(receipts.TABLE, notice, told)
            self._tables.append(self._bronze, self._bronze_schema.empty_table(), points, self._believed(self._bronze, points))

    def _as_told(self, judged: Judged, unfinished: Unfinished) -> Judged:
        """The batch with those rows held that a killed lander had held, whatever the contract says by now and whatever has arrived; rows that are
        held by now only go to quarantine after them.
        """
        batch = judged.batch
        kept = [c for c in batch.chunks if unfinished.is_pending(c.delivery) and unfinished.quarantined.get(c.delivery.id) == c.last_row]
        if not kept:
            return judged
        of_kept = np.isin(batch.chunk_of_row, [number for number, chunk in enumerate(batch.chunks) if chunk in kept])
        found = self._as_first_kept(kept)
        place = pc.index_in(self._positions(judged), found.column("_source_position").combine_chunks())
        told: Mask = pc.is_valid(place).to_numpy(zero_copy_only=False)
        late = np.flatnonzero((judged.refused | judged.waiting) & ~told & of_kept)
        if len(late):
            owners = {batch.chunks[number].delivery.id + _LATE: batch.chunks[number].last_row for number in np.unique(batch.chunk_of_row[late])}
            done = self._tables.resume_points(self._quarantine, owners)
            if any(done.get(app, BEFORE_ANY) < row for app, row in owners.items()):
                self._tables.append(self._quarantine, self._quarantined(judged, late), owners)
        held = told[judged.accepted]
        if not held.any():
            return judged
        known = found.take(place.take(pa.array(judged.accepted[held])))
        return judged.without_held(held, known.column("reasons").to_pylist(), known.column("waits_for").to_pylist())

    def _as_first_kept(self, chunks: Sequence[Chunk]) -> pa.Table:
        """What quarantine has of some chunks' rows, as they were received."""
        of_chunks = [
            (ds.field("_delivery_id") == c.delivery.id)
            & (ds.field("_source_position") >= position(c.delivery.id, c.first_row))
            & (ds.field("_source_position") <= position(c.delivery.id, c.last_row))
            for c in chunks
        ]
        as_received = ds.field("state_number").is_null() | (ds.field("state_number") == 0)
        columns = ["_source_position", "reasons", "waits_for"]
        return self._tables.read(self._quarantine, columns=columns, where=reduce(operator.or_, of_chunks) & as_received)

    def _positions(self, judged: Judged) -> pa.Array:
        return judged.batch.audit(np.arange(judged.batch.rows), judged.rules.contract.version).position

    def _check(self, rules: Rules, batch: Batch, decoded: Decoded) -> tuple[Reasons, Reasons]:
        codes = {c.delivery.sender_code for c in batch.chunks} & self._run.senders.keys()
        index = {code: number for number, code in enumerate(sorted(codes))}
        # Rows of an unknown sender have nothing to check: their delivery is refused as a whole.
        sender_of_row = np.array([index.get(c.delivery.sender_code, 0) for c in batch.chunks], np.int64)[batch.chunk_of_row]
        reasons, warnings = rules.checks.check(decoded, [self._run.senders[code] for code in index], sender_of_row, batch.came_at)
        volume = rules.contract.volume
        for number in batch.below_minimum:
            reasons.add("volume_min", None, f"expected at least {volume.min} rows in a delivery", batch.chunk_of_row == number)
        if volume.max is not None:
            of_file = np.array([not c.delivery.is_log for c in batch.chunks], np.bool_)[batch.chunk_of_row]
            warnings.add("volume_max", None, f"expected at most {volume.max} rows in a delivery", of_file & (batch.row_numbers > volume.max))
        return reasons, warnings

    def _receipts(self, judged: Judged, row_digests: Sequence[bytes]) -> list[Receipt]:
        batch = judged.batch
        refused_rows, duplicate_rows, waiting_rows = (batch.per_chunk(mask) for mask in (judged.refused, judged.duplicate, judged.waiting))
        accepted_rows = batch.per_chunk(judged.accepted)
        outcomes, ends = judged.outcomes(), np.cumsum([c.rows for c in batch.chunks]).tolist()
        why = judged.reasons.counts(batch.chunk_of_row, len(batch.chunks))
        warned = judged.warnings.counts(batch.chunk_of_row, len(batch.chunks), keep=~judged.refused & ~judged.waiting)
        made = []
        for number, chunk in enumerate(batch.chunks):
            state = LANDED
            if chunk.refused_whole is not None:
                state = REFUSED_WHOLE
            elif number in batch.below_minimum:
                state = BELOW_MINIMUM
            elif chunk.last_row == 0 and not chunk.delivery.is_log:
                state = EMPTY
            made.append(
                Receipt(
                    chunk=chunk,
                    accepted=int(accepted_rows[number]),
                    refused=int(refused_rows[number]),
                    duplicate=int(duplicate_rows[number]),
                    waiting=int(waiting_rows[number]),
                    reasons=why[number] | {WARNING + key: rows for key, rows in warned[number].items()},
                    contract_version=judged.rules.contract.version,
                    received_at=batch.received_at,
                    state=state,
                    minimum=judged.rules.contract.volume.min,
                    row_digests=row_digests[number],
                    row_outcomes=outcomes[ends[number] - chunk.rows : ends[number]],
                )
            )
        return made

    def _commit_refused(self, judged: Judged, unfinished: Unfinished) -> None:
        batch = judged.batch
        missing = np.array([unfinished.quarantined.get(c.delivery.id, BEFORE_ANY) < c.last_row for c in batch.chunks], np.bool_)
        rows = np.flatnonzero((judged.refused | judged.waiting) & missing[batch.chunk_of_row])
        if not len(rows):
            return
        table = self._quarantined(judged, rows)
        owners = {batch.chunks[number].delivery.id: batch.chunks[number].last_row for number in np.unique(batch.chunk_of_row[rows])}
        self._tables.append(self._quarantine, table, owners, self._believed(self._quarantine, owners))

    def _quarantined(self, judged: Judged, rows: npt.NDArray[np.int64]) -> pa.Table:
        payloads, references = judged.batch.payloads(rows)
        digests = judged.rules.digests.of_bytes(pa.array([r.encode() if r else p for p, r in zip(payloads, references, strict=True)], pa.binary()))
        audit = judged.batch.audit(rows, judged.rules.contract.version)
        forms, waits_for = judged.batch.forms(rows), judged.waits_for.take(pa.array(rows))
        return quarantine.rows(audit, digests, judged.reasons.lists(rows), payloads, references, self._run.keys, forms=forms, waits_for=waits_for)

    def _commit_receipts(self, made: Sequence[Receipt], unfinished: Unfinished) -> None:
        missing = [r for r in made if unfinished.receipted.get(r.chunk.delivery.id, BEFORE_ANY) < r.chunk.last_row]
        if missing:
            done = {receipts.app_id(self.contract.id, r.chunk.delivery.id): r.chunk.last_row for r in missing}
            self._tables.append(receipts.TABLE, receipts.rows(missing), done, self._believed(receipts.TABLE, done))

    def _commit_accepted(self, judged: Judged, done: Mapping[str, int]) -> None:
        rows = judged.bronze
        # Older versions of the contract may have left columns that this one no longer has, another process may have added one.
        if any(name not in self._bronze_schema.names for name in rows.column_names):
            self._bronze_schema = self._tables.schema(self._bronze)
        try:
            self._append_accepted(rows, done)
        except SchemaConflict:
            self._bronze_schema = self._tables.schema(self._bronze)
            self._append_accepted(rows, done)

    def _append_accepted(self, rows: pa.Table, done: Mapping[str, int]) -> None:
        columns = [rows.column(f.name) if f.name in rows.column_names else pa.nulls(rows.num_rows, f.type) for f in self._bronze_schema]
        self._tables.append(self._bronze, pa.table(columns, schema=self._bronze_schema), done, self._believed(self._bronze, done))

    def _believed(self, table: str, apps: Iterable[str]) -> dict[str, int]:
        """The epochs of those that are logs of ours."""
        known = self._epochs.get(table, {})
        return {app + EPOCH: known[app + EPOCH] for app in apps if app + EPOCH in known}


def _utc(at: datetime) -> datetime:
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
