"""The log of the unified interface: which call a step made, how often it was tried, and the calls that never came through.

Which step must call which interface stands in the vocabulary `interface`. A step whose call is missing and a call without an answer are injected;
failures, timeouts and the nightly pause are not: each of those calls is made again until it succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import dirt
from streaming.simulator.feeds import PROVINCE, Ground
from streaming.simulator.parcels import Feed, arranged
from streaming.simulator.truth import Truth

Outage: TypeAlias = tuple[str, np.datetime64, np.datetime64]
MODEL, LOST_CALL, NO_RESPONSE = "interface_gap", "lost_call", "no_response"
SOURCE, NAME = "province_platform", "interface_call"
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


def feed(random: np.random.Generator, ground: Ground, vocabularies: Vocabularies, truth: Truth) -> Feed:
    """Each week a Parquet file from the province: every attempt of every call that the steps of the ground made before its end.

    Truth gets the steps (local step ids of the city) whose call was lost or has no answer; of the latter the call as the other half.
    """
    end = (ground.first_day + np.timedelta64(ground.days, "D")).astype("datetime64[ms]")
    due = due_calls(ground.steps, ground.events, vocabularies)
    drawn = random.random(len(due))
    lost, unanswered = drawn < _LOST_SHARE, (drawn >= _LOST_SHARE) & (drawn < _LOST_SHARE + _NO_RESPONSE_SHARE)
    wait = np.minimum(random.lognormal(np.log(2500), 1.0, len(due)), 120_000).astype("timedelta64[ms]")
    due = due.assign(at=_after_pause(random, due.happened_at.to_numpy().astype("datetime64[ms]") + wait), unanswered=unanswered)
    # What is called in the last second is written down after the end: it is not in the log, and not lost.
    in_time = (due["at"] < end - np.timedelta64(1, "s")).to_numpy()
    due["request_id"] = np.frombuffer(random.bytes(8 * len(due)).hex().encode(), "S16").astype(str).astype(object)
    calls = _attempts(random, due[~lost & in_time], ground, end)
    for kind, chosen in ((LOST_CALL, lost), (NO_RESPONSE, unanswered)):
        found = due[chosen & in_time & ~ground.events.is_deleted.to_numpy()[due.event]]
        step_id = found.event_id + "-" + found.step_no.astype(str)
        truth.add(MODEL, kind, found.sender_code, step_id, found.call_id + "-1" if kind == NO_RESPONSE else None)
    week = calls.called_at.dt.isocalendar()
    file = "interface_call-" + week.year.astype(str) + "-w" + week.week.astype(str).str.zfill(2) + ".parquet"
    rows = calls.assign(_sender=PROVINCE, _file=file.to_numpy(), _order=calls.called_at.astype("int64").astype(float))
    each = max(1, round(len(rows) * _EACH_KIND_SHARE))
    parts = [
        rows,
        dirt.spoiled_cells(random, rows, _DIRT, each, "call_id"),
        dirt.repeated(random, rows, max(2, round(len(rows) * _REPEATED_SHARE))),
    ]
    return arranged(NAME, parts, _CALL, source=SOURCE)


def due_calls(steps: pd.DataFrame, events: pd.DataFrame, vocabularies: Vocabularies) -> pd.DataFrame:
    """The steps that must make a call, by event and step number, each with its interface.

    Columns: event (row), step_no, happened_at, sender_code, event_id, call_id (without the attempt), interface_code, caller_system, callee_system,
    limit_ms.
    """
    interfaces = vocabularies["interface"].rows.to_pandas()
    channel = events.channel_code.to_numpy(object)[steps.event]
    parts = []
    for interface in interfaces[interfaces.step_action.notna()].itertuples():
        chosen = (steps.action_code == interface.step_action).to_numpy()
        if isinstance(interface.from_states, str):
            chosen &= steps.from_state.isin(interface.from_states.split()).to_numpy()
        if isinstance(interface.channel_code, str):
            chosen &= channel == interface.channel_code
        names = {"interface_code": interface.code, "caller_system": interface.caller_system, "callee_system": interface.callee_system}
        parts.append(steps.loc[chosen, ["event", "step_no", "happened_at"]].assign(**names, limit_ms=int(str(interface.limit_ms))))
    due: pd.DataFrame = pd.concat(parts).sort_values(["event", "step_no"], kind="stable", ignore_index=True)
    due["sender_code"] = events.sender_code.to_numpy(object)[due.event]
    due["event_id"] = events.event_id.to_numpy(object)[due.event]
    due["call_id"] = "DY" + due.sender_code.str[:4] + due.event_id + "-" + due.step_no.astype(str)
    return due


def _after_pause(random: np.random.Generator, at: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """Calls that fall into the gateway's pause come in the minutes after it."""
    day = at.astype("datetime64[D]")
    weekday = (day.astype(np.int64) + _THURSDAY) % 7
    minutes = np.where(weekday == _LONG_PAUSE_WEEKDAY, _LONG_PAUSE_MINUTES, _PAUSE_MINUTES).astype("timedelta64[m]")
    start: NDArray[Any] = day.astype("datetime64[ms]") + np.timedelta64(_PAUSE_HOUR * 3_600_000, "ms")
    reopened: NDArray[Any] = start + minutes.astype("timedelta64[ms]")
    queued = reopened + random.integers(0, _QUEUE_SECONDS * 1000, len(at)).astype("timedelta64[ms]")
    return np.where((at >= start) & (at < reopened), queued, at)


def _attempts(random: np.random.Generator, due: pd.DataFrame, ground: Ground, end: np.datetime64) -> pd.DataFrame:
    """Every attempt before the end, in the columns of the feed."""
    outages = _outages(random, ground, sorted(set(due.callee_system))) if len(due) else []
    waiting, parts = due, []
    for attempt in range(1, _ATTEMPTS + 1):
        rows = _answered(random, waiting, outages, last=attempt == _ATTEMPTS).assign(attempt_no=attempt)
        parts.append(rows)
        # What got no answer is not tried again: nobody knows that it did not arrive.
        failed = rows[rows.status_code.isin(["failed", "timeout"])]
        pause = random.integers(_AGAIN_SECONDS[0] * 1000, _AGAIN_SECONDS[1] * 1000, len(failed)).astype("timedelta64[ms]")
        later = _after_pause(random, failed["at"].to_numpy() + failed.duration_ms.to_numpy().astype("timedelta64[ms]") + pause)
        waiting = failed[list(due.columns)].assign(at=later)
        waiting = waiting[waiting["at"] < end]
    calls = pd.concat(parts, ignore_index=True)
    village = ground.territory.grids.region_code.to_numpy(object)[ground.events.grid.to_numpy()[calls.event]]
    answer = calls["at"].to_numpy() + calls.duration_ms.fillna(0).to_numpy().astype("timedelta64[ms]")
    calls = calls.assign(
        call_id=calls.call_id + "-" + calls.attempt_no.astype(str),
        region_code=village,
        correlation_type="event",
        correlation_id=calls.sender_code + "-" + calls.event_id,
        called_at=calls["at"],
        request_bytes=np.round(random.lognormal(np.log(1900), 0.4, len(calls))).astype(int),
        source_version=1,
        # The log's own clock counts seconds: it writes a call down once it is over.
        changed_at=answer.astype("datetime64[s]") + np.timedelta64(1, "s"),
    )
    calls["response_bytes"] = pd.Series(np.round(random.lognormal(np.log(260), 0.5, len(calls)))).where(calls.duration_ms.notna())
    calls = calls[calls.changed_at < end]
    numbers = dict.fromkeys(("duration_ms", "http_status", "response_bytes"), "Int64")
    ordered: pd.DataFrame = calls.astype(numbers).sort_values(["called_at", "call_id"], kind="stable", ignore_index=True)[_CALL.names]
    return ordered


def _answered(random: np.random.Generator, calls: pd.DataFrame, outages: Sequence[Outage], *, last: bool) -> pd.DataFrame:
    """The calls with how each went: duration_ms, status_code, http_status, error_class."""
    drawn, kind = random.random(len(calls)), random.random(len(calls))
    at, callee = calls["at"].to_numpy(), calls.callee_system.to_numpy(object)
    is_out = np.zeros(len(calls), np.bool_)
    for system, start, end in outages:
        is_out |= (callee == system) & (at >= start) & (at < end)
    timeout, failed = drawn < _TIMEOUT_SHARE, (drawn >= _TIMEOUT_SHARE) & (drawn < _TIMEOUT_SHARE + _FAILED_SHARE)
    failed |= is_out & (drawn >= 1 - _FAILED_IN_OUTAGE_SHARE)
    # An answer that never came is one of the first attempts; the last attempt is the one that succeeds.
    unanswered = calls.unanswered.to_numpy()
    timeout, failed = timeout & ~unanswered & (not last), failed & ~unanswered & (not last)
    took = np.minimum(random.lognormal(np.log(_MEDIAN_MS), _SPREAD, len(calls)), calls.limit_ms.to_numpy() - 1).astype(np.int64)
    refused = failed & ~is_out & (kind < 0.5)
    status, error, code = np.full(len(calls), "success", object), np.full(len(calls), None, object), np.full(len(calls), 200.0)
    for chosen, said, why, number in (
        (unanswered, NO_RESPONSE, "lost_connection", np.nan),
        (timeout, "timeout", "timeout", 504),
        (failed, "failed", "unavailable", 503),
        (refused, "failed", "invalid_request", 400),
    ):
        status[chosen], error[chosen], code[chosen] = said, why, number
    duration = np.where(unanswered, np.nan, np.where(timeout, calls.limit_ms.to_numpy(), took))
    return calls.assign(duration_ms=duration, status_code=status, http_status=code, error_class=error)


def _outages(random: np.random.Generator, ground: Ground, systems: Sequence[str]) -> list[Outage]:
    """Which system was down, from when, until when."""
    count = max(1, ground.days // _DAYS_PER_OUTAGE)
    start = ground.first_day.astype("datetime64[ms]") + random.integers(0, ground.days * 1440, count).astype("timedelta64[m]")
    end = start + random.integers(*_OUTAGE_MINUTES, count).astype("timedelta64[m]")
    down = random.integers(len(systems), size=count)
    return [(systems[system], start[number], end[number]) for number, system in enumerate(down)]
