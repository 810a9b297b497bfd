"""How events are handled: the steps from report to close, with delays, limits kept and limits missed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streaming.simulator import profiles
from streaming.simulator.events import INSTANT_CLOSE, NIL_REPORT
from streaming.simulator.territory import Territory

_COMMAND_ROOM = "综合信息指挥室"
_NIGHT = (22, 7)
_EVIDENCE_SHARE = 0.6


@dataclass(frozen=True)
class _Step:
    action: str
    from_state: str | None
    to_state: str
    actor: str  # village, command or office
    clock: str  # which of the event's moments it happens at


_REPORT = _Step("report", None, "reported", "village", "report")
_ACCEPT = _Step("accept", "reported", "accepted", "command", "accept")
_DISPATCH = _Step("dispatch", "accepted", "dispatched", "command", "dispatch")
_HANDLE = _Step("handle", "dispatched", "handling", "office", "handle")
_CLOSE = _Step("close", "handling", "closed", "office", "end")
# The ways an event can go; the last step's moment is its end.
_WAYS: dict[str, tuple[_Step, ...]] = {
    "on_the_spot": (_REPORT, _Step("close", "reported", "closed", "village", "end")),
    "plain": (_REPORT, _ACCEPT, _DISPATCH, _HANDLE, _CLOSE),
    "checked": (
        _REPORT, _ACCEPT, _DISPATCH, _HANDLE,
        _Step("submit", "handling", "handled", "office", "submit"), _Step("close", "handled", "closed", "command", "end"),
    ),
    "returned": (
        _REPORT, _ACCEPT, _DISPATCH, _Step("return", "dispatched", "accepted", "office", "return"),
        _Step("dispatch", "accepted", "dispatched", "command", "redispatch"), _HANDLE, _CLOSE,
    ),
    "not_accepted": (_REPORT, _Step("reject", "reported", "rejected", "command", "end")),
    "withdrawn": (_REPORT, _Step("withdraw", "reported", "withdrawn", "village", "end")),
}  # fmt: skip


def handle(random: np.random.Generator, events: pd.DataFrame, territory: Territory, end: np.datetime64) -> pd.DataFrame:
    """The steps that happened before `end`, by event and number.

    Columns: event (row of events), step_no, action_code, from_state, to_state, actor_organisation, happened_at (local, seconds),
    deadline_at (of the accept and dispatch steps), evidence_digest.
    """
    ways = _choose_ways(random, events)
    moments = _moments(random, events, ways)
    place = territory.grids.iloc[events.grid]
    actors = {
        "village": place.village.to_numpy(),
        "command": place.town.to_numpy() + _COMMAND_ROOM,
        "office": place.town.to_numpy() + events.office.to_numpy(),
    }
    parts = []
    for name, steps in _WAYS.items():
        rows = np.flatnonzero(ways == name)
        for number, step in enumerate(steps, 1):
            columns = {
                "event": rows,
                "step_no": number,
                "action_code": step.action,
                "from_state": step.from_state,
                "to_state": step.to_state,
                "actor_organisation": actors[step.actor][rows],
                "seconds": moments[step.clock][rows],
            }
            parts.append(pd.DataFrame(columns))
    found = pd.concat(parts, ignore_index=True).sort_values(["event", "step_no"], kind="stable", ignore_index=True)
    reported = events.reported_at.to_numpy()[found.event]
    found["happened_at"] = reported + found.pop("seconds").to_numpy().astype("timedelta64[s]")
    deadline = reported + (events.limit_hours.to_numpy()[found.event] * 3600).astype("timedelta64[s]")
    found["deadline_at"] = np.where(found.action_code.isin(["accept", "dispatch"]) & (deadline >= found.happened_at), deadline, np.datetime64("NaT"))
    found["evidence_digest"] = _digests(random, found)
    return found[found.happened_at < end].reset_index(drop=True)


def _choose_ways(random: np.random.Generator, events: pd.DataFrame) -> NDArray[np.object_]:
    drawn = random.random(len(events))
    edges = np.cumsum([profiles.WITHDRAWN_SHARE, profiles.NOT_ACCEPTED_SHARE, profiles.RETURNED_SHARE, profiles.CHECKED_SHARE])
    ways = np.array(["withdrawn", "not_accepted", "returned", "checked", "plain"], object)[np.searchsorted(edges, drawn)]
    simple = (events.channel_code == "grid") & (events.level_code == "1") & (random.random(len(events)) < profiles.SETTLED_ON_THE_SPOT_SHARE)
    ways[simple | events.kind.isin([NIL_REPORT, INSTANT_CLOSE])] = "on_the_spot"
    return ways


def _moments(random: np.random.Generator, events: pd.DataFrame, ways: NDArray[np.object_]) -> dict[str, NDArray[np.int64]]:
    """Seconds after the report of each thing that may happen; ends never reached are far in the future."""
    count = len(events)
    total = _ends(random, events, ways)
    accept = np.minimum(random.lognormal(np.log(35 * 60), 0.9, count), 0.12 * total)
    dispatch = accept + np.minimum(random.lognormal(np.log(80 * 60), 0.9, count), 0.12 * total)
    back = dispatch + random.uniform(0.05, 0.15, count) * total
    again = back + random.uniform(0.02, 0.08, count) * total
    start = np.where(ways == "returned", again, dispatch)
    handling = start + random.uniform(0.05, 0.6, count) * (0.95 * total - start)
    submit = handling + random.uniform(0.5, 0.95, count) * (total - handling)
    # Steps before the end go on as usual for an event that is never closed: only its end is put off.
    never = (random.random(count) < profiles.NEVER_CLOSED_SHARE) & ~events.kind.isin([NIL_REPORT, INSTANT_CLOSE]).to_numpy()
    total = np.where(never, 10 * 365 * 86400, total)
    moments = {
        "report": np.zeros(count),
        "accept": accept,
        "dispatch": dispatch,
        "return": back,
        "redispatch": again,
        "handle": handling,
        "submit": submit,
        "end": total,
    }
    return {name: np.floor(seconds).astype(np.int64) for name, seconds in moments.items()}


def _ends(random: np.random.Generator, events: pd.DataFrame, ways: NDArray[np.object_]) -> NDArray[np.float64]:
    """Seconds from report to the last step."""
    count = len(events)
    limit = events.limit_hours.to_numpy() * 3600.0
    dispatched = np.isin(ways, ["plain", "checked", "returned"])
    # The measured share is of all events of a class, the ones settled on the spot included.
    share = events.class_code.str[:2].map(profiles.OVERDUE_SHARE).to_numpy(dtype=float)
    overdue = dispatched & (random.random(count) < np.minimum(share / dispatched.mean(), 0.9))
    in_time = limit * (0.06 + 0.9 * random.beta(1.2, 2.2, count))
    late = limit * (1.02 + random.exponential(0.5, count))
    # Somebody who clears a stairwell while standing there takes minutes too: that is quick, but it is no instant close.
    spot = np.clip(random.lognormal(np.log(55 * 60), 1.2, count), 3.5 * 60, 0.9 * limit)
    brief = random.uniform(20 * 60, 10 * 3600, count)
    total = np.select([overdue, dispatched, ways == "on_the_spot"], [late, _by_day(random, events, in_time, limit), spot], brief)
    instant = (events.kind == INSTANT_CLOSE).to_numpy()
    return np.asarray(np.where(instant, random.integers(5, 170, count), total), dtype=np.float64)


def _by_day(random: np.random.Generator, events: pd.DataFrame, total: NDArray[np.float64], limit: NDArray[np.float64]) -> NDArray[np.float64]:
    """What would end at night ends the next morning, where the limit allows."""
    reported = events.reported_at.to_numpy().astype("datetime64[s]").astype(np.int64)
    second_of_day = (reported + total) % 86400
    night = (second_of_day >= _NIGHT[0] * 3600) | (second_of_day < _NIGHT[1] * 3600)
    morning = (8 * 3600 - second_of_day) % 86400 + random.integers(0, 3 * 3600, len(events))
    moved = total + np.where(night, morning, 0)
    return np.where(moved < 0.98 * limit, moved, total)


def _digests(random: np.random.Generator, steps: pd.DataFrame) -> NDArray[np.object_]:
    """SHA-256 sums of photographs that nobody took."""
    digests = np.full(len(steps), None, object)
    with_photo = np.flatnonzero(steps.action_code.isin(["handle", "submit", "close"]) & (random.random(len(steps)) < _EVIDENCE_SHARE))
    digests[with_photo] = np.frombuffer(random.bytes(32 * len(with_photo)).hex().encode(), "S64").astype(str).astype(object)
    return digests
