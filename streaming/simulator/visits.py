"""Who calls on whom: visits that a task asks for, the daily rounds of some members, and visits that never were.

The visits of all members would be tens of millions a year. Instead of thinning out everybody's, a panel of members is drawn whose rounds are whole,
so that a member's day, route and texts can be judged.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import deliveries, dirt
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import Feed, arranged
from streaming.simulator.plan import day_weights
from streaming.simulator.tasks import (
    BURST,
    KM_PER_DEGREE,
    VISITED,
    Work,
    at_home,
    close_together,
    duty_members,
    households,
    on_the_way,
    one_after_the_other,
    plan_types,
    positions,
)
from streaming.simulator.texts import Grammar, Rows, Texts
from streaming.simulator.truth import Truth
from streaming.simulator.visit_texts import phrases

MODEL = "suspected_fake_visit"
# Too many visits of a member in a day.
IMPOSSIBLE_COUNT = "impossible_count"
# Two visits of a member too far apart for the time between them.
IMPOSSIBLE_SPEED = "impossible_speed"
# One text for many subjects.
IDENTICAL_PAYLOAD = "identical_payload"
# A subject who had died or moved away before.
DEAD_OR_MOVED = "dead_or_moved_subject"
# assumed, as all figures here: rounds of panel members for each event, days on which a panel member goes round, visits of such a day (log-normal).
_ROUNDS_PER_EVENT, _DAYS_OF_A_MEMBER = 0.05, 14
_MEDIAN_OF_A_DAY, _SPREAD_OF_A_DAY, _MOST_OF_A_DAY = 4.5, 0.55, 22
_SUBJECT_SHARE = {"household": 0.36, "grid_patrol": 0.26, "key_person": 0.20, "key_place": 0.14, "enterprise": 0.04}
_PROBLEM_SHARE = {"household": 0.04, "grid_patrol": 0.10, "key_person": 0.04, "key_place": 0.08, "enterprise": 0.08}
_MEDIAN_STAY = {"household": 9, "grid_patrol": 35, "key_person": 14, "key_place": 16, "enterprise": 22}  # minutes
_NO_POSITION_SHARE, _AMENDED_SHARE, _DELETED_SHARE = 0.05, 0.01, 0.003
_COUNT_SHARE, _COUNT_OF_A_DAY = 0.006, (60, 121)
_SPEED_SHARE, _FARTHER_THAN_KM, _SOONER_THAN_SECONDS = 0.003, 25.0, 1200
_IDENTICAL_SHARE, _IDENTICAL_RUN = 0.012, (8, 21)
_GONE_SHARE, _GONE_VISITS = 0.003, (5, 10)
_EACH_KIND_SHARE, _REPEATED_SHARE, _LATE_SHARE = 0.0003, 0.002, 0.002
_DAY = 86400
_PARTS_OF_DAY = ((0, 9, "清早"), (9, 12, "上午"), (12, 14, "中午"), (14, 18, "下午"), (18, 24, "晚上"))

_COLUMNS = (
    "visit_id", "member_id", "subject_type", "subject_id", "region_code", "grid_id", "started_at", "ended_at", "reported_at", "longitude", "latitude",
    "content", "has_problem", "origin_type", "origin_id", "correlation_id", "source_version", "changed_at",
)  # fmt: skip
_DIRT = (
    Dirt("wrong_type", "type", "has_problem", {"has_problem": "未发现"}),
    Dirt("wrong_type", "type", "started_at", {"started_at": "下午三点"}),
    Dirt("unknown_code", "code_list", "subject_type", {"subject_type": "重点人员"}),
    Dirt("missing_required", "required", "member_id", {"member_id": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": dirt.ELSEWHERE}),
    Dirt("out_of_range_position", "minimum", "longitude", {"longitude": 12.0155, "latitude": 30.27}),
    Dirt("broken_rule", "ended_after_started", None, {"ended_at": "2020-01-01 08:00:00"}),
    Dirt("broken_rule", "origin_in_pairs", None, {"origin_type": "task_object", "origin_id": None}),
    Dirt("unknown_column", "unknown_column", "weather", {"weather": "小雨"}),
    Dirt("broken_encoding", "encoding", None, spoil="gb18030"),
)  # fmt: skip


def feed(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, work: Work, truth: Truth) -> Feed:
    """The visits of each month as JSON lines, some sent again with a better text, a few taken back; notes in `truth` what never was."""
    visits = make(random, ground, vocabularies, work)
    planted = visits[visits.kind != ""]
    truth.add(MODEL, planted.kind, planted.sender_code, planted.visit_id, planted.pair_visit_id)
    rows = visits.assign(
        member_id=ground.members.member_id.to_numpy(object)[visits.member],
        region_code=ground.territory.grids.region_code.to_numpy(object)[visits.grid],
        grid_id=ground.territory.grids.grid_id.to_numpy(object)[visits.grid],
        source_version=1,
        changed_at=visits.reported_at,
    )
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    plain = (visits.kind == "").to_numpy() & ~visits.visit_id.isin(planted.pair_visit_id.dropna()).to_numpy()
    fate, later = random.random(len(rows)), pd.to_timedelta(random.integers(600, 3 * _DAY, len(rows)), unit="s")
    amended = rows[plain & (fate < _AMENDED_SHARE) & (rows.changed_at + later < end).to_numpy()]
    amended = amended.assign(
        source_version=2, changed_at=amended.changed_at + later[amended.index], content=amended.content + "（补充：照片已上传。）"
    )
    gone = rows[plain & (fate > 1 - _DELETED_SHARE) & (rows.changed_at + later < end).to_numpy()]
    gone = gone.assign(source_version=2, changed_at=gone.changed_at + later[gone.index], _op="delete")
    sent = pd.concat([rows, amended], ignore_index=True) if len(amended) else rows
    lines = deliveries.lined(deliveries.placed(sent, sent.sender_code, "visit", "jsonl"), _COLUMNS)
    lines = dirt.delayed(random, lines, pd.Series(random.random(len(lines)) < 0.5), max(2, round(len(lines) * _LATE_SHARE)))
    good = lines[lines["_kind"].isna()]
    parts = [
        lines,
        dirt.spoiled_lines(random, good, _DIRT, max(1, round(len(lines) * _EACH_KIND_SHARE)), "visit_id"),
        dirt.repeated(random, good, max(2, round(len(lines) * _REPEATED_SHARE))),
        deliveries.lined(deliveries.placed(gone, gone.sender_code, "visit", "jsonl"), ["visit_id", "_op", "source_version", "changed_at"]),
    ]
    return arranged("visit", [part for part in parts if len(part)], pa.schema([]))


def make(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, work: Work) -> pd.DataFrame:
    """All visits, by sender and time of report.

    Columns: sender_code, visit_id, member and grid (rows), subject_type, subject_id, started_at, ended_at, reported_at, longitude, latitude, content,
    has_problem, origin_type, origin_id, correlation_id, kind (what was injected, or empty), pair_visit_id.
    """
    asked = _asked_for(ground, work)
    duty = duty_members(ground)
    rounds = _rounds(random, ground, vocabularies, duty)
    size = len(asked) + len(rounds)
    crowded = _crowded_days(random, ground, duty, max(1, round(size * _COUNT_SHARE / np.mean(_COUNT_OF_A_DAY))))
    gone = _to_who_is_gone(random, ground, duty, max(8, round(size * _GONE_SHARE / np.mean(_GONE_VISITS))))
    # A member is at one place at a time: what was asked for and what is injected goes before the rounds of that day.
    busy = pd.concat([asked, crowded, gone], ignore_index=True)
    busy = busy[~(busy.kind.isin(["", DEAD_OR_MOVED]) & _on_days_of(busy, crowded))]
    visits: pd.DataFrame = pd.concat([busy, rounds[~_on_days_of(rounds, busy)]], ignore_index=True)
    for column in ("started_at", "ended_at", "reported_at"):
        visits[column] = visits[column].to_numpy().astype("datetime64[s]")
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    visits = visits[visits.reported_at < end]
    visits["sender_code"] = ground.territory.grids.sender_code.to_numpy(object)[visits.grid]
    visits = visits.sort_values(["sender_code", "reported_at", "member", "subject_id"], kind="stable", ignore_index=True)
    visits["visit_id"] = deliveries.numbered("ZF", visits.reported_at, visits.sender_code, digits=8)
    visits["has_problem"] = random.random(len(visits)) < visits.subject_type.map(_PROBLEM_SHARE).to_numpy(dtype=float)
    visits.loc[visits.kind != "", "has_problem"] = False
    visits["content"] = _contents(random, ground, visits)
    visits["pair_visit_id"] = None
    _leap(random, ground, visits)
    _repeat_texts(random, visits)
    unknown = (random.random(len(visits)) < _NO_POSITION_SHARE) & ~_needs_position(visits)
    for axis in ("longitude", "latitude"):
        visits[axis] = np.where(unknown, np.nan, np.round(visits[axis].to_numpy(dtype=float), 6))
    return visits


def _frame(member: NDArray[np.int64], grid: NDArray[np.int64], started: NDArray[np.int64], stay: NDArray[np.int64], **others: object) -> pd.DataFrame:
    """Visits from seconds since 1970; `others` are columns."""
    columns = {"member": member, "grid": grid, "started_at": started.astype("datetime64[s]"), "ended_at": (started + stay).astype("datetime64[s]")}
    return pd.DataFrame(columns | {"kind": "", "origin_type": None, "origin_id": None, "correlation_id": None} | others)


def _asked_for(ground: Ground, work: Work) -> pd.DataFrame:
    """The visits by which objects of tasks were done."""
    objects, tasks = work.objects, work.tasks
    visited = objects.task.map(tasks.plan.map(plan_types())).isin(VISITED)
    done = objects[visited & objects.finished_at.notna()]
    return pd.DataFrame(
        {
            "member": done.member.to_numpy(),
            "grid": done.grid.to_numpy(),
            "started_at": done.started_at.to_numpy().astype("datetime64[s]"),
            "ended_at": done.ended_at.to_numpy().astype("datetime64[s]"),
            "reported_at": done.finished_at.to_numpy().astype("datetime64[s]"),
            "subject_type": done.subject_type.to_numpy(object),
            "subject_id": done.subject_id.to_numpy(object),
            "longitude": done.longitude.to_numpy(dtype=float),
            "latitude": done.latitude.to_numpy(dtype=float),
            "kind": np.where(done.lot == BURST, BURST, ""),
            "origin_type": "task_object",
            "origin_id": done.object_id.to_numpy(object),
            "correlation_id": tasks.correlation_id.to_numpy(object)[done.task],
        }
    )


def _rounds(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, duty: NDArray[np.int64]) -> pd.DataFrame:
    """The daily rounds of the panel."""
    days = max(1, round(len(ground.events) * _ROUNDS_PER_EVENT))
    grids = np.flatnonzero(duty >= 0)
    panel = random.choice(grids, size=min(len(grids), max(6, round(days / _DAYS_OF_A_MEMBER))), replace=False)
    weights = day_weights(vocabularies, ground.first_day, ground.days)
    pairs = pd.DataFrame(
        {"grid": panel[random.integers(len(panel), size=days)], "day": random.choice(ground.days, size=days, p=weights / weights.sum())}
    ).drop_duplicates()
    count = np.clip(np.round(random.lognormal(np.log(_MEDIAN_OF_A_DAY), _SPREAD_OF_A_DAY, len(pairs))), 1, _MOST_OF_A_DAY).astype(int)
    rows = pairs.loc[pairs.index.repeat(count)].sort_values(["grid", "day"], kind="stable", ignore_index=True)
    grid, day = rows.grid.to_numpy(), rows.day.to_numpy()
    midnight = ground.first_day.astype("datetime64[s]").astype(np.int64) + day * _DAY
    subjects = _subjects(random, ground, grid, midnight)
    stay = _stays(random, subjects.subject_type)
    of_day = pd.Series(grid * 100_000 + day)
    begin = midnight + (7.5 * 3600 + random.beta(1.2, 1.6, len(rows)) * 10 * 3600).astype(np.int64)
    order = np.lexsort((begin, of_day.to_numpy()))
    way = random.integers(240, 900, len(rows))
    way[order] = np.maximum(way[order], on_the_way(*(values.to_numpy()[order] for values in (of_day, subjects.longitude, subjects.latitude))))
    started = np.empty(len(rows), np.int64)
    started[order] = one_after_the_other(of_day.iloc[order], begin[order], (stay + way)[order])
    frame = _frame(duty[grid], grid, started, stay)
    frame = pd.concat([frame, subjects], axis=1)
    # Who would go on into the night leaves the rest.
    return _reported(random, frame[(started - midnight) < 21 * 3600])


def _reported(random: np.random.Generator, visits: pd.DataFrame) -> pd.DataFrame:
    """Sent from the doorstep mostly, now and then in the evening."""
    delay = np.where(random.random(len(visits)) < 0.9, random.integers(20, 280, len(visits)), random.integers(600, 2 * 3600, len(visits)))
    return visits.assign(reported_at=visits.ended_at + pd.to_timedelta(delay, unit="s"))


def _stays(random: np.random.Generator, subject_type: pd.Series) -> NDArray[np.int64]:
    median = subject_type.map(_MEDIAN_STAY).to_numpy(dtype=float) * 60
    return np.clip(median * random.lognormal(0, 0.5, len(subject_type)), 120, 3 * 3600).astype(np.int64)


def _subjects(random: np.random.Generator, ground: Ground, grid: NDArray[np.int64], midnight: NDArray[np.int64]) -> pd.DataFrame:
    """Whom or what each visit in a grid is to, and where that is: subject_type, subject_id, longitude, latitude; only what is there on that day."""
    grids = ground.territory.grids
    kind = deliveries.drawn(random, _SUBJECT_SHARE, len(grid))
    longitude, latitude = positions(random, ground, grid)
    subject = households(random, ground, grid)
    residents = ground.residents
    listed = {
        "key_person": (residents.key_persons, "key_person_id", "listed_on", ["died_on", "moved_on", "released_on"]),
        "key_place": (residents.key_places, "key_place_id", "listed_on", ["closed_on"]),
        "enterprise": (residents.enterprises.sort_values("grid", kind="stable"), "uscc", "established_on", ["closed_on"]),
    }
    for name, (table, key, since, ends) in listed.items():
        rows = np.flatnonzero(kind == name)
        of_grid = table.grid.to_numpy()
        first, behind = np.searchsorted(of_grid, grid[rows], side="left"), np.searchsorted(of_grid, grid[rows], side="right")
        which = first + np.floor(random.random(len(rows)) * (behind - first)).astype(int)
        some = behind > first
        chosen = table.iloc[np.where(some, which, 0)]
        at = midnight[rows].astype("datetime64[s]")
        there = some & (chosen[since].to_numpy() <= at)
        for end in ends:
            there &= ~(chosen[end].to_numpy() <= at + np.timedelta64(1, "D"))
        place = chosen if "longitude" in chosen else residents.addresses.iloc[chosen.address]
        subject[rows[there]] = chosen[key].to_numpy(object)[there]
        longitude[rows[there]], latitude[rows[there]] = at_home(random, ground, grid[rows[there]], place[there])
        kind[rows[~there]] = "household"
    patrol = np.flatnonzero(kind == "grid_patrol")
    subject[patrol] = grids.grid_id.to_numpy(object)[grid[patrol]]
    return pd.DataFrame({"subject_type": kind, "subject_id": subject, "longitude": longitude, "latitude": latitude})


def _crowded_days(random: np.random.Generator, ground: Ground, duty: NDArray[np.int64], count: int) -> pd.DataFrame:
    """Days with more visits than anybody can make."""
    chosen = random.choice(np.flatnonzero(duty >= 0), size=count, replace=False)
    size = random.integers(*_COUNT_OF_A_DAY, size=count)
    grid = np.repeat(chosen, size)
    day = np.repeat(random.integers(ground.days, size=count), size)
    midnight = ground.first_day.astype("datetime64[s]").astype(np.int64) + day * _DAY
    number = np.arange(len(grid)) - np.repeat(np.cumsum(size) - size, size)
    # From half past seven on, spread evenly over thirteen hours.
    started = midnight + 27_000 + (number * (13 * 3600 / np.repeat(size, size))).astype(np.int64) + random.integers(0, 60, len(grid))
    longitude, latitude = close_together(random, ground, grid)
    subject = households(random, ground, grid)
    others = {"subject_type": "household", "subject_id": subject, "longitude": longitude, "latitude": latitude, "kind": IMPOSSIBLE_COUNT}
    return _reported(random, _frame(duty[grid], grid, started, random.integers(60, 240, len(grid)), **others))


def _to_who_is_gone(random: np.random.Generator, ground: Ground, duty: NDArray[np.int64], count: int) -> pd.DataFrame:
    """Visits to key persons two days to two months after they died or moved away."""
    persons = ground.residents.key_persons
    left = persons.died_on.fillna(persons.moved_on)
    last = (ground.first_day + np.timedelta64(ground.days - 1, "D")).astype("datetime64[s]")
    possible = np.flatnonzero((left.notna() & (left < last - np.timedelta64(5, "D"))).to_numpy() & (duty[persons.grid] >= 0))
    chosen = np.sort(random.choice(possible, size=min(count, len(possible)), replace=False))
    rows = np.repeat(chosen, random.integers(*_GONE_VISITS, size=len(chosen)))
    of, gone_on = persons.iloc[rows], left.iloc[rows].to_numpy().astype("datetime64[D]")
    most = np.minimum((last.astype("datetime64[D]") - gone_on).astype(int), 60)
    day = gone_on + (2 + random.random(len(rows)) * (most - 2)).astype(int).astype("timedelta64[D]")
    started = day.astype("datetime64[s]").astype(np.int64) + random.integers(9 * 3600, 18 * 3600, len(rows))
    grid = of.grid.to_numpy()
    frame = _frame(duty[grid], grid, started, random.integers(300, 1200, len(rows)), subject_type="key_person", kind=DEAD_OR_MOVED)
    longitude, latitude = at_home(random, ground, grid, of)
    frame = frame.assign(subject_id=of.key_person_id.to_numpy(object), longitude=longitude, latitude=latitude)
    return _reported(random, frame)


def _on_days_of(visits: pd.DataFrame, others: pd.DataFrame) -> NDArray[np.bool_]:
    """Which visits fall on a day on which their member has one of the others."""
    return np.isin(_member_days(visits), _member_days(others))


def _member_days(visits: pd.DataFrame) -> NDArray[np.int64]:
    """One number for each member and day."""
    day = visits.started_at.to_numpy().astype("datetime64[D]").astype(np.int64)
    return visits.member.to_numpy().astype(np.int64) * 100_000 + day


def _contents(random: np.random.Generator, ground: Ground, visits: pd.DataFrame) -> Texts:
    grammar = Grammar(random, phrases()["rules"])
    hour = visits.started_at.dt.hour.to_numpy()
    part_of_day = np.empty(len(visits), object)
    for start, end, name in _PARTS_OF_DAY:
        part_of_day[(hour >= start) & (hour < end)] = name
    given: dict[str, Texts] = {"village": ground.territory.grids.village.to_numpy(object)[visits.grid], "part_of_day": part_of_day}
    for symbol, rule in (("opening", "opening"), ("fine", "fine"), ("fine_again", "fine"), ("bad", "bad")):
        given[symbol] = np.full(len(visits), "", object)
        for kind, rows in visits.groupby("subject_type", sort=True).indices.items():
            at: Rows = np.asarray(rows, np.intp)
            given[symbol][at] = grammar.write(f"{rule}_{kind}", given, at)
    text = np.full(len(visits), "", object)
    for symbol, wanted in (("good_visit", ~visits.has_problem), ("bad_visit", visits.has_problem)):
        at = np.flatnonzero(wanted.to_numpy())
        text[at] = grammar.write(symbol, given, at)
    return text


def _leap(random: np.random.Generator, ground: Ground, visits: pd.DataFrame) -> None:
    """Some members' last visit of a day is moved out of reach of the one before."""
    order = visits.sort_values(["member", "started_at"], kind="stable").index.to_numpy()
    member, day = visits.member.to_numpy()[order], visits.started_at.to_numpy()[order].astype("datetime64[D]")
    plain = (visits.kind == "").to_numpy()[order]
    gap = (visits.started_at.to_numpy()[order][1:] - visits.ended_at.to_numpy()[order][:-1]).astype("timedelta64[s]").astype(np.int64)
    same = (member[1:] == member[:-1]) & (day[1:] == day[:-1])
    last = np.append(~same[1:], True)
    possible = np.flatnonzero(same & last & plain[1:] & plain[:-1] & (gap >= 0) & (gap <= _SOONER_THAN_SECONDS)) + 1
    # Who is asked for by a task or patrols the grid could not be elsewhere; a household is only a number.
    possible = possible[(visits.subject_type.to_numpy(object)[order[possible]] == "household")]
    chosen = np.sort(random.choice(possible, size=min(len(possible), max(8, round(len(visits) * _SPEED_SHARE))), replace=False))
    grids = ground.territory.grids
    x, y = ((grids[low] + grids[high]).to_numpy() / 2 for low, high in (("west", "east"), ("south", "north")))
    sender = pd.factorize(grids.sender_code)[0]
    rows = order[chosen]
    own = visits.grid.to_numpy()[rows]
    candidates = random.integers(len(grids), size=(len(rows), 64))
    shrink = np.cos(np.radians(30.3))
    distance = KM_PER_DEGREE * np.hypot((x[candidates] - x[own][:, None]) * shrink, y[candidates] - y[own][:, None])
    far = (distance > _FARTHER_THAN_KM) & (sender[candidates] == sender[own][:, None])
    found = far.any(axis=1)
    to = candidates[np.arange(len(rows)), far.argmax(axis=1)]
    moved = rows[found]
    visits.loc[moved, "longitude"], visits.loc[moved, "latitude"] = x[to[found]], y[to[found]]
    visits.loc[moved, "kind"] = IMPOSSIBLE_SPEED
    visits.loc[moved, "pair_visit_id"] = visits.visit_id.to_numpy(object)[order[chosen - 1]][found]


def _repeat_texts(random: np.random.Generator, visits: pd.DataFrame) -> None:
    """Some members write one stock text on every subject of a stretch of their visits."""
    plain = visits[(visits.kind == "") & ~visits.has_problem & ~visits.visit_id.isin(visits.pair_visit_id.dropna())]
    plain = plain.sort_values(["member", "started_at"], kind="stable")
    first = plain.drop_duplicates(["member", "subject_id"])
    many = first.groupby("member").cumcount(ascending=False).to_numpy() + 1
    starts = np.flatnonzero((first.groupby("member").cumcount() == 0).to_numpy() & (many >= _IDENTICAL_RUN[0]))
    wanted = max(1, round(len(visits) * _IDENTICAL_SHARE / np.mean(_IDENTICAL_RUN)))
    stock = np.array(phrases()["stock"], object)
    chosen = np.sort(random.choice(starts, size=min(wanted, len(starts)), replace=False))
    for start, length, text in zip(
        chosen, random.integers(*_IDENTICAL_RUN, size=len(chosen)), stock[random.integers(len(stock), size=len(chosen))], strict=True
    ):
        run = first.index[start : start + min(int(length), int(many[start]))]
        visits.loc[run, "content"], visits.loc[run, "kind"] = text, IDENTICAL_PAYLOAD
        visits.loc[run[1:], "pair_visit_id"] = visits.visit_id[run[0]]


def _needs_position(visits: pd.DataFrame) -> NDArray[np.bool_]:
    """Without its two positions a leap could not be seen."""
    leaps = visits.kind == IMPOSSIBLE_SPEED
    return np.asarray(leaps | visits.visit_id.isin(visits.pair_visit_id[leaps]), dtype=np.bool_)
