"""Rows that were held back, judged again: sealed payloads are opened, judged by the contract now in force, and what is now good is landed.

A row keeps its position and delivery; it is judged by the clock of its first receipt. It moves between states and is never received anew. Order of
commits: bronze, the states in quarantine, the corrections of receipts, each with the replay's number; the row is safe in quarantine until bronze
has it, so whoever was killed between them is finished from the tables alone, exactly once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA
from gridlake.runs import Run
from streaming import receipts
from streaming.feed_lander import Batch, FeedLander, Judged
from streaming.held import HeldRows, Wanted, slices
from streaming.quarantine import DUPLICATE, REFUSED, RELEASED, WAITING
from streaming.reasons import label
from streaming.rows import COLUMNS, CSV, JSON, SHEET, Block, Cells, Chunk, Columns, Delivery, Lines, as_sent
from streaming.text_files import read_record

# The app transaction that numbers a feed's replays in the three tables.
REPLAY = "#replay"
# Rows that are judged and committed together; landers of the feed wait meanwhile.
ROWS_AT_ONCE = 10_000
_COUNTED = {RELEASED: "accepted", REFUSED: "refused", DUPLICATE: "duplicate", WAITING: "waiting"}


@dataclass
class Outcome:
    """What became of the rows that a replay looked at.

    Three kinds stay as they are. `unreadable`: nothing is kept of them that can be read again; `not_entitled`: their sender may not send;
    `unfinished`: a killed lander has yet to give their receipt.
    """

    rows: int = 0
    accepted: int = 0
    refused: int = 0
    duplicate: int = 0
    waiting: int = 0
    unreadable: int = 0
    not_entitled: int = 0
    unfinished: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def add(self, other: Outcome) -> None:
        """Count another's rows too."""
        for name in ("rows", "accepted", "refused", "duplicate", "waiting", "unreadable", "not_entitled", "unfinished"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.reasons.update(other.reasons)

    def entry(self) -> dict[str, Any]:
        """By name."""
        return {**{k: v for k, v in vars(self).items() if k != "reasons"}, "reasons": dict(sorted(self.reasons.items()))}


@dataclass
class _Recalled(Batch):
    """Rows from anywhere of their deliveries: `owner` is the place of each one's delivery among the chunks, which hold no rows themselves."""

    owner: npt.NDArray[np.int64] = field(default_factory=lambda: np.array([], np.int64))
    numbers: npt.NDArray[np.int64] = field(default_factory=lambda: np.array([], np.int64))
    found: list[Block] = field(default_factory=list)
    first_received: pa.Array = None

    @cached_property
    def rows(self) -> int:
        """How many rows."""
        return len(self.owner)

    @cached_property
    def chunk_of_row(self) -> npt.NDArray[np.int64]:
        """For each row the place of its delivery."""
        return self.owner

    @cached_property
    def row_numbers(self) -> npt.NDArray[np.int64]:
        """For each row its number within its delivery."""
        return self.numbers

    @cached_property
    def blocks(self) -> list[Block]:
        """The rows as sent."""
        return self.found

    @property
    def came_at(self) -> pa.Array:
        """When each row was received first."""
        return self.first_received


class Replay:
    """Replays rows of one feed at a time, by default the run's; the lander lands them and is no other's."""

    def __init__(self, run: Run, lander: FeedLander, at: datetime | None = None) -> None:
        self._run, self._lander, self.contract, self._at = run, lander, lander.contract, at
        self._tables, self._feed = run.tables, lander.contract.id
        self._bronze, self._quarantine = f"bronze.{self._feed}", f"quarantine.{self._feed}"
        self._held = HeldRows(run.tables, self._feed)

    def of(self, wanted: Wanted, *, dry_run: bool = False, advance: Callable[[int, int], None] = lambda _done, _of: None) -> Outcome:
        """Judge the wanted rows again and land what is now good; `advance` is told (rows done now, rows in all).

        A dry run only says what would become of them.
        """
        self.finish()
        outcome, rows = Outcome(), self._held.find(wanted)
        for some in slices(rows, ROWS_AT_ONCE):
            outcome.add(self.rows(some, dry_run=dry_run))
            advance(some.num_rows, rows.num_rows)
        return outcome

    def rows(self, rows: pa.Table, *, dry_run: bool = False) -> Outcome:
        """The same for some held rows, as `HeldRows.find` gave them; a row that another replay has moved since is left."""
        if dry_run:
            outcome = self._judge(rows)[1]
            self._lander.forget()
            return outcome
        try:
            with self._tables.only_writer(self._bronze):
                self._finish()
                judged, outcome = self._judge(self._unmoved(rows))
                if judged is not None:
                    self._commit(*judged)
        except BaseException:
            self._lander.forget()
            raise
        return outcome

    def finish(self) -> None:
        """Finish what a killed replay had begun."""
        if self._tables.resume_point(self._bronze, REPLAY) is not None:
            with self._tables.only_writer(self._bronze):
                self._finish()

    def _judge(self, rows: pa.Table) -> tuple[tuple[Judged, pa.Table] | None, Outcome]:
        outcome = Outcome(rows=rows.num_rows)
        at = self._run.received_at if self._at is None else self._at
        self._lander.catch_up(at)
        may_send = {
            code: code in self._run.senders and self._run.senders[code].may_send(self.contract.source, self.contract.feed, self.contract.version)
            for code in pc.unique(rows.column("_sender_code")).to_pylist()
        }
        entitled = np.array([may_send[code] for code in rows.column("_sender_code").to_pylist()], np.bool_)
        outcome.not_entitled = int((~entitled).sum())
        told = _Told(self._receipts(rows))
        is_told = np.array([told.covers(*row) for row in _places(rows)], np.bool_)
        outcome.unfinished = int((entitled & ~is_told).sum())
        rows = rows.filter(pa.array(entitled & is_told))
        blocks, order = self._blocks(rows) if rows.num_rows else ([], np.array([], np.int64))
        outcome.unreadable = rows.num_rows - len(order)
        if not len(order):
            return None, outcome
        rows = rows.take(pa.array(order))
        deliveries = pc.unique(rows.column("_delivery_id")).to_pylist()
        sender_of = dict(zip(rows.column("_delivery_id").to_pylist(), rows.column("_sender_code").to_pylist(), strict=True))
        batch = _Recalled(
            [Chunk(Delivery(self._feed, sender_of[i], i, i, 0, is_log=True), 0, 1, (), False, 0) for i in deliveries],
            self._lander.received_now(at),
            self._below_minimum(deliveries, told),
            owner=np.asarray(pc.index_in(rows.column("_delivery_id"), pa.array(deliveries)).combine_chunks()).astype(np.int64),
            numbers=np.array([number for _, number in _places(rows)], np.int64),
            found=blocks,
            first_received=rows.column("_received_at").combine_chunks().cast(pa.timestamp("us", "UTC")),
        )
        judged = self._lander.judge(batch)
        outcome.accepted, outcome.duplicate = len(judged.accepted), int(judged.duplicate.sum())
        outcome.refused, outcome.waiting = int(judged.refused.sum()), int(judged.waiting.sum())
        everything = np.zeros(batch.rows, np.int64)
        outcome.reasons = Counter(judged.reasons.counts(everything, 1)[0])
        return (judged, rows), outcome

    def _blocks(self, rows: pa.Table) -> tuple[list[Block], npt.NDArray[np.int64]]:
        """(rows as sent, in blocks; the places of their rows among those given), without the rows of which nothing is kept that can be read again."""
        blocks: dict[Any, tuple[list[int], list[Any]]] = {}
        sealed = self._held.payloads(rows).column("payload_sealed").to_pylist()
        for place, (content, form) in enumerate(zip(sealed, rows.column("payload_form").to_pylist(), strict=True)):
            if content is None or form is None:
                continue
            payload = self._run.keys.open_bytes(content)
            key: tuple[Any, ...]
            row: Any
            if form == JSON:
                key, row = (JSON,), payload
            elif form.startswith(CSV):
                record = read_record(payload, form.removeprefix(CSV), self._lander.known)
                if record is None:
                    continue
                key, row = (CSV, record.header, record.header_raw, record.encoding), record
            else:
                values = as_sent(payload)
                key, row = (form, *values, *map(type, values.values())), values
            places, found = blocks.setdefault(key, ([], []))
            places.append(place)
            found.append(row)
        order = np.array([place for places, _ in blocks.values() for place in places], np.int64)
        return [_block(key, found) for key, (_, found) in blocks.items()], order

    def _below_minimum(self, deliveries: Sequence[str], told: _Told) -> frozenset[int]:
        minimum = self.contract.volume.min
        if minimum is None:
            return frozenset()
        # Only of a file is it known how many rows it has.
        return frozenset(number for number, i in enumerate(deliveries) if i.startswith("files:") and told.last_row(i) < minimum)

    def _unmoved(self, rows: pa.Table) -> pa.Table:
        moved = self._held.moved()
        place = pc.index_in(rows.column("_source_position"), moved.column("_source_position").combine_chunks())
        return rows.filter(pc.equal(pc.fill_null(moved.column("number").take(place), 0), rows.column("number")))

    def _commit(self, judged: Judged, rows: pa.Table) -> None:
        number = max(self._points().values()) + 1
        moves = _moves(judged, rows)
        if not moves.num_rows:
            return
        self._lander.land_again(judged, {REPLAY: number})
        states = _states(judged.batch.received_at, self.contract.version, moves, number)
        self._tables.append(self._quarantine, states, {REPLAY: number})
        self._correct(moves, judged.batch.received_at, number)

    def _points(self) -> dict[str, int]:
        told = receipts.app_id(self._feed, REPLAY)
        return {
            self._bronze: self._tables.resume_point(self._bronze, REPLAY) or 0,
            self._quarantine: self._tables.resume_point(self._quarantine, REPLAY) or 0,
            receipts.TABLE: self._tables.resume_point(receipts.TABLE, told) or 0,
        }

    def _finish(self) -> None:
        points = self._points()
        number = points[self._bronze]
        if number > points[self._quarantine]:
            held = self._held.find(Wanted())
            there = self._tables.read(
                self._bronze, columns=["_source_position", "_received_at"], where=ds.field("_source_position").isin(held.column("_source_position"))
            )
            released = held.filter(pc.is_in(held.column("_source_position"), there.column("_source_position").combine_chunks()))
            at = pc.max(there.column("_received_at")).as_py() if there.num_rows else datetime.now(UTC)
            moves = released.append_column("new_state", pa.array([RELEASED] * released.num_rows, pa.string()))
            moves = moves.append_column("new_reasons", pa.array([[]] * released.num_rows, QUARANTINE_SCHEMA.field("reasons").type))
            moves = moves.append_column("new_waits_for", pa.nulls(released.num_rows, pa.string()))
            self._tables.append(self._quarantine, _states(at, self.contract.version, moves, number), {REPLAY: number})
            points[self._quarantine] = number
        number = points[self._quarantine]
        if number > points[receipts.TABLE]:
            moves = self._moved_by(number)
            at = pc.max(moves.column("changed_at")).as_py() if moves.num_rows else datetime.now(UTC)
            self._correct(moves, at, number)

    def _moved_by(self, number: int) -> pa.Table:
        """The moves of a replay, as quarantine has them: the newest state of each row before it, and what it made of the row."""
        return self._held.ask(
            """
            , before as (
                select
                    _source_position, arg_max(state, coalesce(state_number, 0)) as state, arg_max(reasons, coalesce(state_number, 0)) as reasons,
                    arg_min(_delivery_id, coalesce(state_number, 0)) as _delivery_id, min(_received_at) as _received_at
                from kept where coalesce(state_number, 0) < $number group by _source_position
            )
            select before.*, kept.state as new_state, kept.reasons as new_reasons, kept._received_at as changed_at
            from kept inner join before on kept._source_position = before._source_position
            where kept.state_number = $number
            order by before._source_position
            """,
            {"number": number},
        )

    def _correct(self, moves: pa.Table, at: datetime, number: int) -> None:
        """A receipt for each receipt whose rows have moved: what is to be added to its counts."""
        told = _Told(self._receipts(moves))
        changed: dict[tuple[str, int], tuple[dict[str, Any], Counter[str], Counter[str], dict[str, list[int]]]] = {}
        for move in moves.select(["_source_position", "_delivery_id", "state", "new_state", "reasons", "new_reasons"]).to_pylist():
            row = _row(move["_source_position"])
            receipt = told.of(move["_delivery_id"], row)
            _, counts, reasons, rows = changed.setdefault((move["_delivery_id"], receipt["first_row"]), (receipt, Counter(), Counter(), {}))
            rows.setdefault(_COUNTED[move["new_state"]], []).append(row)
            counts[_COUNTED[move["new_state"]]] += 1
            counts[_COUNTED[move["state"]]] -= 1
            reasons.update(label(r["rule"], r["field"]) for r in move["new_reasons"])
            reasons.subtract(label(r["rule"], r["field"]) for r in move["reasons"])
        made = [receipts.correction(*change, self.contract.version, at) for change in changed.values()]
        self._tables.append(receipts.TABLE, pa.Table.from_pylist(made, RECEIPT_SCHEMA), {receipts.app_id(self._feed, REPLAY): number})

    def _receipts(self, rows: pa.Table) -> list[dict[str, Any]]:
        """The receipts of these rows' deliveries."""
        deliveries = pc.unique(rows.column("_delivery_id")).to_pylist()
        where = (ds.field("feed") == self._feed) & ds.field("_delivery_id").isin(deliveries) & (ds.field("received") > 0)
        columns = ["_delivery_id", "feed", "sender_code", "file_name", "batch", "first_row", "last_row", "received_at"]
        found: list[dict[str, Any]] = self._tables.read(receipts.TABLE, columns=columns, where=where).to_pylist()
        return found


class _Told:
    """Receipts by the rows that they are for."""

    def __init__(self, told: Sequence[dict[str, Any]]) -> None:
        self._by_delivery: dict[str, list[dict[str, Any]]] = {}
        for receipt in sorted(told, key=lambda r: int(r["first_row"])):
            self._by_delivery.setdefault(receipt["_delivery_id"], []).append(receipt)

    def covers(self, delivery_id: str, row: int) -> bool:
        """Whether a receipt was given for the row."""
        receipt = self._find(delivery_id, row)
        return receipt is not None and int(receipt["last_row"]) >= row

    def of(self, delivery_id: str, row: int) -> dict[str, Any]:
        """The receipt that was given for the row."""
        receipt = self._find(delivery_id, row)
        if receipt is None:
            raise KeyError(f"{delivery_id}: no receipt for row {row}; ops.receipt is older than the quarantine table, restore both together")
        return receipt

    def last_row(self, delivery_id: str) -> int:
        """The last row that was told of a delivery."""
        return max((int(r["last_row"]) for r in self._by_delivery.get(delivery_id, [])), default=0)

    def _find(self, delivery_id: str, row: int) -> dict[str, Any] | None:
        of_delivery = self._by_delivery.get(delivery_id, [])
        place = bisect_right(of_delivery, row, key=lambda r: int(r["first_row"])) - 1
        return of_delivery[place] if place >= 0 else None


def _row(position: str) -> int:
    return int(position.rpartition("#")[2])


def _places(rows: pa.Table) -> list[tuple[str, int]]:
    positions, deliveries = rows.column("_source_position").to_pylist(), rows.column("_delivery_id").to_pylist()
    return [(delivery, _row(position)) for delivery, position in zip(deliveries, positions, strict=True)]


def _block(key: Sequence[Any], found: list[Any]) -> Block:
    if key[0] == JSON:
        return Lines(found)
    if key[0] == CSV:
        return Cells(key[1], [r.rows[0] for r in found], [r.raw[0] for r in found], key[2], key[3])
    if key[0] == SHEET:
        return Cells(tuple(found[0]), [tuple(values.values()) for values in found])
    if key[0] == COLUMNS:
        return Columns(pa.table({name: pa.array([values[name] for values in found]) for name in found[0]}))
    raise ValueError(f"payload_form {key[0]!r}: expected one of those in streaming.rows")


def _moves(judged: Judged, rows: pa.Table) -> pa.Table:
    """The rows whose state changes, with what they become."""
    to = np.full(rows.num_rows, RELEASED, object)
    for mask, state in ((judged.refused, REFUSED), (judged.duplicate, DUPLICATE), (judged.waiting, WAITING)):
        to[mask] = state
    everything = np.arange(rows.num_rows)
    table = rows.append_column("new_state", pa.array(to.tolist(), pa.string()))
    table = table.append_column("new_reasons", judged.reasons.lists(everything))
    table = table.append_column("new_waits_for", judged.waits_for)
    same_state = np.asarray(pc.equal(table.column("new_state"), table.column("state")).combine_chunks())
    same_wait = np.asarray(pc.fill_null(pc.equal(table.column("new_waits_for"), table.column("waits_for")), False).combine_chunks())
    # A row that is refused for other reasons now stays as it was received.
    stays = same_state & ((to == REFUSED) | same_wait)
    return table.filter(pa.array(~stays))


def _states(at: datetime, contract_version: str, moves: pa.Table, number: int) -> pa.Table:
    rows = moves.num_rows
    made: dict[str, Any] = {
        "_sender_code": moves.column("_sender_code"),
        "_received_at": pa.repeat(pa.scalar(at, pa.timestamp("us", "UTC")), rows),
        "_source_position": moves.column("_source_position"),
        "_delivery_id": moves.column("_delivery_id"),
        "_contract_version": pa.repeat(contract_version, rows),
        "reasons": moves.column("new_reasons"),
        "waits_for": moves.column("new_waits_for"),
        "state": moves.column("new_state"),
        "state_number": pa.repeat(pa.scalar(number, pa.int64()), rows),
    }
    return pa.table([made[f.name] if f.name in made else pa.nulls(rows, f.type) for f in QUARANTINE_SCHEMA], schema=QUARANTINE_SCHEMA)
