"""Tasks of the province and the cities: what is asked, whom it is about, who does it when, and what comes back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import deliveries, dirt, profiles
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import PROVINCE, Ground
from streaming.simulator.parcels import Feed, arranged
from streaming.simulator.texts import Grammar, Texts, kept
from streaming.simulator.visit_texts import phrases

Axis: TypeAlias = NDArray[np.float64]
SOURCE = "province_platform"
BURST, STEADY = "burst_before_deadline", "steady"
# assumed: real tasks list millions of objects; like the events these are a sample that --events scales.
_OBJECTS_PER_EVENT = 0.2
# Of all objects, those that a member who has many puts off to the last hours; twice as many who have as many are steady.
_BURST_SHARE = 0.012
_BURST_OBJECTS = (25, 46)
_BURST_SECONDS = 3 * 3600
# assumed from here on.
_LATE_SHARE, _MISSED_SHARE, _EXTENDED_SHARE, _CANCELLED_SHARE, _FINISHED_FROM = 0.03, 0.04, 0.08, 0.03, 0.94
_FROM_FINDING_SHARE = 0.15
_NO_POSITION_SHARE = 0.08
_EVERY_VERSION_SHARE = 0.1
_EACH_KIND_SHARE, _REPEATED_SHARE = 0.0003, 0.002
_RAISED_WITHIN = np.timedelta64(3, "D")
_DAY = 86400
KM_PER_DEGREE = 111.32
# assumed: on foot, by electric bicycle or by car, with lights and stairs.
_KM_PER_HOUR = 20.0
_HOURS = np.array(profiles.HOURS) * np.isin(np.arange(24), range(8, 21))


@dataclass(frozen=True)
class _Plan:
    """A task that comes again: `every` so many months, from day `start` of the period on, for `window` days; its share of all objects."""

    type_code: str
    subject: str
    by_city: bool
    period: str
    every: int
    start: int
    window: int
    share: float
    name: str
    text: str
    results: str = "visit"


_PLANS = (
    _Plan("person_visit", "key_person", False, "monthly", 1, 0, 24, 0.28, "重点人员走访", "逐人见面核实近况，发现异常即转事件"),
    _Plan("place_inspection", "key_place", False, "monthly", 1, 2, 26, 0.20, "重点场所检查", "对照清单逐项检查，隐患当场交办"),
    _Plan("verification", "household", False, "quarterly", 3, 3, 30, 0.10, "房屋与人口信息核查", "核对在册信息，有误即更正", "data"),
    _Plan("collection", "household", False, "quarterly", 3, 0, 38, 0.14, "家庭成员信息采集", "入户采集新增和变动人员信息", "data"),
    _Plan("publicity", "household", False, "monthly", 1, 4, 20, 0.12, "防诈骗和防火宣传", "入户宣传，发放资料并登记", "publicity"),
    _Plan("place_inspection", "enterprise", True, "monthly", 1, 6, 20, 0.08, "沿街商铺和企业检查", "检查用电用气和消防通道"),
    _Plan("collection", "household", True, "once", 3, 8, 21, 0.08, "出租房屋专项采集", "登记承租人并核对房东", "data"),
)
# Types whose objects are done on a visit.
VISITED = ("person_visit", "place_inspection", "collection")
_RESULT_SHARE = {
    "visit": {"normal": 0.90, "abnormal": 0.05, "absent": 0.03, "not_found": 0.012, "refused": 0.008},
    "data": {"normal": 0.70, "corrected": 0.22, "abnormal": 0.01, "absent": 0.05, "not_found": 0.015, "refused": 0.005},
    "publicity": {"normal": 0.96, "abnormal": 0.003, "absent": 0.03, "refused": 0.007},
}
_TASK_COLUMNS = (
    "task_id", "task_name", "type_code", "region_code", "issuer_organisation", "period_code", "target_count", "description", "issued_at",
    "deadline_at", "finished_at", "state_code", "origin_type", "origin_id", "correlation_id", "source_version", "changed_at",
)  # fmt: skip
_OBJECT = pa.schema(
    [
        ("object_id", pa.string()),
        ("task_sender_code", pa.string()),
        ("task_id", pa.string()),
        ("subject_type", pa.string()),
        ("subject_id", pa.string()),
        ("region_code", pa.string()),
        ("grid_id", pa.string()),
        ("member_id", pa.string()),
        ("assigned_at", pa.timestamp("us")),
        ("deadline_at", pa.timestamp("us")),
        ("finished_at", pa.timestamp("us")),
        ("state_code", pa.string()),
        ("correlation_id", pa.string()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_RESULT = pa.schema(
    [
        ("result_id", pa.string()),
        ("object_id", pa.string()),
        ("member_id", pa.string()),
        ("region_code", pa.string()),
        ("happened_at", pa.timestamp("s")),
        ("reported_at", pa.timestamp("s")),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        ("result_code", pa.string()),
        ("is_abnormal", pa.bool_()),
        ("raised_event_id", pa.string()),
        ("note", pa.string()),
        ("correlation_id", pa.string()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("s")),
    ]
)
_TASK_DIRT = (
    Dirt("wrong_type", "type", "target_count", {"target_count": "全部"}),
    Dirt("unknown_code", "code_list", "type_code", {"type_code": "走访"}),
    Dirt("missing_required", "required", "task_name", {"task_name": None}),
    Dirt("broken_rule", "deadline_after_issued", None, {"deadline_at": "2020-01-01 18:00:00"}),
)
# Parquet is typed: it cannot hold text for a time.
_OBJECT_DIRT = (
    Dirt("unknown_code", "code_list", "state_code", {"state_code": "完成"}),
    Dirt("missing_required", "required", "task_id", {"task_id": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": dirt.ELSEWHERE}),
    Dirt("broken_rule", "done_has_time", None, {"state_code": "done", "finished_at": None}),
)
_RESULT_DIRT = (
    Dirt("wrong_type", "type", "is_abnormal", {"is_abnormal": "没有"}),
    Dirt("unknown_code", "code_list", "result_code", {"result_code": "无异常"}),
    Dirt("missing_required", "required", "object_id", {"object_id": None}),
    Dirt("out_of_range_position", "maximum", "latitude", {"longitude": 120.155, "latitude": 302.7}),
    Dirt("broken_rule", "abnormal_as_coded", None, {"result_code": "normal", "is_abnormal": "true", "raised_event_id": None}),
)


@dataclass(frozen=True)
class Work:
    """Tasks, their objects and what came back; rows refer to each other by number.

    tasks: one row a task: task_id, plan (row of the plans), region_code, issued_at, deadline_at (the first), extended_at, cancelled_at (NaT: not).
    objects: by sender and time of assignment: sender_code, object_id, task, subject_type, subject_id, grid, member (row of the members; -1),
    longitude, latitude (of the subject), assigned_at, deadline_at, started_at, ended_at, finished_at (NaT where never done), lot (BURST, STEADY or
    empty).
    results: object (row), and the feed's columns.
    """

    tasks: pd.DataFrame
    objects: pd.DataFrame
    results: pd.DataFrame


def plan_types() -> dict[int, str]:
    """The task type of each plan, by its row."""
    return {number: plan.type_code for number, plan in enumerate(_PLANS)}


def duty_members(ground: Ground) -> NDArray[np.int64]:
    """For each grid the member who does its daily work throughout, as a row of the members; -1 where there is none."""
    members = ground.members
    serving = members[(members.reporting_weight > 0) & members.role_code.isin(["dedicated", "leader", "part_time"])]
    first = serving.sort_values(["grid", "role_code"], kind="stable").drop_duplicates("grid")
    found = pd.Series(first.index.to_numpy(), first.grid.to_numpy()).reindex(np.arange(len(ground.territory.grids))).fillna(-1)
    return found.to_numpy().astype(np.int64)


def households(random: np.random.Generator, ground: Ground, grid: NDArray[np.int64]) -> Texts:
    """A household of each grid, by the number that its city gives it."""
    grids = ground.territory.grids
    number = (random.random(len(grid)) * grids.household_count.to_numpy()[grid]).astype(int) + 1
    found: Texts = grids.grid_id.to_numpy(object)[grid] + "-H" + np.char.zfill(number.astype(str), 4).astype(object)
    return found


def positions(random: np.random.Generator, ground: Ground, grid: NDArray[np.int64]) -> tuple[Axis, Axis]:
    """A point (longitude, latitude; GCJ-02) inside each grid's cell."""
    cell = ground.territory.grids.iloc[grid]
    axes = []
    for low, high in (("west", "east"), ("south", "north")):
        axes.append(np.round(cell[low].to_numpy() + (cell[high] - cell[low]).to_numpy() * random.uniform(0.05, 0.95, len(grid)), 6))
    return axes[0], axes[1]


def close_together(random: np.random.Generator, ground: Ground, grid: NDArray[np.int64]) -> tuple[Axis, Axis]:
    """Points around the middle of each grid's cell, a few streets apart however large the cell is."""
    cell = ground.territory.grids.iloc[grid]
    axes = []
    for low, high in (("west", "east"), ("south", "north")):
        least, most = cell[low].to_numpy(), cell[high].to_numpy()
        axes.append(np.round(np.clip((least + most) / 2 + random.normal(0, 0.0012, len(grid)), least, most), 6))
    return axes[0], axes[1]


def on_the_way(who: NDArray[np.int64], longitude: Axis, latitude: Axis) -> NDArray[np.int64]:
    """Seconds from each place to the next one of the same person, in a straight line; rows lie in the order of the visits."""
    east = np.diff(longitude, append=longitude[-1:]) * np.cos(np.radians(latitude))
    distance = KM_PER_DEGREE * np.hypot(east, np.diff(latitude, append=latitude[-1:]))
    same = np.append(who[1:] == who[:-1], False)
    return np.where(same, distance / _KM_PER_HOUR * 3600, 0).astype(np.int64)


def at_home(random: np.random.Generator, ground: Ground, grid: NDArray[np.int64], place: pd.DataFrame) -> tuple[Axis, Axis]:
    """The places' points, or one of the grid's cell for what is registered elsewhere still: nobody calls on him there."""
    cell = ground.territory.grids.iloc[grid]
    longitude, latitude = place.longitude.to_numpy(dtype=float), place.latitude.to_numpy(dtype=float)
    inside = (longitude >= cell.west.to_numpy()) & (longitude <= cell.east.to_numpy())
    inside &= (latitude >= cell.south.to_numpy()) & (latitude <= cell.north.to_numpy())
    x, y = positions(random, ground, grid)
    return np.where(inside, longitude, x), np.where(inside, latitude, y)


def one_after_the_other(who: pd.Series, start: NDArray[np.int64], lasting: NDArray[np.int64]) -> NDArray[np.int64]:
    """The starts put off so far that nobody begins before the last thing is over; rows are sorted by `who` and start, all in seconds."""
    before = pd.Series(lasting).groupby(who.to_numpy()).cumsum().to_numpy() - lasting
    slack = pd.Series(start - before).groupby(who.to_numpy()).cummax().to_numpy()
    return np.asarray(slack + before, dtype=np.int64)


def carry_out(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Work:
    """Plan the tasks of the simulated days and do them."""
    tasks = _plan(random, ground, cities)
    objects = _objects(random, ground, tasks)
    tasks["target_count"] = objects.groupby("task").size().reindex(tasks.index).fillna(0).astype(int)
    return Work(tasks, objects, _results(random, ground, tasks, objects))


def feeds(random: np.random.Generator, ground: Ground, work: Work, cities: Sequence[str]) -> Iterator[Feed]:
    """Tasks as JSON lines from the province, objects as Parquet, results as CSV and from every second city as JSON lines; each month."""
    end = _end(ground)
    yield _task_feed(random, work, end)
    yield _object_feed(random, ground, work, end)
    yield from _result_feeds(random, ground, work, cities)


def _end(ground: Ground) -> np.datetime64:
    end: np.datetime64 = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[s]")
    return end


def _plan(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> pd.DataFrame:
    first, end = ground.first_day, _end(ground)
    months = np.arange(first.astype("datetime64[M]"), end.astype("datetime64[M]") + 1)
    rows = []
    for number, plan in enumerate(_PLANS):
        for month in months:
            # Those of a quarter begin with it; what had begun before the first day is issued on it.
            begun = month == months[0]
            if (int(month.astype(int)) % plan.every) and not begun:
                continue
            day = max(month.astype("datetime64[D]") + plan.start, first)
            for issuer in cities if plan.by_city else [PROVINCE]:
                issued = day.astype("datetime64[s]") + np.timedelta64(9 * 3600 + int(random.integers(0, 5400)), "s")
                deadline = (day + plan.window).astype("datetime64[s]") + np.timedelta64(18 * 3600, "s")
                if issued < end:
                    rows.append((number, issuer, issued, deadline, str(month)))
    tasks = pd.DataFrame(rows, columns=["plan", "region_code", "issued_at", "deadline_at", "month"])
    tasks = tasks.sort_values(["issued_at", "plan", "region_code"], kind="stable", ignore_index=True)
    tasks["task_id"] = deliveries.numbered("RW", tasks.issued_at, pd.Series(PROVINCE, tasks.index))
    drawn = random.random(len(tasks))
    tasks["cancelled_at"] = (tasks.issued_at + (tasks.deadline_at - tasks.issued_at) / 2).dt.floor("s").where(drawn < _CANCELLED_SHARE)
    extended = (drawn >= _CANCELLED_SHARE) & (drawn < _CANCELLED_SHARE + _EXTENDED_SHARE)
    tasks["extended_at"] = (tasks.deadline_at - pd.Timedelta(days=2)).where(extended)
    tasks["last_at"] = tasks.deadline_at + pd.to_timedelta(np.where(extended, 7, 0), unit="D")
    from_finding = random.random(len(tasks)) < _FROM_FINDING_SHARE
    tasks["origin_type"] = kept(np.full(len(tasks), "finding", object), from_finding)
    tasks["origin_id"] = kept(np.array([random.bytes(16).hex() for _ in range(len(tasks))], object), from_finding)
    tasks["correlation_id"] = "LC" + tasks.task_id
    return tasks


def _objects(random: np.random.Generator, ground: Ground, tasks: pd.DataFrame) -> pd.DataFrame:
    total = len(ground.events) * _OBJECTS_PER_EVENT
    share = tasks.plan.map({n: plan.share for n, plan in enumerate(_PLANS)}) / tasks.plan.map(tasks.plan.value_counts())
    duty = duty_members(ground)
    parts = [_whom(random, ground, task, max(1, round(total * each)), duty) for task, each in zip(tasks.itertuples(), share, strict=True)]
    parts += _lots(random, ground, tasks, total, duty, pd.concat(parts).grid)
    objects = pd.concat(parts, ignore_index=True)
    objects["sender_code"] = ground.territory.grids.sender_code.to_numpy(object)[objects.grid]
    issued, deadline = (tasks[c].to_numpy().astype("datetime64[s]").astype(np.int64)[objects.task] for c in ("issued_at", "last_at"))
    assigned = issued + np.minimum(random.lognormal(np.log(4 * 3600), 0.8, len(objects)), 2 * _DAY).astype(np.int64)
    stay = np.clip(random.lognormal(np.log(11 * 60), 0.55, len(objects)), 120, 90 * 60).astype(np.int64)
    ended = _when_done(random, assigned, deadline)
    burst = (objects.lot == BURST).to_numpy()
    steps = random.uniform(0.4, 1.6, len(objects))
    upto = pd.Series(steps).groupby([objects.task, objects.grid, objects.lot]).cumsum() / pd.Series(steps).groupby(
        [objects.task, objects.grid, objects.lot]
    ).transform("sum")
    ended = np.where(burst, deadline - _BURST_SECONDS + (upto * (_BURST_SECONDS - 600)).astype(np.int64), ended)
    stay = np.where(burst, random.integers(40, 110, len(objects)), stay)
    objects["assigned_at"], objects["stay"], objects["ended"] = assigned, stay, ended
    objects["order"] = ended - stay
    objects = objects.sort_values(["member", "order", "subject_id"], kind="stable", ignore_index=True)
    ordinary = ((objects.lot != BURST) & (objects.member >= 0)).to_numpy()
    began = objects.order.to_numpy().copy()
    own = objects[ordinary]
    way = on_the_way(own.member.to_numpy(), own.longitude.to_numpy(dtype=float), own.latitude.to_numpy(dtype=float))
    began[ordinary] = one_after_the_other(own.member, began[ordinary], own.stay.to_numpy() + np.maximum(way, 300))
    reported = began + objects.stay.to_numpy() + random.integers(20, 280, len(objects))
    limit = tasks.last_at.to_numpy().astype("datetime64[s]")[objects.task]
    cancelled = tasks.cancelled_at.to_numpy().astype("datetime64[s]")[objects.task]
    never = (objects.lot == "").to_numpy() & (random.random(len(objects)) < _MISSED_SHARE)
    stopped = ~np.isnat(cancelled) & (reported.astype("datetime64[s]") >= cancelled)
    done = ~never & ~stopped & (objects.member >= 0).to_numpy()
    for column, seconds in (("started_at", began), ("ended_at", began + objects.stay.to_numpy()), ("finished_at", reported)):
        objects[column] = np.where(done, seconds.astype("datetime64[s]"), np.datetime64("NaT"))
    objects["assigned_at"] = objects.assigned_at.to_numpy().astype("datetime64[s]")
    objects["deadline_at"] = limit
    objects = objects[objects.assigned_at < _end(ground)].drop(columns=["stay", "ended", "order"])
    objects = objects.sort_values(["sender_code", "assigned_at", "subject_id"], kind="stable", ignore_index=True)
    objects["object_id"] = deliveries.numbered("DX", objects.assigned_at, objects.sender_code, digits=8)
    return objects


def _when_done(random: np.random.Generator, assigned: NDArray[np.int64], deadline: NDArray[np.int64]) -> NDArray[np.int64]:
    """Somewhere between, by day; a few after the deadline."""
    share = random.beta(1.4, 1.3, len(assigned))
    late = random.random(len(assigned)) < _LATE_SHARE
    at = assigned + np.where(late, 1 + random.exponential(0.06, len(assigned)), share) * (deadline - assigned)
    by_day = at // _DAY * _DAY + random.choice(24, size=len(assigned), p=_HOURS / _HOURS.sum()) * 3600 + random.integers(0, 3600, len(assigned))
    fits = (by_day > assigned + 1800) & ((by_day < deadline) | late)
    return np.asarray(np.where(fits, by_day, np.maximum(at, assigned + 1800)), dtype=np.int64)


def _whom(random: np.random.Generator, ground: Ground, task: object, count: int, duty: NDArray[np.int64]) -> pd.DataFrame:
    """The objects of one task: people, places and enterprises that are there from its start to its deadline; households of any grid."""
    plan = _PLANS[task.plan]  # type: ignore[attr-defined]
    issued, last, issuer = pd.Timestamp(task.issued_at), pd.Timestamp(task.last_at), task.region_code  # type: ignore[attr-defined]
    grids = ground.territory.grids
    in_scope = np.ones(len(grids), bool) if issuer == PROVINCE else (grids.sender_code == issuer).to_numpy()
    if plan.subject == "household":
        weight = grids.resident_count.to_numpy() * in_scope
        grid = random.choice(len(grids), size=count, p=weight / weight.sum())
        found = pd.DataFrame({"grid": grid, "subject_id": households(random, ground, grid)})
        found["longitude"], found["latitude"] = positions(random, ground, grid)
        member = duty[grid]
    else:
        table, key, since, ends = _SUBJECTS[plan.subject]
        listed = getattr(ground.residents, table)
        there = in_scope[listed.grid] & (listed[since] <= issued).to_numpy()
        for end in ends:
            there &= (listed[end].isna() | (listed[end] > last)).to_numpy()
        which = np.flatnonzero(there)
        chosen = listed.iloc[np.sort(random.choice(which, size=min(count, len(which)), replace=False))]
        found = pd.DataFrame({"grid": chosen.grid.to_numpy(), "subject_id": chosen[key].to_numpy(object)})
        place = chosen if "longitude" in chosen else ground.residents.addresses.iloc[chosen.address]
        found["longitude"], found["latitude"] = at_home(random, ground, found.grid.to_numpy(), place)
        serving = ground.members.reporting_weight.to_numpy() > 0
        own = chosen.member.to_numpy() if "member" in chosen else np.full(len(chosen), -1)
        member = np.where((own >= 0) & serving[own], own, duty[found.grid])
    return found.assign(task=task.Index, member=member, subject_type=plan.subject, lot="")  # type: ignore[attr-defined]


# Where the subjects are, the column of their id, since when they are there and what ends it.
_SUBJECTS = {
    "key_person": ("key_persons", "key_person_id", "listed_on", ("died_on", "moved_on", "released_on")),
    "key_place": ("key_places", "key_place_id", "listed_on", ("closed_on",)),
    "enterprise": ("enterprises", "uscc", "established_on", ("closed_on",)),
}


def _lots(
    random: np.random.Generator, ground: Ground, tasks: pd.DataFrame, total: float, duty: NDArray[np.int64], taken: pd.Series
) -> list[pd.DataFrame]:
    """Grids with many households to call on for one task: some members leave them all to the last hours, twice as many do not."""
    calling = [n for n, plan in enumerate(_PLANS) if plan.type_code == "collection" and not plan.by_city]
    possible = tasks[tasks.plan.isin(calling) & tasks.cancelled_at.isna() & (tasks.last_at < _end(ground))]
    free = random.permutation(np.setdiff1d(np.flatnonzero(duty >= 0), taken.to_numpy()))
    lots = max(2, round(total * _BURST_SHARE / np.mean(_BURST_OBJECTS)))
    parts: list[pd.DataFrame] = []
    if not len(possible):
        return parts
    for number, grid in enumerate(free[: 3 * lots]):
        size = int(random.integers(*_BURST_OBJECTS))
        where = np.full(size, grid)
        subjects = pd.unique(pd.Series(households(random, ground, where)))
        where = where[: len(subjects)]
        longitude, latitude = close_together(random, ground, where)
        parts.append(
            pd.DataFrame(
                {
                    "grid": where,
                    "subject_id": subjects,
                    "longitude": longitude,
                    "latitude": latitude,
                    "task": int(possible.index[int(random.integers(len(possible)))]),
                    "member": duty[where],
                    "subject_type": "household",
                    "lot": BURST if number < lots else STEADY,
                }
            )
        )
    return parts


def _results(random: np.random.Generator, ground: Ground, tasks: pd.DataFrame, objects: pd.DataFrame) -> pd.DataFrame:
    done = np.flatnonzero((objects.finished_at < _end(ground)).to_numpy())
    of = objects.iloc[done].reset_index(drop=True)
    found = pd.DataFrame({"object": done, "sender_code": of.sender_code, "object_id": of.object_id, "grid": of.grid, "member": of.member})
    found["happened_at"], found["reported_at"] = of.ended_at, of.finished_at
    kind = of.task.map(tasks.plan.map({n: plan.results for n, plan in enumerate(_PLANS)}))
    found["result_code"] = ""
    for name, shares in _RESULT_SHARE.items():
        rows = np.flatnonzero(kind == name)
        found.loc[rows, "result_code"] = deliveries.drawn(random, shares, len(rows))
    found["is_abnormal"] = found.result_code == "abnormal"
    placed = random.random(len(found)) >= _NO_POSITION_SHARE
    for axis in ("longitude", "latitude"):
        near = np.round(of[axis].to_numpy(dtype=float) + random.normal(0, 0.00012, len(found)), 6)
        found[axis] = np.where(placed, near, np.nan)
    found["raised_event_id"] = _raised(ground, found)
    grammar = Grammar(random, phrases()["rules"])
    given: dict[str, Texts] = {"village": ground.territory.grids.village.to_numpy(object)[found.grid]}
    note = np.full(len(found), "", object)
    for code, of_code in found.groupby("result_code", sort=True).indices.items():
        rows = np.asarray(of_code, np.intp)
        note[rows] = grammar.write(f"result_{code}", given, rows)
    found["note"] = kept(note, found.is_abnormal.to_numpy() | (random.random(len(found)) < 0.7))
    found["correlation_id"] = tasks.correlation_id.to_numpy(object)[of.task]
    found = found.sort_values(["sender_code", "reported_at", "object"], kind="stable", ignore_index=True)
    found["result_id"] = deliveries.numbered("FK", found.reported_at, found.sender_code, digits=8)
    return found


def _raised(ground: Ground, results: pd.DataFrame) -> Texts:
    """For what was abnormal, the next report of a member of that grid within three days, where there is one; each stands for one result."""
    events = ground.events
    reports = np.flatnonzero((events.channel_code == "grid").to_numpy() & (events.kind == "").to_numpy() & ~events.is_deleted.to_numpy())
    known = pd.DataFrame(
        {
            "grid": events.grid.to_numpy().astype(np.int64)[reports],
            "at": events.reported_at.to_numpy()[reports].astype("datetime64[ns]"),
            "event": reports,
        }
    )
    wrong = results.loc[results.is_abnormal, ["grid", "reported_at"]].rename(columns={"reported_at": "at"}).reset_index(names="result")
    wrong = wrong.astype({"at": "datetime64[ns]", "grid": np.int64})
    wrong, known = wrong.sort_values(["at", "result"], kind="stable"), known.sort_values(["at", "event"], kind="stable")
    pairs = pd.merge_asof(wrong, known, on="at", by="grid", direction="forward", tolerance=pd.Timedelta(_RAISED_WITHIN))
    pairs = pairs[pairs.event.notna()].drop_duplicates("event")
    found = np.full(len(results), None, object)
    found[pairs.result.to_numpy()] = events.event_id.to_numpy(object)[pairs.event.to_numpy().astype(int)]
    return found


def _task_feed(random: np.random.Generator, work: Work, end: np.datetime64) -> Feed:
    """Every state that a task went through: issued, under way, perhaps extended or cancelled, finished or ended overdue."""
    tasks = work.tasks
    plans = pd.DataFrame([(p.type_code, p.period, p.name, p.text) for p in _PLANS], columns=["type_code", "period_code", "name", "description"])
    rows = pd.concat([tasks.reset_index(names="task"), plans.iloc[tasks.plan].reset_index(drop=True)], axis=1)
    rows["task_name"] = rows.month.str[:4] + "年" + rows.month.str[5:].astype(int).astype(str) + "月" + rows["name"]
    rows["issuer_organisation"] = np.where(rows.region_code == PROVINCE, "省委政法委", "市委政法委")
    in_time = (work.objects.finished_at <= work.objects.deadline_at).groupby(work.objects.task).mean().reindex(tasks.index).fillna(0)
    last = np.where(in_time >= _FINISHED_FROM, "finished", "overdue")
    # Who has done enough is finished with the deadline; the others are so after it.
    ended = rows.cancelled_at.fillna(rows.last_at + pd.to_timedelta(np.where(last == "overdue", 10, 0), unit="min"))
    states = (
        rows.assign(state_code="issued", changed_at=rows.issued_at),
        rows.assign(state_code="running", changed_at=rows.issued_at + pd.Timedelta(days=1)),
        rows.assign(state_code="extended", changed_at=rows.extended_at, deadline_at=rows.last_at),
        rows.assign(state_code=np.where(rows.cancelled_at.notna(), "cancelled", last), changed_at=ended, finished_at=ended, deadline_at=rows.last_at),
    )
    sent = pd.concat([part for part in states if len(part)], ignore_index=True)
    sent = sent[sent.changed_at < end].sort_values(["task", "changed_at"], kind="stable", ignore_index=True)
    sent["source_version"] = sent.groupby("task").cumcount() + 1
    lines = deliveries.lined(deliveries.placed(sent, np.full(len(sent), PROVINCE, object), "task", "jsonl"), _TASK_COLUMNS)
    return arranged("task", [lines, dirt.spoiled_lines(random, lines, _TASK_DIRT, 1, "task_id")], pa.schema([]), source=SOURCE)


def _object_feed(random: np.random.Generator, ground: Ground, work: Work, end: np.datetime64) -> Feed:
    objects, tasks = work.objects, work.tasks
    rows = objects.assign(
        task_sender_code=PROVINCE,
        task_id=tasks.task_id.to_numpy(object)[objects.task],
        correlation_id=tasks.correlation_id.to_numpy(object)[objects.task],
        region_code=ground.territory.grids.region_code.to_numpy(object)[objects.grid],
        grid_id=ground.territory.grids.grid_id.to_numpy(object)[objects.grid],
        member_id=_member_ids(ground, objects.member),
        object=np.arange(len(objects)),
    )
    cancelled = pd.Series(tasks.cancelled_at.to_numpy()[objects.task])
    ended = rows.finished_at.fillna(cancelled).fillna(rows.deadline_at + pd.Timedelta(minutes=10))
    state = np.select([rows.finished_at.notna(), cancelled.notna()], ["done", "cancelled"], "missed").astype(object)
    ended = ended.where(ended > rows.assigned_at, rows.assigned_at + pd.Timedelta(minutes=1))
    sent = rows.loc[rows.index.repeat(2)].reset_index(drop=True)
    second = np.arange(len(sent)) % 2 == 1
    sent["source_version"] = np.where(second, 2, 1)
    sent["state_code"] = np.where(second, state.repeat(2), "assigned")
    sent["changed_at"] = sent.assigned_at.where(~second, ended.repeat(2).to_numpy())
    sent["finished_at"] = sent.finished_at.where(second)
    sent = sent[sent.changed_at < end].reset_index(drop=True)
    every = (random.random(len(objects)) < _EVERY_VERSION_SHARE)[sent.object]
    sent = sent[deliveries.sent_versions(sent.object, sent.changed_at, every)]
    sent = deliveries.placed(sent, sent.sender_code, "task_object", "parquet")
    each = max(1, round(len(sent) * _EACH_KIND_SHARE))
    bad = dirt.spoiled_cells(random, sent, _OBJECT_DIRT, each, "object_id")
    # Parquet keeps times as times.
    bad["finished_at"] = pd.to_datetime(bad.finished_at)
    return arranged("task_object", [sent, bad], _OBJECT)


def _result_feeds(random: np.random.Generator, ground: Ground, work: Work, cities: Sequence[str]) -> Iterator[Feed]:
    results = work.results.assign(
        member_id=_member_ids(ground, work.results.member),
        region_code=ground.territory.grids.region_code.to_numpy(object)[work.results.grid],
        source_version=1,
        changed_at=work.results.reported_at,
    )
    for suffix, senders in (("csv", cities[0::2]), ("jsonl", cities[1::2])):
        rows = results[results.sender_code.isin(list(senders))]
        if not len(rows):
            continue
        rows = deliveries.placed(rows, rows.sender_code, "task_result", suffix)
        each = max(1, round(len(rows) * _EACH_KIND_SHARE))
        if suffix == "csv":
            shown = rows.assign(is_abnormal=rows.is_abnormal.map({True: "true", False: "false"}))
            yield arranged("task_result", [shown, dirt.spoiled_cells(random, shown, _RESULT_DIRT, each, "result_id")], _RESULT)
        else:
            lines = deliveries.lined(rows, _RESULT.names)
            # A JSON true is no text.
            kinds = [d for d in _RESULT_DIRT if d.kind != "broken_rule"]
            copies = dirt.repeated(random, lines, max(2, round(len(lines) * _REPEATED_SHARE)))
            yield arranged("task_result", [lines, dirt.spoiled_lines(random, lines, kinds, each, "result_id"), copies], pa.schema([]))


def _member_ids(ground: Ground, member: pd.Series) -> Texts:
    rows = member.to_numpy()
    return kept(ground.members.member_id.to_numpy(object)[rows.clip(min=0)], rows >= 0)
