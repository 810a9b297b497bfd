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
KINDS = ("", NIL_REPORT, NEAR_DUPLICATE, INSTANT_CLOSE)
CHANNELS, LEVELS = tuple(profiles.CHANNEL_SHARE), tuple(profiles.LEVEL_SHARE)
DAY = 86400
# A repeat comes within three days of the report that it repeats.
_REPEAT_SECONDS = (20 * 60, 70 * 3600)
_SILENT_CHANNELS = ("video", "department")


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
    of the report that it repeats, or -1) and sequence (from 1 within sender and day, by time). `bounds` are the chunks' first rows and the end.
    """

    events: pd.DataFrame
    bounds: tuple[int, ...]


def plan(scene: Scene, count: int) -> Plan:
    """`count` events, repeats included."""
    repeats = round(count * profiles.NEAR_DUPLICATE_SHARE)
    upto = np.concatenate([[0], np.round(np.cumsum(scene.likelihood.sum(axis=1)) * (count - repeats))]).astype(int)
    parts: list[pd.DataFrame] = []
    first = 0
    while first < scene.days:
        last = int(np.clip(np.searchsorted(upto, upto[first] + CHUNK_EVENTS, side="right") - 1, first + 1, scene.days))
        # A remnant of less than half a chunk goes with the last one.
        if upto[-1] - upto[last] < CHUNK_EVENTS // 2:
            last = scene.days
        share = (upto[first] / max(upto[-1], 1), upto[last] / max(upto[-1], 1))
        quota = {kind: round(count * of_all * share[1]) - round(count * of_all * share[0]) for kind, of_all in _INJECTED.items()}
        parts.append(_chunk(stream(scene.seed, f"plan {len(parts)}"), scene, first, last, int(upto[last] - upto[first]), quota))
        first = last
    events = pd.concat(parts, ignore_index=True)
    events["sequence"] = _sequences(scene, events)
    return Plan(events, tuple(int(n) for n in np.concatenate([[0], np.cumsum([len(p) for p in parts])])))


_INJECTED: Mapping[str, float] = {
    NIL_REPORT: profiles.NIL_REPORT_SHARE,
    INSTANT_CLOSE: profiles.INSTANT_CLOSE_SHARE,
    NEAR_DUPLICATE: profiles.NEAR_DUPLICATE_SHARE,
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
        }
    )
    candidates = random.permutation(np.flatnonzero(on_patrol))
    taken = 0
    for kind in (NIL_REPORT, INSTANT_CLOSE):
        events.loc[candidates[taken : taken + quota[kind]], "kind"] = KINDS.index(kind)
        taken += quota[kind]
    return pd.concat([events, _repeats(random, scene, events, quota[NEAR_DUPLICATE])], ignore_index=True)


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
