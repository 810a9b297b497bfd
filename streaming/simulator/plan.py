"""What happens when, in numbers only, for all simulated days: grid, class, time and reporter of each event, and what is injected into it.

It is drawn chunk by chunk, a chunk being so many days that about `CHUNK_EVENTS` events fall into it, each from a stream of its own. What costs
time and memory (texts, steps, files) is made of a chunk alone, later, and anywhere.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import profiles
from streaming.simulator.territory import Territory

CHUNK_EVENTS = 100_000
NIL_REPORT, NEAR_DUPLICATE, INSTANT_CLOSE = "nil_report", "near_duplicate", "instant_close"
# The column `kind` of a plan counts these from 0.
TELEPORT, OUT_OF_GRID, BURST, WRONG_CLASS, WRONG_LEVEL = "teleport", "out_of_grid", "burst", "wrong_class", "wrong_level"
KINDS = ("", NIL_REPORT, NEAR_DUPLICATE, INSTANT_CLOSE, TELEPORT, OUT_OF_GRID, BURST, WRONG_CLASS, WRONG_LEVEL)
CHANNELS, LEVELS = tuple(profiles.CHANNEL_SHARE), tuple(profiles.LEVEL_SHARE)
DAY = 86400
# A repeat comes within three days of the report that it repeats.
_REPEAT_SECONDS = (20 * 60, 70 * 3600)
_SILENT_CHANNELS = ("video", "department")
# Nobody covers a distance of some 20 km in so many seconds.
_TELEPORT_SECONDS = (60, 180)
# One member sends so many reports with one and the same text, from the desk: within minutes on a deadline's day, or over some weeks.
_OF_A_BURST, _BURST_GAP_SECONDS, _BURST_HOURS = (8, 16), (8, 40), (15, 22)
_OF_A_HABIT, _HABIT_DAYS = (16, 25), 25
# Reports are counted in the middle and at the end of a month.
_MIDDLE_OF_MONTH = 15


def stream(seed: int, name: str) -> np.random.Generator:
    """The random numbers of one part: what one part draws does not move the others."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


@dataclass(frozen=True)
class Scene:
    """What all chunks have in common: the place, the people, the classes and the days."""

    territory: Territory
    members: pd.DataFrame
    classes: pd.DataFrame
    first_day: np.datetime64
    days: int
    seed: int
    likelihood: NDArray[np.float64]  # of a report, by day and class
    grids_upto: NDArray[np.float64]  # likelihood of a report in the grids up to each

    @property
    def end(self) -> int:
        """The first second after the simulated days; seconds count from the first day's start."""
        return self.days * DAY

    @property
    def senders(self) -> list[str]:
        """The cities in the order of their grids."""
        return list(dict.fromkeys(self.territory.grids.sender_code))


def set_scene(seed: int, territory: Territory, members: pd.DataFrame, vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> Scene:
    """Weigh days, classes and grids: weekdays, holidays and seasons; residents, and how much a grid's people report."""
    classes = _active_classes(vocabularies)
    weights = day_weights(vocabularies, first_day, days)
    months = (first_day + np.arange(days).astype("timedelta64[D]")).astype("datetime64[M]").astype(int) % 12 + 1
    likelihood = np.empty((days, len(classes)))
    for column, (code, share) in enumerate(zip(classes.code, classes.share, strict=True)):
        season = profiles.SEASONS.get(code, {})
        of_class = weights * np.array([season.get(int(month), 1.0) for month in months])
        likelihood[:, column] = of_class / of_class.sum() * share
    weight = territory.grids.resident_count.to_numpy() * stream(seed, "grids").lognormal(0, 0.4, len(territory.grids))
    return Scene(territory, members, classes, first_day, days, seed, likelihood / likelihood.sum(), np.cumsum(weight))


def day_weights(vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> NDArray[np.float64]:
    """How many reports a day brings, relative to others: weekday and public holidays."""
    dates = first_day + np.arange(days).astype("timedelta64[D]")
    weekday = (dates.astype(int) + 3) % 7
    calendar = vocabularies.work_calendar.to_pandas()
    kinds = pd.Series(calendar.day_type.to_numpy(), index=pd.to_datetime(calendar.date)).reindex(pd.to_datetime(dates)).to_numpy()
    weights = np.array(profiles.WEEKDAYS)[weekday]
    weights = np.where(kinds == "holiday", profiles.WEEKDAYS[6] * profiles.HOLIDAY_FACTOR, weights)
    return np.asarray(np.where(kinds == "makeup_workday", profiles.WEEKDAYS[0], weights), dtype=np.float64)


def _active_classes(vocabularies: Vocabularies) -> pd.DataFrame:
    """Second-level classes in force, each with its share of all events."""
    classes = vocabularies["event_class"].rows.to_pandas()
    classes = classes[classes.parent_code.notna() & classes.valid_to.isna()].reset_index(drop=True)
    # assumed: within a class, the kinds listed first are commoner.
    share = 1 / (classes.groupby("parent_code").cumcount() + 2.0)
    share = share / share.groupby(classes.parent_code).transform("sum") * classes.parent_code.map(profiles.CLASS_SHARE)
    active: pd.DataFrame = classes.assign(share=share / share.sum(), limit_hours=classes.limit_hours.astype(int))
    return active


@dataclass(frozen=True)
class Plan:
    """All events by chunk; within a chunk first reports, then repeats.

    `events` has grid (row of the territory), class_number (row of the scene's classes), level and channel (places in LEVELS and CHANNELS),
    kind (place in KINDS), reported (seconds since the first day), reporter (row of members, -1 for others), repeated (row in its chunk
    of the report that it repeats, or -1), origin (row in its chunk of the report whose place or text a false one takes up, or -1),
    said_class and said_level (what its text is about) and sequence (from 1 within sender and day, by time).
    `bounds` are the chunks' first rows and the end.
    """

    events: pd.DataFrame
    bounds: tuple[int, ...]


def plan(scene: Scene, count: int) -> Plan:
    """`count` events, repeats included."""
    repeats = round(count * profiles.NEAR_DUPLICATE_SHARE)
    upto = np.concatenate([[0], np.round(np.cumsum(scene.likelihood.sum(axis=1)) * (count - repeats))]).astype(int)
    parts: list[pd.DataFrame] = []
    first, waiting = 0, 0
    while first < scene.days:
        last = int(np.clip(np.searchsorted(upto, upto[first] + CHUNK_EVENTS, side="right") - 1, first + 1, scene.days))
        # A remnant of less than half a chunk goes with the last one.
        if upto[-1] - upto[last] < CHUNK_EVENTS // 2:
            last = scene.days
        share = (upto[first] / max(upto[-1], 1), upto[last] / max(upto[-1], 1))
        quota = {kind: round(count * of_all * share[1]) - round(count * of_all * share[0]) for kind, of_all in _INJECTED.items()}
        # Where no deadline falls into a chunk, the next one has its bursts.
        quota[BURST] += waiting
        waiting = quota[BURST] if not len(_deadlines(scene, first, last)) else 0
        parts.append(_chunk(stream(scene.seed, f"plan {len(parts)}"), scene, first, last, int(upto[last] - upto[first]), quota))
        first = last
    events = pd.concat(parts, ignore_index=True)
    events["sequence"] = _sequences(scene, events)
    return Plan(events, tuple(int(n) for n in np.concatenate([[0], np.cumsum([len(p) for p in parts])])))


_INJECTED: Mapping[str, float] = {
    NIL_REPORT: profiles.NIL_REPORT_SHARE,
    INSTANT_CLOSE: profiles.INSTANT_CLOSE_SHARE,
    NEAR_DUPLICATE: profiles.NEAR_DUPLICATE_SHARE,
    TELEPORT: profiles.TELEPORT_SHARE,
    OUT_OF_GRID: profiles.OUT_OF_GRID_SHARE,
    BURST: profiles.BURST_SHARE,
    WRONG_CLASS: profiles.WRONG_CLASS_SHARE,
    WRONG_LEVEL: profiles.WRONG_LEVEL_SHARE,
}


def _chunk(random: np.random.Generator, scene: Scene, first: int, last: int, count: int, quota: Mapping[str, int]) -> pd.DataFrame:
    """The events first reported on the days from `first` to before `last`, and their repeats."""
    grid = _drawn(random, scene.grids_upto, count)
    day, class_number = np.divmod(_drawn(random, np.cumsum(scene.likelihood[first:last]), count), scene.likelihood.shape[1])
    level = _drawn(random, np.cumsum(list(profiles.LEVEL_SHARE.values())), count)
    channel = _drawn(random, np.cumsum(list(profiles.CHANNEL_SHARE.values())), count)
    on_patrol = channel == CHANNELS.index("grid")
    second = ((first + day) * 24 + _hours(random, on_patrol)) * 3600 + random.integers(0, 3600, count)
    events = pd.DataFrame(
        {
            "grid": grid.astype(np.int32),
            "class_number": class_number.astype(np.int16),
            "level": level.astype(np.int8),
            "channel": channel.astype(np.int8),
            "kind": np.zeros(count, np.int8),
            "reported": second.astype(np.int32),
            "reporter": _reporters(random, scene, grid, on_patrol),
            "repeated": np.full(count, -1, np.int32),
            "origin": np.full(count, -1, np.int32),
            "said_class": class_number.astype(np.int16),
            "said_level": level.astype(np.int8),
        }
    )
    candidates = random.permutation(np.flatnonzero(on_patrol))
    chosen: dict[str, NDArray[np.int64]] = {}
    for kind in (NIL_REPORT, INSTANT_CLOSE):
        chosen[kind], candidates = candidates[: quota[kind]], candidates[quota[kind] :]
    candidates = candidates[events.reporter.to_numpy()[candidates] >= 0]
    for kind in (TELEPORT, OUT_OF_GRID, BURST, WRONG_CLASS, WRONG_LEVEL):
        chosen[kind], candidates = candidates[: quota[kind]], candidates[quota[kind] :]
    for kind, rows in chosen.items():
        events.loc[rows, "kind"] = KINDS.index(kind)
    _teleport(random, scene, events, chosen[TELEPORT], candidates)
    _from_the_desk(random, scene, events, chosen[OUT_OF_GRID], first, last)
    _crowd(random, scene, events, chosen[BURST], _deadlines(scene, first, last))
    _misjudge(random, scene, events, chosen[WRONG_CLASS], chosen[WRONG_LEVEL])
    return pd.concat([events, _repeats(random, scene, events, quota[NEAR_DUPLICATE])], ignore_index=True)


def _teleport(random: np.random.Generator, scene: Scene, events: pd.DataFrame, rows: NDArray[np.int64], others: NDArray[np.int64]) -> None:
    """Each of the rows becomes the next report of the member who made one of the others, minutes after it."""
    others = others[events.reported.to_numpy()[others] + _TELEPORT_SECONDS[1] < scene.end]
    origin = others[: len(rows)]
    unpaired = rows[len(origin) :]
    rows = rows[: len(origin)]
    events.loc[unpaired, "kind"] = 0
    later = events.reported.to_numpy()[origin] + random.integers(*_TELEPORT_SECONDS, size=len(rows))
    _take_over(events, rows, origin, later)


def _from_the_desk(random: np.random.Generator, scene: Scene, events: pd.DataFrame, rows: NDArray[np.int64], first: int, last: int) -> None:
    """The rows become the reports of a few members who send one text again and again, over some weeks, from outside their grids."""
    origin = _groups(random, rows, _OF_A_HABIT)
    span = min(_HABIT_DAYS, last - first)
    start = random.integers(first, last - span + 1, len(events))[origin]
    day = start + random.integers(0, span, len(rows))
    _take_over(events, rows, origin, day * DAY + events.reported.to_numpy()[rows] % DAY, wording=True)


def _crowd(random: np.random.Generator, scene: Scene, events: pd.DataFrame, rows: NDArray[np.int64], deadlines: NDArray[np.int64]) -> None:
    """The rows become bursts: one member sends one text many times within minutes, on the day of a deadline."""
    if not len(deadlines):
        events.loc[rows, "kind"] = 0
        return
    origin = _groups(random, rows, _OF_A_BURST)
    day = random.choice(deadlines, len(events))[origin]
    start = random.integers(_BURST_HOURS[0] * 3600, _BURST_HOURS[1] * 3600, len(events))[origin]
    gaps = np.cumsum(random.integers(*_BURST_GAP_SECONDS, size=len(rows)))
    begins = np.flatnonzero(np.append(True, origin[1:] != origin[:-1])) if len(rows) else np.zeros(0, np.int64)
    since = gaps - np.repeat(gaps[begins], np.diff(np.append(begins, len(rows))))
    _take_over(events, rows, origin, day * DAY + start + since, wording=True)


def _groups(random: np.random.Generator, rows: NDArray[np.int64], sizes: tuple[int, int]) -> NDArray[np.int64]:
    """The first row of the group that each row is in; groups lie one after the other."""
    ends = np.cumsum(random.integers(*sizes, size=len(rows) // sizes[0] + 1))
    # Rows that do not make a whole group go with the last one.
    ends = ends[ends <= max(len(rows) - sizes[0], 0)]
    return rows[np.concatenate([[0], ends])[np.searchsorted(ends, np.arange(len(rows)), side="right")]] if len(rows) else rows


def _take_over(
    events: pd.DataFrame, rows: NDArray[np.int64], origin: NDArray[np.int64], reported: NDArray[np.int64], *, wording: bool = False
) -> None:
    taken = ["grid", "reporter", *(["class_number", "said_class", "level", "said_level"] if wording else [])]
    for column in taken:
        values = events[column].to_numpy(copy=True)
        values[rows] = values[origin]
        events[column] = values
    events.loc[rows, "reported"] = reported.astype(np.int32)
    events.loc[rows, "origin"] = origin.astype(np.int32)


def _misjudge(
    random: np.random.Generator, scene: Scene, events: pd.DataFrame, wrong_class: NDArray[np.int64], wrong_level: NDArray[np.int64]
) -> None:
    """The text says one thing, the class or the level another: a class of another first level, a level two away."""
    said = events.said_class.to_numpy()[wrong_class]
    first_level = scene.classes.code.str[:2].to_numpy()
    drawn = _drawn(random, np.cumsum(scene.classes.share.to_numpy()), 8 * len(wrong_class)).reshape(-1, 8)
    # Eight draws: the first that has another first level, and where none has, a class that is far in the list.
    differs = first_level[drawn] != first_level[said][:, None]
    fallback = (said + len(first_level) // 2) % len(first_level)
    found = np.where(differs.any(axis=1), drawn[np.arange(len(said)), differs.argmax(axis=1)], fallback)
    events.loc[wrong_class, "class_number"] = found.astype(np.int16)
    severe = random.random(len(wrong_level)) < 0.5
    level, said_level = np.where(severe, 0, 2), np.where(severe, 2, 0)
    events.loc[wrong_level, "level"], events.loc[wrong_level, "said_level"] = level.astype(np.int8), said_level.astype(np.int8)


def _deadlines(scene: Scene, first: int, last: int) -> NDArray[np.int64]:
    """The days on which reports are counted, of those from `first` to before `last`."""
    days = scene.first_day + np.arange(first, last).astype("timedelta64[D]")
    of_month = (days - days.astype("datetime64[M]")).astype(int) + 1
    tomorrow = days + np.timedelta64(1, "D")
    is_last = (tomorrow - tomorrow.astype("datetime64[M]")).astype(int) == 0
    return np.flatnonzero((of_month == _MIDDLE_OF_MONTH) | is_last) + first


def _drawn(random: np.random.Generator, upto: NDArray[np.float64], count: int) -> NDArray[np.int64]:
    """Places in a table of likelihoods added up."""
    found: NDArray[np.int64] = np.minimum(np.searchsorted(upto, random.random(count) * upto[-1], side="right"), len(upto) - 1)
    return found


def _hours(random: np.random.Generator, on_patrol: NDArray[np.bool_]) -> NDArray[np.int64]:
    everybody = np.array(profiles.HOURS)
    patrol = np.where(np.isin(np.arange(24), profiles.PATROL_HOURS), everybody, 0)
    return np.where(on_patrol, _drawn(random, np.cumsum(patrol), len(on_patrol)), _drawn(random, np.cumsum(everybody), len(on_patrol)))


def _reporters(random: np.random.Generator, scene: Scene, grid: NDArray[np.int64], on_patrol: NDArray[np.bool_]) -> NDArray[np.int32]:
    """A serving member of the grid's team, by how much who reports."""
    upto = np.concatenate([[0.0], np.cumsum(scene.members.reporting_weight.to_numpy())])
    edges = np.searchsorted(scene.members.grid.to_numpy(), np.arange(len(scene.territory.grids) + 1))
    low, high = upto[edges[grid]], upto[edges[grid + 1]]
    picked = np.searchsorted(upto, low + random.random(len(grid)) * (high - low), side="right") - 1
    return np.where(on_patrol & (high > low), picked, -1).astype(np.int32)


def _repeats(random: np.random.Generator, scene: Scene, events: pd.DataFrame, count: int) -> pd.DataFrame:
    """Reports that say again what the same person reported from the same place up to three days before."""
    nameless = events.channel.isin([CHANNELS.index(c) for c in _SILENT_CHANNELS])
    nameless |= (events.channel == CHANNELS.index("grid")) & (events.reporter < 0)
    candidates = np.flatnonzero((events.kind == 0) & ~nameless & (events.reported < scene.end - _REPEAT_SECONDS[1]))
    chosen = np.sort(random.choice(candidates, size=min(count, len(candidates)), replace=False))
    repeats = events.iloc[chosen].copy()
    repeats["kind"], repeats["repeated"] = np.int8(KINDS.index(NEAR_DUPLICATE)), chosen.astype(np.int32)
    repeats["reported"] += random.integers(*_REPEAT_SECONDS, size=len(chosen)).astype(np.int32)
    return repeats


def _sequences(scene: Scene, events: pd.DataFrame) -> NDArray[np.int32]:
    """1, 2, 3 … within each sender and day, by time of report: the same local ids at every sender, as real platforms have them."""
    sender = scene.territory.grids.sender_code.astype("category").cat.codes.to_numpy()[events.grid]
    time = sender.astype(np.int64) * (2 * scene.end) + events.reported.to_numpy()
    order = np.argsort(time, kind="stable")
    # Whole days lie between two senders, so this tells senders apart too.
    day = time[order] // DAY
    starts = np.flatnonzero(np.concatenate([[True], day[1:] != day[:-1]]))
    sequence = np.empty(len(events), np.int32)
    sequence[order] = np.arange(len(events)) - np.repeat(starts, np.diff(np.concatenate([starts, [len(events)]]))) + 1
    return sequence
