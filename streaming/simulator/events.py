"""What the events of a chunk are: who reports them, where exactly, and in which words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import yaml
from numpy.typing import NDArray

from streaming.simulator import people, profiles
from streaming.simulator.plan import BURST, CHANNELS, DAY, INSTANT_CLOSE, KINDS, LEVELS, NIL_REPORT, OUT_OF_GRID, TELEPORT, Scene
from streaming.simulator.texts import kept
from streaming.simulator.typesetting import Letters, Page, Phrasing, Pieces, Rows, beside, write

_PARTS_OF_DAY = ((0, 6, "凌晨"), (6, 9, "清晨"), (9, 12, "上午"), (12, 14, "中午"), (14, 17, "下午"), (17, 19, "傍晚"), (19, 24, "晚间"))
_SHORTENED_SHARE = 0.15
_ROADS_OF_GRID = 3
_CONTACT_IN_TEXT_SHARE = 0.04
_ID_IN_TEXT_SHARE = 0.005
# A trap for whoever takes every “未发现” for a nil report.
_NO_HARM_SHARE = 0.005
_NO_ADDRESS_SHARE = 0.05
# Of those who report for themselves.
_NAMED_SHARE, _REACHABLE_SHARE = 0.85, 0.75
# What a text takes from its event.
_GIVEN = ("village", "road", "side_road", "office", "part_of_day", "what", "detail", "ending", "done", "opening")
# Days before the first that a report may have occurred on, and after the last that a limit may end on.
_DAYS_BEFORE, _DAYS_AFTER = 5, 400
# 18 to 30 km, and 0.7 to 2.4 km.
_TELEPORT_DEGREES, _DESK_DEGREES = (0.165, 0.27), (0.008, 0.025)


@cache
def phrases() -> Mapping[str, Any]:
    """The words of the reports, as phrases.yml has them."""
    document: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("phrases.yml").read_text(encoding="utf-8"))
    return document


class Vocabulary:
    """Every piece that events, their steps and their lines in a file are set from, and the grammar over them."""

    def __init__(self, scene: Scene) -> None:
        words, grids = phrases(), scene.territory.grids
        self.letters = letters = Letters()
        self.grammar = grammar = Phrasing(
            letters, _GIVEN, words["rules"], words["nil_reports"], {k: v for k, v in words["closings"].items() if ":" not in k}
        )
        self.what, self.detail = (
            {code: grammar.read(phrases_of[part]) for code, phrases_of in words["happenings"].items()} for part in ("what", "detail")
        )
        self.ending = {code: grammar.read(productions) for code, productions in words["endings"].items()}
        self.severity = {LEVELS.index(level): grammar.read(productions) for level, productions in words["severity"].items()}
        self.done = {code: grammar.read(words["closings"][f"done:{code}"]) for code in words["endings"]}
        for symbol in ("no_harm", "opening_grid", "opening_citizen", "opening_other", "sentence", "nil", "closing", "nil_closing"):
            grammar.rule(symbol)
        self.roads = letters.numbers(words["roads"])
        self.offices = letters.numbers(list(scene.classes.responsible_role))
        self.parts_of_day = letters.numbers([next(name for start, end, name in _PARTS_OF_DAY if start <= hour < end) for hour in range(24)])
        self.village = letters.run(grids.village)
        self.area = letters.run(grids.county + grids.town + grids.village)
        self.town = letters.run(grids.town)
        self.region_code, self.grid_id = letters.run(grids.region_code), letters.run(grids.grid_id)
        self.member_id, self.member_name, self.member_phone = (letters.run(scene.members[c]) for c in ("member_id", "person_name", "phone"))
        self.has_phone = scene.members.phone.notna().to_numpy()
        self.class_codes = letters.numbers(list(scene.classes.code))
        self.numbers = letters.run([str(n) for n in range(1000)])
        self.three_digits = letters.run([f"{n:03d}" for n in range(1000)])
        days = np.datetime_as_string(scene.first_day + np.arange(-_DAYS_BEFORE, scene.days + _DAYS_AFTER))
        self.dates = letters.run([f"{day} " for day in days]) + _DAYS_BEFORE
        self.id_dates = letters.run(["SJ" + day.replace("-", "") for day in days]) + _DAYS_BEFORE
        letters.numbers([*"组号幢.", "联系人", "，电话", "本人", "，身份证号"])
        self.times = letters.run([f"{s // 3600:02d}:{s // 60 % 60:02d}:{s % 60:02d}" for s in range(DAY)])

    def event_ids(self, events: pd.DataFrame | Reports) -> Pieces:
        """SJ, the day of the report and a number, which begins anew every day at every sender."""
        day, sequence = np.asarray(events.reported) // DAY, np.asarray(events.sequence)
        return beside(len(day), self.id_dates + day, self.three_digits + sequence // 1000, self.three_digits + sequence % 1000)

    def moments(self, seconds: NDArray[np.int64]) -> Pieces:
        """Seconds since the first day as `yyyy-MM-dd HH:mm:ss`."""
        return beside(len(seconds), (self.dates + seconds // DAY).astype(np.int32), (self.times + seconds % DAY).astype(np.int32))

    def micro(self, degrees: NDArray[np.int64]) -> Pieces:
        """Millionths of a degree, below 1,000 degrees, as a number with six places."""
        whole, rest = np.divmod(degrees, 1_000_000)
        point = self.letters.number(".")
        return beside(
            len(degrees), (self.numbers + whole).astype(np.int32), point, (self.three_digits + rest // 1000).astype(np.int32),
            (self.three_digits + rest % 1000).astype(np.int32),
        )  # fmt: skip


@dataclass
class Reports:
    """The events of a chunk, one place an event in every array.

    Times are seconds since the first day, positions millionths of a degree (-1 where unknown). Texts are pieces of `page`; 0 is none.
    """

    page: Page
    grid: NDArray[np.int32]
    class_number: NDArray[np.int16]
    level: NDArray[np.int8]
    channel: NDArray[np.int8]
    kind: NDArray[np.int8]
    reported: NDArray[np.int64]
    occurred: NDArray[np.int64]
    reporter: NDArray[np.int32]
    repeated: NDArray[np.int32]
    sequence: NDArray[np.int32]
    longitude: NDArray[np.int64]
    latitude: NDArray[np.int64]
    address: Pieces
    description: Pieces
    closing_note: Pieces
    reporter_name: Pieces
    reporter_phone: Pieces

    def __len__(self) -> int:
        return len(self.grid)

    def is_a(self, *kinds: str) -> NDArray[np.bool_]:
        """Which of them had one of these kinds injected."""
        return np.isin(self.kind, [KINDS.index(kind) for kind in kinds])

    @property
    def is_repeated(self) -> NDArray[np.bool_]:
        """Which of them another one repeats."""
        found = np.zeros(len(self), bool)
        found[self.repeated[self.repeated >= 0]] = True
        return found


def happen(
    random: np.random.Generator, scene: Scene, vocabulary: Vocabulary, planned: pd.DataFrame, planted: Sequence[people.Person] = ()
) -> Reports:
    """Everything else about a chunk's events; the planted people stand in the place of as many citizens."""
    firsts = planned[planned.repeated < 0].reset_index(drop=True)
    page = Page(vocabulary.letters)
    must_have_name = np.zeros(len(firsts), bool)
    must_have_name[planned.repeated[planned.repeated >= 0]] = True
    name, phone = _say_who(random, scene, vocabulary, page, firsts, must_have_name)
    longitude, latitude = _say_where(random, scene, firsts)
    address, road, side_road = _address(random, scene, vocabulary, firsts)
    description, note = _say_what(random, scene, vocabulary, firsts, road, side_road)
    plain = np.flatnonzero((firsts.reporter < 0) & (name > 0) & (phone > 0) & (firsts.kind == 0) & ~must_have_name)
    marked = np.sort(random.choice(plain, size=min(len(planted), len(plain)), replace=False))
    planted = planted[: len(marked)]
    name[marked] = page.add(pa.array([p.name for p in planted], pa.string()))
    phone[marked] = page.add(pa.array([p.phone for p in planted], pa.string()))
    contact = _contacts(random, vocabulary, page, firsts, name, phone)
    contact[marked] = 0
    contact[marked, 0] = page.add(pa.array([people.in_words(p) for p in planted], pa.string()))
    text = page.set(len(firsts), description, contact)
    copied = firsts.kind.isin([KINDS.index(OUT_OF_GRID), KINDS.index(BURST)]).to_numpy()
    text = text.take(pa.array(np.where(copied, firsts.origin, np.arange(len(firsts)))))
    written = page.add(text)
    noted = page.add(page.set(len(firsts), note))
    noted[(note == 0).all(axis=1)] = 0
    delay = np.minimum(random.lognormal(np.log(15 * 60), 1.1, len(firsts)), 20 * 3600).astype(np.int64)
    delay = np.where(firsts.channel == CHANNELS.index("grid"), delay // 3, delay)
    source = np.where(planned.repeated < 0, np.cumsum(planned.repeated < 0) - 1, planned.repeated)
    reported = planned.reported.to_numpy(np.int64)
    reports = Reports(
        page=page,
        **{name: planned[name].to_numpy() for name in ("grid", "class_number", "level", "channel", "kind", "reporter", "repeated", "sequence")},
        reported=reported,
        occurred=reported - delay[source],
        longitude=longitude[source],
        latitude=latitude[source],
        address=address[source],
        description=written[source],
        closing_note=noted[source],
        reporter_name=name[source],
        reporter_phone=phone[source],
    )
    _say_again(random, scene, reports, text)
    return reports


def _say_who(
    random: np.random.Generator, scene: Scene, vocabulary: Vocabulary, page: Page, firsts: pd.DataFrame, must_have_name: NDArray[np.bool_]
) -> tuple[Pieces, Pieces]:
    """A serving member of the grid, or somebody who calls, posts or writes; cameras and offices have no name."""
    member = firsts.reporter.to_numpy()
    name = np.where(member >= 0, vocabulary.member_name + member, 0).astype(np.int32)
    phone = np.where((member >= 0) & vocabulary.has_phone[member], vocabulary.member_phone + member, 0).astype(np.int32)
    citizens = np.flatnonzero(firsts.channel.isin([CHANNELS.index(c) for c in ("citizen", "hotline", "petition")]))
    silent = random.random(len(citizens))
    names, phones = people.names(random, len(citizens)), people.phones(random, len(citizens))
    name[citizens] = page.add(pa.array(kept(names, (silent < _NAMED_SHARE) | must_have_name[citizens]), pa.string()))
    reachable = (silent < _REACHABLE_SHARE) & (firsts.channel.to_numpy()[citizens] != CHANNELS.index("petition"))
    phone[citizens] = page.add(pa.array(kept(phones, reachable), pa.string()))
    return name, phone


def _say_where(random: np.random.Generator, scene: Scene, firsts: pd.DataFrame) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A point inside the grid's cell, away from its edges; some reports have none."""
    place = scene.territory.grids
    origin = firsts.origin.to_numpy()
    unknown = (random.random(len(firsts)) < profiles.NO_POSITION_SHARE) & (origin < 0)
    unknown[origin[origin >= 0]] = False
    found = []
    for low, high in (("west", "east"), ("south", "north")):
        lowest, highest = (place[side].to_numpy()[firsts.grid] for side in (low, high))
        value = lowest + (highest - lowest) * random.uniform(0.05, 0.95, len(firsts))
        found.append(value)
    _displace(random, scene, firsts, found)
    longitude, latitude = (np.where(unknown, -1, np.round(value * 1e6)).astype(np.int64) for value in found)
    return longitude, latitude


def _displace(random: np.random.Generator, scene: Scene, firsts: pd.DataFrame, position: list[NDArray[np.float64]]) -> None:
    """Teleports lie a score of kilometres from the report before them; what comes from the desk lies outside the grid, always at one spot."""
    place, origin, count = scene.territory.grids, firsts.origin.to_numpy(), len(firsts)
    # Towards the middle of the cities, so that no position leaves the province.
    middle = [(place[low].mean() + place[high].mean()) / 2 for low, high in (("west", "east"), ("south", "north"))]
    towards = [np.where(middle[axis] >= position[axis], 1.0, -1.0) for axis in (0, 1)]
    far = np.flatnonzero(firsts.kind == KINDS.index(TELEPORT))
    degrees, slant = random.uniform(*_TELEPORT_DEGREES, count), random.uniform(0.2, 0.8, count)
    east, north = degrees * np.sqrt(slant) / np.cos(np.radians(position[1])), degrees * np.sqrt(1 - slant)
    for axis, move in enumerate((east, north)):
        position[axis][far] = (position[axis] + towards[axis] * move)[origin[far]]
    desk = np.flatnonzero(firsts.kind.isin([KINDS.index(OUT_OF_GRID), KINDS.index(BURST)]))
    off, jitter = random.uniform(*_DESK_DEGREES, count), random.normal(0, 0.00002, count)
    edge = np.where(towards[0] > 0, place.east.to_numpy()[firsts.grid], place.west.to_numpy()[firsts.grid])
    position[0][desk] = (edge + towards[0] * off)[origin[desk]] + jitter[desk]
    position[1][desk] = position[1][origin[desk]] + jitter[desk]


def _address(random: np.random.Generator, scene: Scene, vocabulary: Vocabulary, firsts: pd.DataFrame) -> tuple[Pieces, Pieces, Pieces]:
    """An address, and the pieces of the road and the side road that it may name."""
    count, grid, roads = len(firsts), firsts.grid.to_numpy(), vocabulary.roads
    road = roads[(grid * 7 + random.integers(_ROADS_OF_GRID, size=count) * 11) % len(roads)]
    side_road = roads[(grid * 7 + 5 + random.integers(_ROADS_OF_GRID, size=count) * 13) % len(roads)]
    number = (vocabulary.numbers + random.integers(1, 400, count)).astype(np.int32)
    house = (vocabulary.numbers + random.integers(1, 60, count)).astype(np.int32)
    urban = scene.territory.grids.is_urban.to_numpy()[grid]
    letter = vocabulary.letters.number
    address = beside(
        count,
        (vocabulary.area + grid).astype(np.int32),
        np.where(urban, road, house).astype(np.int32),
        np.where(urban, number, letter("组")).astype(np.int32),
        np.where(urban, letter("号"), number).astype(np.int32),
        np.where(urban, house, letter("号")).astype(np.int32),
        np.where(urban, letter("幢"), 0).astype(np.int32),
    )
    address[random.random(count) < _NO_ADDRESS_SHARE] = 0
    return address, road[:, None], side_road[:, None]


def _say_what(
    random: np.random.Generator, scene: Scene, vocabulary: Vocabulary, firsts: pd.DataFrame, road: Pieces, side_road: Pieces
) -> tuple[Pieces, Pieces]:
    """The report's text, and the note with which it is closed."""
    grammar, count, grid = vocabulary.grammar, len(firsts), firsts.grid.to_numpy()
    everything = np.arange(count)
    given: dict[str, Pieces] = {
        "village": (vocabulary.village + grid).astype(np.int32)[:, None],
        "road": road,
        "side_road": side_road,
        "office": vocabulary.offices[firsts.said_class][:, None],
        "part_of_day": vocabulary.parts_of_day[firsts.reported // 3600 % 24][:, None],
    }
    code = scene.classes.code.to_numpy()
    by_class = _rows_by(firsts.said_class.to_numpy(), len(code))
    first_level = pd.Categorical(scene.classes.code.str[:2])
    by_first_level = _rows_by(first_level.codes[firsts.said_class], len(first_level.categories))

    def by(rows_of: Sequence[Rows], choices: Sequence[Any]) -> Pieces:
        return _gathered(count, rows_of, lambda number, rows: write(random, choices[number], given, rows))

    given["what"] = by(by_class, [vocabulary.what[c] for c in code])
    given["detail"] = by(by_class, [vocabulary.detail[c] for c in code])
    harmless = np.flatnonzero(random.random(count) < _NO_HARM_SHARE)
    no_harm = np.zeros((count, 1), np.int32)
    no_harm[harmless] = write(random, grammar.rule("no_harm"), given, harmless)
    severity = np.zeros((count, 4), np.int32)
    for level, choice in vocabulary.severity.items():
        rows = np.flatnonzero(firsts.said_level == level)
        said = write(random, choice, given, rows)
        severity[rows, : said.shape[1]] = said
    given["what"] = beside(count, given["what"], severity, no_harm)
    given["ending"] = by(by_first_level, [vocabulary.ending[c] for c in first_level.categories])
    given["done"] = by(by_first_level, [vocabulary.done[c] for c in first_level.categories])
    openings = ["opening_grid", "opening_citizen", "opening_other"]
    speaker = np.array([{"grid": 0, "citizen": 1}.get(channel, 2) for channel in CHANNELS])[firsts.channel]
    given["opening"] = by(_rows_by(speaker, len(openings)), [grammar.rule(symbol) for symbol in openings])
    text, note = write(random, grammar.rule("sentence"), given, everything), write(random, grammar.rule("closing"), given, everything)
    nil = np.flatnonzero(firsts.kind == KINDS.index(NIL_REPORT))
    text, note = (
        _replaced(pieces, nil, write(random, grammar.rule(symbol), given, nil)) for pieces, symbol in ((text, "nil"), (note, "nil_closing"))
    )
    note[np.flatnonzero(firsts.kind == KINDS.index(INSTANT_CLOSE))] = 0
    return text, note


def _rows_by(keys: NDArray[Any], count: int) -> list[Rows]:
    """The rows of each key from 0 to before `count`."""
    order = np.argsort(keys, kind="stable")
    return np.split(order, np.searchsorted(keys[order], np.arange(1, count)))


def _gathered(count: int, rows_of: Sequence[Rows], pieces_of: Callable[[int, Rows], Pieces]) -> Pieces:
    parts = [(rows, pieces_of(number, rows)) for number, rows in enumerate(rows_of) if len(rows)]
    pieces = np.zeros((count, max((part.shape[1] for _, part in parts), default=1)), np.int32)
    for rows, part in parts:
        pieces[rows, : part.shape[1]] = part
    return pieces


def _replaced(pieces: Pieces, rows: Rows, others: Pieces) -> Pieces:
    if others.shape[1] > pieces.shape[1]:
        pieces = np.pad(pieces, ((0, 0), (0, others.shape[1] - pieces.shape[1])))
    pieces[rows] = 0
    pieces[rows, : others.shape[1]] = others
    return pieces


def _contacts(random: np.random.Generator, vocabulary: Vocabulary, page: Page, firsts: pd.DataFrame, name: Pieces, phone: Pieces) -> Pieces:
    """What is added to a text by some who report: their own name and number, or name and ID number."""
    named = (name > 0) & (phone > 0) & (firsts.reporter < 0).to_numpy()
    drawn = random.random(len(firsts))
    letter = vocabulary.letters.number
    contact = np.zeros((len(firsts), 4), np.int32)
    with_contact = np.flatnonzero(named & (drawn < _CONTACT_IN_TEXT_SHARE))
    contact[with_contact] = beside(len(with_contact), letter("联系人"), name[with_contact], letter("，电话"), phone[with_contact])
    with_id = np.flatnonzero(named & (drawn > 1 - _ID_IN_TEXT_SHARE))
    numbers = page.add(pa.array(people.id_numbers(random, len(with_id)), pa.string()))
    contact[with_id] = beside(len(with_id), letter("本人"), name[with_id], letter("，身份证号"), numbers)
    return contact


def _without_a_clause(text: str) -> str:
    clauses = text.split("，")
    return "，".join(clauses[:-2] + clauses[-1:]) if len(clauses) > 3 else text


def _say_again(random: np.random.Generator, scene: Scene, reports: Reports, text: pa.Array) -> None:
    """Repeats in slightly other words, from a few metres away."""
    words = phrases()["repeats"]
    again = np.flatnonzero(reports.repeated >= 0)
    count = len(again)
    before = pd.Series(text.take(pa.array(reports.repeated[again])).to_pylist(), dtype=object)
    said = before.str.removesuffix("。")
    for old, new in words["edits"]:
        edited = random.random(count) < 0.2
        said = said.where(~edited, said.str.replace(old, new, n=1, regex=False))
    shortened = random.random(count) < _SHORTENED_SHARE
    said = said.where(~shortened, said.map(_without_a_clause))
    openings, endings = np.array(words["openings"], object), np.array(words["endings"], object)
    said = openings[random.integers(len(openings), size=count)] + said + endings[random.integers(len(endings), size=count)] + "。"
    # An unchanged text would be a copy, not a repeat in other words.
    reports.description[again] = reports.page.add(pa.array(said.where(said != before, "再报：" + said), pa.string()))
    for axis, low, high in (("longitude", "west", "east"), ("latitude", "south", "north")):
        position = getattr(reports, axis)
        edges = [np.round(scene.territory.grids[side].to_numpy()[reports.grid[again]] * 1e6).astype(np.int64) for side in (low, high)]
        moved = position[again] + np.round(random.normal(0, 80, count)).astype(np.int64)
        position[again] = np.where(position[again] < 0, -1, np.clip(moved, *edges))
