"""How events are handled: the steps from report to close, with delays, limits kept and limits missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import profiles
from streaming.simulator.events import Reports
from streaming.simulator.plan import CHANNELS, INSTANT_CLOSE, LEVELS, NIL_REPORT, Scene

COMMAND_ROOM = "综合信息指挥室"
# Who takes a step: the reporting village, the town's command room, or the town's office for the class.
VILLAGE, COMMAND, OFFICE = range(3)
_NIGHT = (22, 7)
_EVIDENCE_SHARE = 0.6
_NEVER = 20 * 365 * 86400


@dataclass(frozen=True)
class _Step:
    action: str
    from_state: str | None
    to_state: str
    actor: int
    clock: str  # which of the event's moments it happens at


_REPORT = _Step("report", None, "reported", VILLAGE, "report")
_ACCEPT = _Step("accept", "reported", "accepted", COMMAND, "accept")
_DISPATCH = _Step("dispatch", "accepted", "dispatched", COMMAND, "dispatch")
_HANDLE = _Step("handle", "dispatched", "handling", OFFICE, "handle")
_CLOSE = _Step("close", "handling", "closed", OFFICE, "end")
# The ways an event can go; the last step's moment is its end.
_WAYS: dict[str, tuple[_Step, ...]] = {
    "on_the_spot": (_REPORT, _Step("close", "reported", "closed", VILLAGE, "end")),
    "plain": (_REPORT, _ACCEPT, _DISPATCH, _HANDLE, _CLOSE),
    "checked": (
        _REPORT, _ACCEPT, _DISPATCH, _HANDLE,
        _Step("submit", "handling", "handled", OFFICE, "submit"), _Step("close", "handled", "closed", COMMAND, "end"),
    ),
    "returned": (
        _REPORT, _ACCEPT, _DISPATCH, _Step("return", "dispatched", "accepted", OFFICE, "return"),
        _Step("dispatch", "accepted", "dispatched", COMMAND, "redispatch"), _HANDLE, _CLOSE,
    ),
    "not_accepted": (_REPORT, _Step("reject", "reported", "rejected", COMMAND, "end")),
    "withdrawn": (_REPORT, _Step("withdraw", "reported", "withdrawn", VILLAGE, "end")),
}  # fmt: skip
_CLOCKS = ("report", "accept", "dispatch", "return", "redispatch", "handle", "submit", "end")
ACTIONS = tuple(dict.fromkeys(step.action for steps in _WAYS.values() for step in steps))
STATES = tuple(dict.fromkeys(step.to_state for steps in _WAYS.values() for step in steps))
_ON_THE_SPOT = list(_WAYS).index("on_the_spot")
_DISPATCHED_WAYS = [list(_WAYS).index(way) for way in ("plain", "checked", "returned")]
_RETURNED = list(_WAYS).index("returned")


@dataclass(frozen=True)
class Steps:
    """The steps of a chunk's events by event and number, one place a step in every array.

    Times are seconds since the first day; deadline is -1 where there is none. action, from_state (-1: none) and to_state are places in ACTIONS
    and STATES, actor is VILLAGE, COMMAND or OFFICE. evidence has the digests of photographs, null where nobody took one.
    """

    event: NDArray[np.int64]
    step_no: NDArray[np.int64]
    action: NDArray[np.int8]
    from_state: NDArray[np.int8]
    to_state: NDArray[np.int8]
    actor: NDArray[np.int8]
    happened: NDArray[np.int64]
    deadline: NDArray[np.int64]
    evidence: pa.Array

    def __len__(self) -> int:
        return len(self.event)


def handle(random: np.random.Generator, scene: Scene, reports: Reports) -> Steps:
    """The steps that happened before the end of the simulated days."""
    ways = _choose_ways(random, reports)
    moments = _moments(random, scene, reports, ways)
    counts = np.array([len(steps) for steps in _WAYS.values()])[ways]
    event = np.repeat(np.arange(len(reports)), counts)
    step_no = np.arange(len(event)) - np.repeat(np.cumsum(counts) - counts, counts) + 1
    way, place = ways[event], step_no - 1
    happened = reports.reported[event] + moments[_table(lambda s: _CLOCKS.index(s.clock))[way, place], event]
    before_end = happened < scene.end
    event, step_no, way, place, happened = (values[before_end] for values in (event, step_no, way, place, happened))
    action = _table(lambda s: ACTIONS.index(s.action))[way, place]
    limit = reports.reported + scene.classes.limit_hours.to_numpy()[reports.class_number] * 3600
    deadline = limit[event]
    has_deadline = np.isin(action, [ACTIONS.index(a) for a in ("accept", "dispatch")]) & (deadline >= happened)
    with_photo = np.isin(action, [ACTIONS.index(a) for a in ("handle", "submit", "close")]) & (random.random(len(event)) < _EVIDENCE_SHARE)
    return Steps(
        event=event,
        step_no=step_no,
        action=action,
        from_state=_table(lambda s: -1 if s.from_state is None else STATES.index(s.from_state))[way, place],
        to_state=_table(lambda s: STATES.index(s.to_state))[way, place],
        actor=_table(lambda s: s.actor)[way, place],
        happened=happened,
        deadline=np.where(has_deadline, deadline, -1),
        evidence=_digests(random, with_photo),
    )


def _table(value: Callable[[_Step], int]) -> NDArray[np.int8]:
    """A value of each step by way and place."""
    table = np.zeros((len(_WAYS), max(map(len, _WAYS.values()))), np.int8)
    for way, steps in enumerate(_WAYS.values()):
        table[way, : len(steps)] = [value(step) for step in steps]
    return table


def _choose_ways(random: np.random.Generator, reports: Reports) -> NDArray[np.int8]:
    edges = np.cumsum([profiles.WITHDRAWN_SHARE, profiles.NOT_ACCEPTED_SHARE, profiles.RETURNED_SHARE, profiles.CHECKED_SHARE])
    drawn = np.searchsorted(edges, random.random(len(reports)))
    ways = np.array([list(_WAYS).index(way) for way in ("withdrawn", "not_accepted", "returned", "checked", "plain")], np.int8)[drawn]
    ordinary = (reports.channel == CHANNELS.index("grid")) & (reports.level == LEVELS.index("1"))
    simple = ordinary & (random.random(len(reports)) < profiles.SETTLED_ON_THE_SPOT_SHARE)
    ways[simple | reports.is_a(NIL_REPORT, INSTANT_CLOSE)] = _ON_THE_SPOT
    return ways


def _moments(random: np.random.Generator, scene: Scene, reports: Reports, ways: NDArray[np.int8]) -> NDArray[np.int64]:
    """Seconds after the report of each thing that may happen, by clock and event; ends never reached are far in the future."""
    count = len(reports)
    total = _ends(random, scene, reports, ways)
    accept = np.minimum(random.lognormal(np.log(35 * 60), 0.9, count), 0.12 * total)
    dispatch = accept + np.minimum(random.lognormal(np.log(80 * 60), 0.9, count), 0.12 * total)
    back = dispatch + random.uniform(0.05, 0.15, count) * total
    again = back + random.uniform(0.02, 0.08, count) * total
    start = np.where(ways == _RETURNED, again, dispatch)
    handling = start + random.uniform(0.05, 0.6, count) * (0.95 * total - start)
    submit = handling + random.uniform(0.5, 0.95, count) * (total - handling)
    # Steps before the end go on as usual for an event that is never closed: only its end is put off.
    never = (random.random(count) < profiles.NEVER_CLOSED_SHARE) & ~reports.is_a(NIL_REPORT, INSTANT_CLOSE)
    total = np.where(never, _NEVER, total)
    return np.floor([np.zeros(count), accept, dispatch, back, again, handling, submit, total]).astype(np.int64)


def _ends(random: np.random.Generator, scene: Scene, reports: Reports, ways: NDArray[np.int8]) -> NDArray[np.float64]:
    """Seconds from report to the last step."""
    count = len(reports)
    limit = scene.classes.limit_hours.to_numpy()[reports.class_number] * 3600.0
    dispatched = np.isin(ways, _DISPATCHED_WAYS)
    # The measured share is of all events of a class, the ones settled on the spot included.
    share = scene.classes.code.str[:2].map(profiles.OVERDUE_SHARE).to_numpy(dtype=float)[reports.class_number]
    overdue = dispatched & (random.random(count) < np.minimum(share / max(dispatched.mean(), 0.1), 0.9))
    in_time = limit * (0.06 + 0.9 * random.beta(1.2, 2.2, count))
    late = limit * (1.02 + random.exponential(0.5, count))
    # Somebody who clears a stairwell while standing there takes minutes too: that is quick, but it is no instant close.
    spot = np.clip(random.lognormal(np.log(55 * 60), 1.2, count), 3.5 * 60, 0.9 * limit)
    brief = random.uniform(20 * 60, 10 * 3600, count)
    in_time = _by_day(random, reports.reported, in_time, limit)
    total = np.select([overdue, dispatched, ways == _ON_THE_SPOT], [late, in_time, spot], brief)
    return np.asarray(np.where(reports.is_a(INSTANT_CLOSE), random.integers(5, 170, count), total), dtype=np.float64)


def _by_day(random: np.random.Generator, reported: NDArray[np.int64], total: NDArray[np.float64], limit: NDArray[np.float64]) -> NDArray[np.float64]:
    """What would end at night ends the next morning, where the limit allows."""
    second_of_day = (reported + total) % 86400
    night = (second_of_day >= _NIGHT[0] * 3600) | (second_of_day < _NIGHT[1] * 3600)
    morning = (8 * 3600 - second_of_day) % 86400 + random.integers(0, 3 * 3600, len(reported))
    moved = total + np.where(night, morning, 0)
    return np.where(moved < 0.98 * limit, moved, total)


def _digests(random: np.random.Generator, with_photo: NDArray[np.bool_]) -> pa.Array:
    """SHA-256 sums of photographs that nobody took."""
    hexadecimal = random.bytes(32 * int(with_photo.sum())).hex().encode()
    offsets = np.concatenate([[0], np.cumsum(with_photo) * 64]).astype(np.int32)
    validity = pa.array(with_photo).buffers()[1]
    return pa.StringArray.from_buffers(len(with_photo), pa.py_buffer(offsets), pa.py_buffer(hexadecimal), validity, int((~with_photo).sum()))
