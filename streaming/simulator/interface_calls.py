"""The log of the unified interface: which call a step made, how often it was tried, and the calls that never came through.

Which step must call which interface stands in the vocabulary `interface`. A step whose call is missing and a call without an answer are injected;
failures, timeouts and the nightly pause are not: each of those calls is made again until it succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import dirt
from streaming.simulator.feeds import PROVINCE, Ground
from streaming.simulator.parcels import Feed, arranged
from streaming.simulator.truth import Truth

MODEL, LOST_CALL, NO_RESPONSE = "interface_gap", "lost_call", "no_response"
_SOURCE, _NAME = "province_platform", "interface_call"
_TEXT = pd.ArrowDtype(pa.string())
# assumed: of a thousand steps that must call, so many never do, and so many get no answer. Enough to be counted in a small province.
_LOST_SHARE, _NO_RESPONSE_SHARE = 0.004, 0.004
# assumed: of a thousand calls on an ordinary day; a service level of 99 % is what platforms promise each other.
_TIMEOUT_SHARE, _FAILED_SHARE = 0.004, 0.006
# assumed: an outage of one system every twelve days, for half an hour to four hours, in which most calls to it fail.
_DAYS_PER_OUTAGE, _OUTAGE_MINUTES, _FAILED_IN_OUTAGE_SHARE = 12, (30, 240), 0.7
# assumed: the gateway pauses from 02:00 to 02:20 each night, and on Wednesdays until 04:00; what is due then waits for its end.
_PAUSE_HOUR, _PAUSE_MINUTES, _LONG_PAUSE_MINUTES, _LONG_PAUSE_WEEKDAY = 2, 20, 120, 2
_QUEUE_SECONDS = 300
# assumed: the platform tries a call again after one to ten minutes, four times at most; the last always succeeds.
_ATTEMPTS, _AGAIN_SECONDS = 5, (60, 600)
# assumed: half of the answers come within 180 ms, one in a hundred takes more than a second and a half.
_MEDIAN_MS, _SPREAD = 180, 0.9
_EACH_KIND_SHARE, _REPEATED_SHARE = 0.0002, 0.001
_THURSDAY = 3  # what 1 January 1970 was, Monday being 0
_DAY = 86_400_000
# How a call can go: status, class of error, HTTP status.
_OUTCOMES = (
    ("success", None, 200),
    (NO_RESPONSE, "lost_connection", 0),
    ("timeout", "timeout", 504),
    ("failed", "unavailable", 503),
    ("failed", "invalid_request", 400),
)
_SUCCESS, _UNANSWERED, _TIMEOUT, _UNAVAILABLE, _INVALID = range(len(_OUTCOMES))

_CALL = pa.schema(
    [
        ("call_id", pa.string()),
        ("request_id", pa.string()),
        ("attempt_no", pa.int64()),
        ("interface_code", pa.string()),
        ("caller_system", pa.string()),
        ("callee_system", pa.string()),
        ("region_code", pa.string()),
        ("correlation_type", pa.string()),
        ("correlation_id", pa.string()),
        ("called_at", pa.timestamp("ms")),
        ("duration_ms", pa.int64()),
        ("status_code", pa.string()),
        ("http_status", pa.int64()),
        ("error_class", pa.string()),
        ("request_bytes", pa.int64()),
        ("response_bytes", pa.int64()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
# A typed file cannot hold text for a number.
_DIRT = (
    dirt.Dirt("unknown_code", "code_list", "interface_code", {"interface_code": "event_dispatch_v2"}),
    dirt.Dirt("missing_required", "required", "request_id", {"request_id": None}),
    dirt.Dirt("unknown_code", "region_unknown", "region_code", {"region_code": "339900000000"}),
    dirt.Dirt("broken_rule", "correlation_in_pairs", None, {"correlation_id": None}),
    dirt.Dirt("broken_rule", "two_systems", None, {"caller_system": "video_system", "callee_system": "video_system"}),
)


@dataclass(frozen=True)
class Due:
    """The calls that steps must make, one place in each array; `interface` is a row of `interfaces`, times are milliseconds of the local clock."""

    interfaces: pd.DataFrame
    interface: NDArray[np.int64]
    event: NDArray[np.int64]
    step_no: NDArray[np.int64]
    happened_at: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.event)


def feed(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, truth: Truth) -> Feed:
    """Each week a Parquet file from the province: every attempt of every call that the steps of the ground made before its end.

    Truth gets the steps (local step ids of the city) whose call was lost or has no answer; of the latter the call as the other half.
    """
    end = int((ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[ms]").astype(np.int64))
    due = due_calls(ground.steps, ground.events, vocabularies)
    drawn = random.random(len(due))
    lost, unanswered = drawn < _LOST_SHARE, (drawn >= _LOST_SHARE) & (drawn < _LOST_SHARE + _NO_RESPONSE_SHARE)
    wait = np.minimum(random.lognormal(np.log(2500), 1.0, len(due)), 120_000).astype(np.int64)
    at = _after_pause(random, due.happened_at + wait)
    # What is called in the last second is written down after the end: it is not in the log, and not lost.
    in_time = at < end - 1000
    sender = _texts(ground.events.sender_code)
    event_id = _texts(ground.events.event_id)
    is_deleted = ground.events.is_deleted.to_numpy()[due.event]
    for kind, chosen in ((LOST_CALL, lost), (NO_RESPONSE, unanswered)):
        found = np.flatnonzero(chosen & in_time & ~is_deleted)
        of = due.event[found]
        step_id = _joined(event_id.take(of), due.step_no[found])
        call_id = _call_ids(sender.take(of), event_id.take(of), due.step_no[found], np.ones(len(found), np.int64))
        truth.add(MODEL, kind, pd.Series(sender.take(of).to_pylist()), step_id.to_pylist(), call_id.to_pylist() if kind == NO_RESPONSE else None)
    rows = _attempts(random, due, np.flatnonzero(~lost & in_time), at, unanswered, ground, end)
    each = max(1, round(len(rows) * _EACH_KIND_SHARE))
    bad = dirt.spoiled_cells(random, rows, _DIRT, each, "call_id").astype({name: _TEXT for name in _CALL.names if rows[name].dtype == _TEXT})
    return arranged(_NAME, [rows, bad, dirt.repeated(random, rows, max(2, round(len(rows) * _REPEATED_SHARE)))], _CALL, source=_SOURCE)


def due_calls(steps: pd.DataFrame, events: pd.DataFrame, vocabularies: Vocabularies) -> Due:
    """The steps that must make a call, by event and number: by the vocabulary `interface` some actions, from some states, in some channels."""
    interfaces = vocabularies["interface"].rows.to_pandas()
    channel = events.channel_code.to_numpy(object)[steps.event]
    wanted = np.full(len(steps), -1)
    for number, interface in enumerate(interfaces.itertuples()):
        if not isinstance(interface.step_action, str):
            continue
        chosen = (steps.action_code == interface.step_action).to_numpy()
        if isinstance(interface.from_states, str):
            chosen &= steps.from_state.isin(interface.from_states.split()).to_numpy()
        if isinstance(interface.channel_code, str):
            chosen &= channel == interface.channel_code
        wanted[chosen] = number
    rows = np.flatnonzero(wanted >= 0)
    happened_at = steps.happened_at.to_numpy()[rows].astype("datetime64[ms]").astype(np.int64)
    return Due(interfaces, wanted[rows], steps.event.to_numpy()[rows], steps.step_no.to_numpy()[rows], happened_at)


def _after_pause(random: np.random.Generator, at: NDArray[np.int64]) -> NDArray[np.int64]:
    """Calls that fall into the gateway's pause come in the minutes after it."""
    day = at // _DAY
    pause = np.where((day + _THURSDAY) % 7 == _LONG_PAUSE_WEEKDAY, _LONG_PAUSE_MINUTES, _PAUSE_MINUTES) * 60_000
    start = day * _DAY + _PAUSE_HOUR * 3_600_000
    queued = start + pause + random.integers(0, _QUEUE_SECONDS * 1000, len(at))
    return np.where((at >= start) & (at < start + pause), queued, at)


def _attempts(
    random: np.random.Generator,
    due: Due,
    first: NDArray[np.int64],
    at: NDArray[np.int64],
    unanswered: NDArray[np.bool_],
    ground: Ground,
    end: int,
) -> pd.DataFrame:
    """Every attempt of the calls `first` that was over before the end, in the columns of the feed and in its place."""
    outages = _outages(random, ground, len(due.interfaces))
    request = pa.array(np.frombuffer(random.bytes(8 * len(due)).hex().encode(), "S16")).cast(pa.string())
    waiting, called_at, parts = first, at[first], []
    for attempt in range(1, _ATTEMPTS + 1):
        outcome, took = _answered(random, due, waiting, called_at, unanswered[waiting], outages, last=attempt == _ATTEMPTS)
        parts.append((waiting, np.full(len(waiting), attempt), called_at, outcome, took))
        # What got no answer is not tried again: nobody knows that it did not arrive.
        again = (outcome != _SUCCESS) & (outcome != _UNANSWERED)
        pause = random.integers(_AGAIN_SECONDS[0] * 1000, _AGAIN_SECONDS[1] * 1000, again.sum())
        waiting, called_at = waiting[again], _after_pause(random, called_at[again] + took[again] + pause)
    call, attempt_no, called_at, outcome, took = (np.concatenate(column) for column in zip(*parts, strict=True))
    # The log's own clock counts seconds: it writes a call down once it is over.
    changed_at = (called_at + took) // 1000 + 1
    order = np.flatnonzero(changed_at * 1000 < end)
    order = order[np.lexsort((attempt_no[order], call[order], called_at[order]))]
    call, attempt_no, called_at, outcome, took, changed_at = (c[order] for c in (call, attempt_no, called_at, outcome, took, changed_at))
    return _written(random, due, ground, request, call, attempt_no, called_at, outcome, took, changed_at)


def _written(
    random: np.random.Generator,
    due: Due,
    ground: Ground,
    request: pa.Array,
    call: NDArray[np.int64],
    attempt_no: NDArray[np.int64],
    called_at: NDArray[np.int64],
    outcome: NDArray[np.int64],
    took: NDArray[np.int64],
    changed_at: NDArray[np.int64],
) -> pd.DataFrame:
    events, interface, event = ground.events, due.interface[call], due.event[call]
    sender, event_id = _texts(events.sender_code).take(event), _texts(events.event_id).take(event)
    village = _texts(ground.territory.grids.region_code).take(events.grid.to_numpy()[event])
    answered = outcome != _UNANSWERED
    count = len(call)
    times = called_at.astype("datetime64[ms]")
    calendar = pd.Series(times).dt.isocalendar()
    week = calendar.year.to_numpy(np.int64) * 100 + calendar.week.to_numpy(np.int64)
    weeks, file = np.unique(week, return_inverse=True)
    named = [f"interface_call-{number // 100}-w{number % 100:02d}.parquet" for number in weeks]
    texts = {
        "call_id": _call_ids(sender, event_id, due.step_no[call], attempt_no),
        "request_id": request.take(call),
        "interface_code": _chosen(due.interfaces.code, interface),
        "caller_system": _chosen(due.interfaces.caller_system, interface),
        "callee_system": _chosen(due.interfaces.callee_system, interface),
        "region_code": village,
        "correlation_type": _chosen(["event"], np.zeros(count, np.int64)),
        "correlation_id": pc.binary_join_element_wise(sender, event_id, "-"),
        "status_code": _chosen([status for status, _, _ in _OUTCOMES], outcome),
        "error_class": _chosen([error for _, error, _ in _OUTCOMES], outcome),
        "_sender": _chosen([PROVINCE], np.zeros(count, np.int64)),
        "_file": _chosen(named, file),
    }
    numbers = {
        "attempt_no": attempt_no,
        "called_at": times,
        "duration_ms": _where(took, answered),
        "http_status": _where(np.array([number for _, _, number in _OUTCOMES])[outcome], answered),
        "request_bytes": np.round(random.lognormal(np.log(1900), 0.4, count)).astype(np.int64),
        "response_bytes": _where(np.round(random.lognormal(np.log(260), 0.5, count)).astype(np.int64), answered),
        "source_version": np.ones(count, np.int64),
        "changed_at": changed_at.astype("datetime64[s]"),
        "_order": called_at.astype(float),
    }
    return pd.DataFrame({name: pd.array(text, dtype=_TEXT) for name, text in texts.items()} | numbers)


def _answered(
    random: np.random.Generator,
    due: Due,
    calls: NDArray[np.int64],
    at: NDArray[np.int64],
    unanswered: NDArray[np.bool_],
    outages: NDArray[np.int64],
    *,
    last: bool,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(outcome as a row of _OUTCOMES, milliseconds) of an attempt at each of the calls; the last attempt is the one that succeeds."""
    drawn, kind = random.random(len(calls)), random.random(len(calls))
    interface = due.interface[calls]
    callee = pd.factorize(due.interfaces.callee_system)[0][interface]
    is_out = np.zeros(len(calls), np.bool_)
    for system, start, end in outages:
        is_out |= (callee == system) & (at >= start) & (at < end)
    limit = due.interfaces.limit_ms.astype(int).to_numpy()[interface]
    took = np.minimum(random.lognormal(np.log(_MEDIAN_MS), _SPREAD, len(calls)), limit - 1).astype(np.int64)
    timeout, failed = drawn < _TIMEOUT_SHARE, (drawn >= _TIMEOUT_SHARE) & (drawn < _TIMEOUT_SHARE + _FAILED_SHARE)
    unavailable = (failed & (kind < 0.5)) | (is_out & (drawn >= 1 - _FAILED_IN_OUTAGE_SHARE))
    outcome = np.select([unanswered, timeout, unavailable, failed], [_UNANSWERED, _TIMEOUT, _UNAVAILABLE, _INVALID], _SUCCESS)
    outcome[last & ~unanswered] = _SUCCESS
    return outcome, np.select([outcome == _UNANSWERED, outcome == _TIMEOUT], [0, limit], took)


def _outages(random: np.random.Generator, ground: Ground, interfaces: int) -> NDArray[np.int64]:
    """Which system was down, from when, until when: rows of (system, start, end)."""
    count = max(1, ground.days // _DAYS_PER_OUTAGE)
    start = int(ground.first_day.astype("datetime64[ms]").astype(np.int64)) + random.integers(0, ground.days * 1440, count) * 60_000
    # The two systems called most are those whose being down is seen.
    return np.column_stack([random.integers(2, size=count), start, start + random.integers(*_OUTAGE_MINUTES, count) * 60_000])


def _call_ids(sender: pa.Array, event_id: pa.Array, step_no: NDArray[np.int64], attempt_no: NDArray[np.int64]) -> pa.Array:
    """Ids that follow from the step and the attempt, so that they do not depend on what else is simulated."""
    city = pc.utf8_slice_codeunits(sender, 0, 4)
    return _joined(pc.binary_join_element_wise("DY", city, event_id, ""), step_no, attempt_no)


def _joined(text: pa.Array, *numbers: NDArray[np.int64]) -> pa.Array:
    return pc.binary_join_element_wise(text, *(pa.array(number).cast(pa.string()) for number in numbers), "-")


def _texts(values: pd.Series) -> pa.Array:
    """A column of strings, categories or Arrow strings."""
    found = pa.array(values)
    return (found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found).cast(pa.string())


def _chosen(values: Any, index: NDArray[np.int64]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(index, pa.int32()), pa.array(list(values), pa.string())).cast(pa.string())


def _where(values: NDArray[np.int64], given: NDArray[np.bool_]) -> pd.Series:
    """The values as integers that may be missing."""
    return pd.Series(pd.arrays.IntegerArray(values.astype(np.int64), ~given))
