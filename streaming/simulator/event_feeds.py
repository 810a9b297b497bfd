"""What the cities send of a chunk's events and steps: which version goes into which file, as JSON lines or columns, with dirt among it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from streaming.simulator import dirt, people, profiles
from streaming.simulator.events import Reports, Vocabulary
from streaming.simulator.handling import ACTIONS, COMMAND, COMMAND_ROOM, OFFICE, STATES, VILLAGE, Steps
from streaming.simulator.parcels import LINE, TRUTH
from streaming.simulator.plan import CHANNELS, DAY, LEVELS, Scene
from streaming.simulator.typesetting import Page, Pieces, beside

Integers: TypeAlias = NDArray[np.integer[Any]]
Format: TypeAlias = Literal["jsonl", "parquet"]
EVENT, EVENT_STEP = "event", "event_step"
# Share of an event feed's rows for each way to spoil one, for copies, and for rows that come late or in the wrong order.
# assumed: half a percent of rows refused in all.
_EACH_KIND_SHARE, _REPEATED_SHARE, _LATE_SHARE, _DISORDER_SHARE = 0.0003, 0.002, 0.002, 0.001
_LATER_FILES = (2, 7)
# Where rows lie that come after all that a file has in order: those out of order, then copies.
_AT_END, _AFTER_END = 1e10, 1e12

_EVENT = pa.schema(
    [
        *((name, pa.string()) for name in ("event_id", "class_code", "level_code", "description", "region_code", "grid_id", "address")),
        *((name, pa.float64()) for name in ("longitude", "latitude")),
        *((name, pa.timestamp("us")) for name in ("occurred_at", "reported_at", "deadline_at", "closed_at")),
        *((name, pa.string()) for name in ("state_code", "channel_code", "organisation_name", "closing_note", "reporter_member_id")),
        *((name, pa.string()) for name in ("reporter_name", "reporter_phone")),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_STEP = pa.schema(
    [
        *((name, pa.string()) for name in ("step_id", "event_id")),
        ("step_no", pa.int64()),
        *((name, pa.string()) for name in ("action_code", "from_state", "to_state", "actor_organisation")),
        *((name, pa.timestamp("us")) for name in ("happened_at", "deadline_at")),
        ("evidence_digest", pa.string()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_OP = pa.field("_op", pa.string())
_DELETED_EVENT = pa.schema([_EVENT.field("event_id"), _OP, _EVENT.field("source_version"), _EVENT.field("changed_at")])
_DELETED_STEP = pa.schema([_STEP.field("step_id"), _OP, _STEP.field("source_version"), _STEP.field("changed_at")])
# Stands for no time, no position and no number among integers.
NONE = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Calendar:
    """The files that a city sends in the simulated days: one of events a week, one of steps a month; names sort by time."""

    week_of_day: Integers
    month_of_day: Integers
    weeks: tuple[str, ...]
    months: tuple[str, ...]

    @staticmethod
    def of(scene: Scene) -> Calendar:
        """The calendar of a scene's days."""
        days = pd.Series(scene.first_day + np.arange(scene.days).astype("timedelta64[D]"))
        calendar = days.dt.isocalendar()
        weeks, week_names = pd.factorize("event-" + calendar.year.astype(str) + "-w" + calendar.week.astype(str).str.zfill(2))
        months, month_names = pd.factorize("event_step-" + pd.Series(np.datetime_as_string(days.to_numpy().astype("datetime64[M]"))))
        return Calendar(np.asarray(weeks), np.asarray(months), tuple(map(str, week_names)), tuple(map(str, month_names)))


@dataclass
class Columns:
    """Rows of a feed, column by column: pieces of a page, or numbers with NONE where there is none."""

    rows: int
    texts: dict[str, Pieces] = field(default_factory=dict)
    times: dict[str, Integers] = field(default_factory=dict)
    micros: dict[str, Integers] = field(default_factory=dict)
    numbers: dict[str, Integers] = field(default_factory=dict)

    def table(self, page: Page, first_day: np.datetime64, schema: pa.Schema) -> pa.Table:
        """As typed columns; what the schema has besides is null."""
        return pa.table([self._array(page, first_day, f) for f in schema], schema)

    def _array(self, page: Page, first_day: np.datetime64, column: pa.Field) -> pa.Array:
        if column.name in self.texts:
            pieces = self.texts[column.name]
            empty = pieces == 0 if pieces.ndim == 1 else (pieces == 0).all(axis=1)
            strings = page.set(self.rows, pieces)
            return strings if not empty.any() else pc.if_else(pa.array(~empty), strings, pa.scalar(None, pa.string()))
        if column.name in self.times:
            seconds = self.times[column.name]
            start = first_day.astype("datetime64[us]").astype(np.int64)
            return pa.array(start + np.where(seconds == NONE, 0, seconds) * 1_000_000, column.type, mask=seconds == NONE)
        if column.name in self.micros:
            return pa.array(self.micros[column.name] / 1e6, column.type, mask=self.micros[column.name] == NONE)
        if column.name in self.numbers:
            return pa.array(self.numbers[column.name], column.type)
        return pa.nulls(self.rows, column.type)

    def lines(self, page: Page, vocabulary: Vocabulary, schema: pa.Schema) -> pa.Array:
        """As JSON lines with their ends, keys in the schema's order."""
        letter = vocabulary.letters.number
        pieces: list[Pieces | int] = []
        for place, name in enumerate(schema.names):
            key = f'{"," if place else "{"}"{name}":'
            value, absent = self._said(vocabulary, name)
            quote = "" if name in self.micros or name in self.numbers else '"'
            if absent is None:
                pieces += [letter(key + quote), value, letter(quote)]
            else:
                some = ~absent
                pieces += [
                    np.where(absent, letter(key + "null"), letter(key + quote)).astype(np.int32),
                    np.where(some[:, None] if value.ndim == 2 else some, value, 0).astype(np.int32),
                    np.where(some, letter(quote), 0).astype(np.int32),
                ]
        return page.set(self.rows, *pieces, letter("}\n")).cast(pa.binary())

    def _said(self, vocabulary: Vocabulary, name: str) -> tuple[Pieces, NDArray[np.bool_] | None]:
        """The pieces of a column, and where it has no value (None: it always has)."""
        if name in self.texts:
            pieces = self.texts[name]
            absent = pieces == 0 if pieces.ndim == 1 else (pieces == 0).all(axis=1)
        elif name in self.numbers:
            return (vocabulary.numbers + self.numbers[name]).astype(np.int32), None
        else:
            values = self.times[name] if name in self.times else self.micros[name]
            absent = values == NONE
            said = vocabulary.moments if name in self.times else vocabulary.micro
            pieces = said(np.where(absent, 0, values))
        return pieces, absent if absent.any() else None


def add_letters(vocabulary: Vocabulary) -> None:
    """The pieces that lines are set from, besides those of texts; before the first page."""
    letters = vocabulary.letters
    for schema in (_EVENT, _STEP, _DELETED_EVENT, _DELETED_STEP):
        for place, name in enumerate(schema.names):
            key = f'{"," if place else "{"}"{name}":'
            letters.numbers([key, key + '"', key + "null"])
    letters.numbers(['"', "}\n", "delete", "upsert", "-", COMMAND_ROOM, *ACTIONS, *STATES, *LEVELS, *CHANNELS])


@dataclass(frozen=True)
class Deletions:
    """Events that their sender takes back after the last step."""

    event: Integers
    source_version: Integers
    changed: Integers


def deletions(random: np.random.Generator, scene: Scene, reports: Reports, steps: Steps) -> Deletions:
    """Some that ended; none that anything was injected into or that another one repeats."""
    last = np.flatnonzero(np.append(steps.event[1:] != steps.event[:-1], True))
    ended = np.isin(steps.to_state[last], [STATES.index(state) for state in ("closed", "rejected", "withdrawn")])
    event = steps.event[last]
    chosen = last[ended & (reports.kind[event] == 0) & ~reports.is_repeated[event] & (random.random(len(last)) < profiles.DELETED_SHARE)]
    changed = steps.happened[chosen] + random.integers(3600, 20 * DAY, len(chosen))
    kept = changed < scene.end
    return Deletions(steps.event[chosen][kept], steps.step_no[chosen][kept] + 1, changed[kept])


@dataclass(frozen=True)
class Parcel:
    """Rows of one file that come out of one chunk: the payload columns, `_order`, and `_truth` (a JSON list of kind, state, rule and field)."""

    feed: str
    sender: str
    file: str
    rows: pa.Table


class Sender:
    """Sends a chunk's events and steps."""

    def __init__(self, scene: Scene, vocabulary: Vocabulary, calendar: Calendar, event_format: Format) -> None:
        self._scene, self._vocabulary, self._calendar, self._format = scene, vocabulary, calendar, event_format
        self._senders = scene.senders
        codes = {code: number for number, code in enumerate(self._senders)}
        self._sender_of_grid = scene.territory.grids.sender_code.map(codes).to_numpy(np.int64)

    def events(
        self,
        random: np.random.Generator,
        reports: Reports,
        steps: Steps,
        deleted: Deletions,
        planted: Sequence[people.Person],
        *,
        at_least: int,
    ) -> Iterator[Parcel]:
        """Each week's file of a city: the state that each event had reached at the week's end, of some every state in between."""
        sent = self._sent(random, reports, steps)
        happened = steps.happened[sent]
        event: Integers = steps.event[sent]
        sender: Integers = self._sender_of_grid[reports.grid[event]]
        file: Integers = self._calendar.week_of_day[happened // DAY]
        order = happened.astype(np.float64)
        truth: Integers = np.full(len(sent), -1)
        truths = [_truth("late"), _truth("stale_version"), _truth("out_of_order")]
        # Truth must stand in the lake as planted, and a copy must have its original before it: neither comes late.
        movable = random.permutation(np.flatnonzero(reports.kind[event] == 0))
        movable = movable[random.random(len(movable)) < 0.5]
        late = movable[: max(at_least, round(len(sent) * _LATE_SHARE))]
        later = file[late] + random.integers(*_LATER_FILES, len(late))
        late, later = late[later < len(self._calendar.weeks)], later[later < len(self._calendar.weeks)]
        file[late], truth[late] = later, 0
        self._disorder(random, movable[len(late) :], event, file, order, truth, at_least)
        by_file = np.argsort(sender * len(self._calendar.weeks) + file, kind="stable")
        sent, event, sender, file, truth = (values[by_file] for values in (sent, event, sender, file, truth))
        order = order[by_file]
        columns = self._event_columns(reports, steps, sent)
        names = [f"{week}.{self._format}" for week in self._calendar.weeks]
        rows = self._payload(reports.page, columns, _EVENT.append(_OP), self._format, _EVENT)
        good = _placed(rows, order, truth, truths)
        plain = np.flatnonzero(truth < 0)
        each = max(at_least // 2, round(len(sent) * _EACH_KIND_SHARE))
        copies = max(at_least, round(len(sent) * _REPEATED_SHARE))
        picked = np.sort(random.choice(plain, size=min(len(plain), 4 * (len(dirt.EVENT) * each + copies + len(planted))), replace=False))
        frame = self._frame(rows, picked, sender, file, order, names, self._format)
        files = dict.fromkeys(self._senders, names)
        bad = [dirt.repeated(random, frame, copies, files=files, end=_AFTER_END)]
        if self._format == "jsonl":
            bad.append(dirt.spoiled_lines(random, frame, dirt.EVENT, each, "event_id"))
            values = [{"reporter_name": p.name, "reporter_phone": p.phone, "description": "群众反映楼道堆物，" + people.in_words(p)} for p in planted]
            bad.append(dirt.planted_lines(random, frame, dirt.UNKNOWN_CLASS, values, "event_id"))
        else:
            bad.append(dirt.spoiled_cells(random, frame, dirt.EVENT_TYPED, each, "event_id"))
            bad.append(_with_people(dirt.spoiled_cells(random, frame, [dirt.UNKNOWN_CLASS], len(planted), "event_id", first=80_000), planted))
        yield from self._parcels(EVENT, good, sender, file, names, pd.concat(bad, ignore_index=True), rows.schema)
        yield from self._deleted_events(reports, deleted, names)

    def steps(self, random: np.random.Generator, reports: Reports, steps: Steps, deleted: Deletions, *, at_least: int) -> Iterator[Parcel]:
        """Each month's steps: Parquet, and apart from those JSONL from every second city; the steps of deleted events are deleted with them."""
        sender = self._sender_of_grid[reports.grid[steps.event]]
        gone = np.flatnonzero(np.isin(steps.event, deleted.event))
        gone_at = deleted.changed[np.searchsorted(deleted.event, steps.event[gone])]
        for remainder, suffix in enumerate(("parquet", "jsonl")):
            format_: Format = "parquet" if suffix == "parquet" else "jsonl"
            names = [f"{month}.{suffix}" for month in self._calendar.months]
            mine = np.flatnonzero(sender % 2 == remainder)
            if not len(mine):
                continue
            month = self._calendar.month_of_day[steps.happened[mine] // DAY]
            mine = mine[np.argsort(sender[mine] * len(names) + month, kind="stable")]
            month = self._calendar.month_of_day[steps.happened[mine] // DAY]
            rows = self._payload(reports.page, self._step_columns(reports, steps, mine), _STEP.append(_OP), format_, _STEP)
            order = steps.happened[mine].astype(np.float64)
            # A report step would break the rules about reports besides.
            later = np.flatnonzero(steps.step_no[mine] > 1)
            each = max(at_least // 2, round(len(mine) * _EACH_KIND_SHARE / 4))
            picked = np.sort(random.choice(later, size=min(len(later), 16 * each), replace=False))
            frame = self._frame(rows, picked, sender[mine], month, order, names, format_)
            if format_ == "jsonl":
                bad = dirt.spoiled_lines(random, frame, dirt.EVENT_STEP, each, "step_id")
            else:
                bad = dirt.spoiled_cells(random, frame, dirt.EVENT_STEP_TYPED, each, "step_id")
            yield from self._parcels(EVENT_STEP, _placed(rows, order), sender[mine], month, names, bad, rows.schema)
            deleted_rows = gone[sender[gone] % 2 == remainder]
            if len(deleted_rows):
                at = gone_at[sender[gone] % 2 == remainder]
                taken = np.argsort(sender[deleted_rows] * len(names) + self._calendar.month_of_day[at // DAY], kind="stable")
                deleted_rows, at = deleted_rows[taken], at[taken]
                columns = self._deleted_columns(self._step_ids(reports, steps, deleted_rows), "step_id", np.full(len(at), 2), at)
                rows = self._payload(reports.page, columns, _STEP.append(_OP), format_, _DELETED_STEP)
                file = self._calendar.month_of_day[at // DAY]
                yield from self._parcels(EVENT_STEP, _placed(rows, at.astype(np.float64)), sender[deleted_rows], file, names)

    def _sent(self, random: np.random.Generator, reports: Reports, steps: Steps) -> Integers:
        """The steps after which an event's state is sent."""
        week = self._calendar.week_of_day[steps.happened // DAY]
        changes = np.append((steps.event[1:] != steps.event[:-1]) | (week[1:] != week[:-1]), True)
        every_version = random.random(len(reports)) < profiles.EVERY_VERSION_SHARE
        return np.flatnonzero(changes | every_version[steps.event])

    def _disorder(
        self,
        random: np.random.Generator,
        movable: Integers,
        event: Integers,
        file: Integers,
        order: NDArray[np.float64],
        truth: Integers,
        at_least: int,
    ) -> None:
        """Some older versions come after a newer one, some rows after others that changed later; all must be accepted."""
        count = max(at_least, round(len(event) * _DISORDER_SHARE))
        has_newer = movable[(movable + 1 < len(event))]
        has_newer = has_newer[(event[has_newer + 1] == event[has_newer]) & (truth[has_newer + 1] < 0)]
        # Of three versions in a row one moves at most.
        stale = np.sort(has_newer[:count])
        stale = stale[np.diff(stale, prepend=-2) > 1]
        file[stale], order[stale], truth[stale] = file[stale + 1], order[stale + 1] + 1, 1
        rest = movable[truth[movable] < 0]
        rest = rest[~np.isin(rest, stale + 1)][:count]
        order[rest], truth[rest] = _AT_END + np.arange(len(rest)), 2

    def _event_columns(self, reports: Reports, steps: Steps, sent: Integers) -> Columns:
        vocabulary, event = self._vocabulary, steps.event[sent]
        letters = vocabulary.letters
        grid, member = reports.grid[event], reports.reporter[event]
        happened, closed = steps.happened[sent], steps.to_state[sent] == STATES.index("closed")
        limit = self._scene.classes.limit_hours.to_numpy()[reports.class_number[event]] * 3600
        return Columns(
            len(sent),
            texts={
                "event_id": vocabulary.event_ids(reports)[event],
                "class_code": vocabulary.class_codes[reports.class_number[event]],
                "level_code": letters.numbers(LEVELS)[reports.level[event]],
                "description": reports.description[event],
                "region_code": (vocabulary.region_code + grid).astype(np.int32),
                "grid_id": (vocabulary.grid_id + grid).astype(np.int32),
                "address": reports.address[event],
                "state_code": letters.numbers(STATES)[steps.to_state[sent]],
                "channel_code": letters.numbers(CHANNELS)[reports.channel[event]],
                "organisation_name": self._actors(reports, steps, sent),
                "closing_note": np.where(closed, reports.closing_note[event], 0).astype(np.int32),
                "reporter_member_id": np.where(member >= 0, vocabulary.member_id + member, 0).astype(np.int32),
                "reporter_name": reports.reporter_name[event],
                "reporter_phone": reports.reporter_phone[event],
                "_op": np.full(len(sent), letters.number("upsert"), np.int32),
            },
            times={
                "occurred_at": reports.occurred[event],
                "reported_at": reports.reported[event],
                "deadline_at": reports.reported[event] + limit,
                "closed_at": np.where(closed, happened, NONE),
                "changed_at": happened,
            },
            micros={axis: np.where(getattr(reports, axis)[event] < 0, NONE, getattr(reports, axis)[event]) for axis in ("longitude", "latitude")},
            numbers={"source_version": steps.step_no[sent]},
        )

    def _step_columns(self, reports: Reports, steps: Steps, rows: Integers) -> Columns:
        vocabulary, letters = self._vocabulary, self._vocabulary.letters
        from_state = steps.from_state[rows]
        return Columns(
            len(rows),
            texts={
                "step_id": self._step_ids(reports, steps, rows),
                "event_id": vocabulary.event_ids(reports)[steps.event[rows]],
                "action_code": letters.numbers(ACTIONS)[steps.action[rows]],
                "from_state": np.where(from_state >= 0, letters.numbers(STATES)[from_state], 0).astype(np.int32),
                "to_state": letters.numbers(STATES)[steps.to_state[rows]],
                "actor_organisation": self._actors(reports, steps, rows),
                "evidence_digest": reports.page.add(steps.evidence.take(pa.array(rows))),
                "_op": np.full(len(rows), letters.number("upsert"), np.int32),
            },
            times={
                "happened_at": steps.happened[rows],
                "deadline_at": np.where(steps.deadline[rows] < 0, NONE, steps.deadline[rows]),
                "changed_at": steps.happened[rows],
            },
            numbers={"step_no": steps.step_no[rows], "source_version": np.ones(len(rows), np.int64)},
        )

    def _step_ids(self, reports: Reports, steps: Steps, rows: Integers) -> Pieces:
        ids, letters = self._vocabulary.event_ids(reports)[steps.event[rows]], self._vocabulary.letters
        return beside(len(rows), ids, letters.number("-"), (self._vocabulary.numbers + steps.step_no[rows]).astype(np.int32))

    def _actors(self, reports: Reports, steps: Steps, rows: Integers) -> Pieces:
        vocabulary, event, actor = self._vocabulary, steps.event[rows], steps.actor[rows]
        grid = reports.grid[event]
        place = np.where(actor == VILLAGE, vocabulary.village + grid, vocabulary.town + grid).astype(np.int32)
        office = np.where(actor == OFFICE, vocabulary.offices[reports.class_number[event]], 0)
        return beside(len(rows), place, np.where(actor == COMMAND, vocabulary.letters.number(COMMAND_ROOM), office).astype(np.int32))

    def _deleted_columns(self, ids: Pieces, key: str, version: Integers, changed: Integers) -> Columns:
        delete = np.full(len(ids), self._vocabulary.letters.number("delete"), np.int32)
        return Columns(len(ids), texts={key: ids, "_op": delete}, times={"changed_at": changed}, numbers={"source_version": version})

    def _deleted_events(self, reports: Reports, deleted: Deletions, names: Sequence[str]) -> Iterator[Parcel]:
        if not len(deleted.event):
            return
        sender, file = self._sender_of_grid[reports.grid[deleted.event]], self._calendar.week_of_day[deleted.changed // DAY]
        by_file = np.argsort(sender * len(names) + file, kind="stable")
        event, changed = deleted.event[by_file], deleted.changed[by_file]
        columns = self._deleted_columns(self._vocabulary.event_ids(reports)[event], "event_id", deleted.source_version[by_file], changed)
        rows = self._payload(reports.page, columns, _EVENT.append(_OP), self._format, _DELETED_EVENT)
        yield from self._parcels(EVENT, _placed(rows, changed.astype(np.float64)), sender[by_file], file[by_file], names)

    def _payload(self, page: Page, columns: Columns, typed: pa.Schema, format_: Format, keys: pa.Schema) -> pa.Table:
        if format_ == "jsonl":
            return pa.table({LINE: columns.lines(page, self._vocabulary, keys)})
        return columns.table(page, self._scene.first_day, typed)

    def _frame(
        self,
        rows: pa.Table,
        picked: Integers,
        sender: Integers,
        file: Integers,
        order: NDArray[np.float64],
        names: Sequence[str],
        format_: Format,
    ) -> pd.DataFrame:
        """Some good rows with their places, to make bad ones from."""
        few = rows.take(pa.array(picked))
        if format_ == "jsonl":
            frame = pd.DataFrame({LINE: [line.removesuffix(b"\n") for line in few.column(LINE).to_pylist()]}, dtype=object)
        else:
            frame = few.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
        codes, file_names = np.array(self._senders, object), np.array(names, object)
        return frame.assign(_sender=codes[sender[picked]], _file=file_names[file[picked]], _order=order[picked])

    def _parcels(
        self,
        feed: str,
        rows: pa.Table,
        sender: Integers,
        file: Integers,
        names: Sequence[str],
        bad: pd.DataFrame | None = None,
        schema: pa.Schema | None = None,
    ) -> Iterator[Parcel]:
        """The rows, which lie by sender and file, cut into files; then the bad ones."""
        key = sender * len(names) + file
        starts = np.flatnonzero(np.append(True, key[1:] != key[:-1])) if len(key) else np.zeros(0, np.int64)
        for start, end in zip(starts, np.append(starts, len(key))[1:], strict=True):
            yield Parcel(feed, self._senders[sender[start]], names[file[start]], rows.slice(start, end - start))
        if bad is not None and schema is not None:
            for (code, name), part in bad.groupby(["_sender", "_file"], sort=True):
                yield Parcel(feed, str(code), str(name), _bad_rows(part, schema))


def _placed(rows: pa.Table, order: NDArray[np.float64], truth: Integers | None = None, truths: Sequence[str] = ()) -> pa.Table:
    """The payload with the places of its rows in their files."""
    if truth is None:
        said = pa.nulls(len(order), pa.string())
    else:
        said = pa.array(np.where(truth < 0, 0, truth), mask=truth < 0)
        said = pa.array(list(truths), pa.string()).take(said)
    return rows.append_column("_order", pa.array(order)).append_column("_truth", said)


def _truth(kind: str) -> str:
    return json.dumps([kind, dirt.ACCEPTED, None, None])


def _bad_rows(part: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    truth = [json.dumps([None if pd.isna(v) else v for v in row]) for row in zip(*(part[c] for c in TRUTH), strict=True)]
    if LINE in schema.names:
        payload = pa.table({LINE: pa.array([line + b"\n" for line in part[LINE]], pa.binary())})
    else:
        payload = pa.Table.from_pandas(part[schema.names].astype(object).where(part[schema.names].notna(), None), schema, preserve_index=False)
    return payload.append_column("_order", pa.array(part["_order"].to_numpy(np.float64))).append_column("_truth", pa.array(truth, pa.string()))


def _with_people(rows: pd.DataFrame, planted: Sequence[people.Person]) -> pd.DataFrame:
    rows = rows.iloc[: len(planted)].copy()
    planted = planted[: len(rows)]
    rows["reporter_name"], rows["reporter_phone"] = [p.name for p in planted], [p.phone for p in planted]
    rows["description"] = ["群众反映楼道堆物，" + people.in_words(p) for p in planted]
    return rows
