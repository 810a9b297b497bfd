"""Bad rows among the good ones, each with what must become of it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd

from streaming.simulator.parcels import LINE, PLACE

REFUSED, DUPLICATE, ACCEPTED = "refused", "duplicate", "accepted"
# A good row is told from a bad one that was made from it by its id: no sequence of a sender reaches this digit at that place.
_BAD_ID_MARK = "9"
# Stands in a change for a village of another city than the sender's.
ELSEWHERE = "elsewhere"
_VILLAGES = {"330100000000": "330106002051", "330200000000": "330203001001"}


@dataclasses.dataclass(frozen=True)
class Dirt:
    """One way to spoil a row, and the reason for which it must be refused. A change to None takes the value away.

    `spoil` is done to a JSON line's bytes after the change.
    """

    kind: str
    rule: str
    field: str | None
    change: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    spoil: Literal["gb18030", "nul", "cut"] | None = None


EVENT = (
    Dirt("wrong_type", "type", "source_version", {"source_version": "第一版"}),
    Dirt("wrong_type", "type", "reported_at", {"reported_at": "昨天下午三点"}),
    Dirt("wrong_type", "type", "longitude", {"longitude": "东经120度"}),
    Dirt("unknown_code", "code_list", "class_code", {"class_code": "8888"}),
    Dirt("unknown_code", "code_list", "state_code", {"state_code": "办结"}),
    Dirt("missing_required", "required", "description", {"description": None}),
    Dirt("missing_required", "required", "class_code", {"class_code": None}),
    Dirt("wrong_pattern", "pattern", "reporter_phone", {"reporter_phone": "8765-4321"}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("out_of_range_position", "minimum", "longitude", {"longitude": 12.0155, "latitude": 30.27}),
    Dirt("out_of_range_position", "maximum", "latitude", {"longitude": 120.155, "latitude": 302.7}),
    Dirt("broken_rule", "closed_after_reported", None, {"closed_at": "2020-01-01 00:00:00"}),
    Dirt(
        "broken_rule", "not_from_the_future", None,
        {"reported_at": "2199-01-01 08:00:00", "occurred_at": "2199-01-01 08:00:00", "closed_at": None, "state_code": "reported"},
    ),
    Dirt("unknown_column", "unknown_column", "weather", {"weather": "小雨"}),
    Dirt("broken_encoding", "encoding", None, spoil="gb18030"),
    Dirt("nul_byte", "encoding", None, spoil="nul"),
)  # fmt: skip
_FAR_OFF = pd.Timestamp("2199-01-01 08:00")
UNKNOWN_CLASS = next(d for d in EVENT if d.field == "class_code" and d.rule == "code_list")
# A typed file holds neither text for a number or a time, nor a column that only some rows have, nor broken bytes.
EVENT_TYPED = (
    *(d for d in EVENT if d.kind not in {"wrong_type", "unknown_column", "broken_encoding", "nul_byte", "broken_rule"}),
    Dirt("broken_rule", "closed_after_reported", None, {"closed_at": pd.Timestamp("2020-01-01")}),
    Dirt(
        "broken_rule", "not_from_the_future", None,
        {"reported_at": _FAR_OFF, "occurred_at": _FAR_OFF, "closed_at": None, "state_code": "reported"},
    ),
)  # fmt: skip
TRUNCATED = Dirt("truncated_line", "json", None, spoil="cut")
EVENT_STEP = (
    Dirt("wrong_type", "type", "step_no", {"step_no": "第二步"}),
    Dirt("unknown_code", "code_list", "action_code", {"action_code": "办理"}),
    Dirt("missing_required", "required", "event_id", {"event_id": None}),
    Dirt("broken_rule", "report_is_first", None, {"step_no": 1, "action_code": "handle", "from_state": "dispatched", "to_state": "handling"}),
)
# A typed file cannot hold text for a number.
EVENT_STEP_TYPED = EVENT_STEP[1:]
GRID = (
    Dirt("wrong_type", "type", "resident_count", {"resident_count": "约一千人"}),
    Dirt("unknown_code", "code_list", "grid_type_code", {"grid_type_code": "普通网格"}),
    Dirt("missing_required", "required", "grid_name", {"grid_name": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("out_of_range_position", "minimum", "latitude", {"latitude": 3.0275}),
    Dirt("wrong_pattern", "pattern", "boundary", {"boundary": "120.1,30.2;120.2,30.3"}),
)
TEAM_MEMBER = (
    Dirt("wrong_type", "type", "joined_date", {"joined_date": "去年三月"}),
    Dirt("unknown_code", "code_list", "role_code", {"role_code": "组长"}),
    Dirt("missing_required", "required", "grid_id", {"grid_id": None}),
    Dirt("wrong_pattern", "pattern", "phone", {"phone": "8765-4321"}),
    Dirt("wrong_pattern", "pattern", "id_number", {"id_number": "33990119901301000X"}),
    Dirt("broken_rule", "reachable_leader", None, {"role_code": "leader", "phone": None}),
)
REGION = (
    Dirt("missing_required", "required", "region_name", {"region_name": None}),
    Dirt("broken_rule", "code_fits_level", None, {"region_level": 4}),
    Dirt("broken_rule", "parent_unless_province", None, {"parent_code": None}),
)


def spoiled_lines(random: np.random.Generator, rows: pd.DataFrame, kinds: Sequence[Dirt], each: int, key: str) -> pd.DataFrame:
    """`each` bad JSON lines of each kind, beside good ones of `rows` (place columns and `_line`) and made from them, with ids of their own."""
    return pd.concat([_made_from(_picked(random, rows, each), dirt, key, number * each) for number, dirt in enumerate(kinds)], ignore_index=True)


def planted_lines(random: np.random.Generator, rows: pd.DataFrame, dirt: Dirt, changes: Sequence[Mapping[str, Any]], key: str) -> pd.DataFrame:
    """Bad lines of one kind that carry the given values besides."""
    return _made_from(_picked(random, rows, len(changes)), dirt, key, 80_000, changes)


def truncated_line(line: bytes, number: int, key: str) -> bytes:
    """The line of another row that breaks off in its middle."""
    values = json.loads(line)
    return _spoil(json.dumps(values | {key: _bad_id(values[key], 90_000 + number)}, ensure_ascii=False), TRUNCATED)


def repeated(
    random: np.random.Generator, rows: pd.DataFrame, count: int, *, files: Mapping[str, Sequence[str]] | None = None, end: float | None = None
) -> pd.DataFrame:
    """Copies of good rows: half of them right after the original, half at the end of the sender's next file (the same file where there is none).

    `files` are each sender's in order and `end` is past the last place in any of them; both are taken from the rows where these are all there are.
    """
    copies = _picked(random, rows, count)
    names = files or rows.groupby("_sender")["_file"].unique().map(sorted)
    following = {(s, f): of[min(i + 1, len(of) - 1)] for s, of in names.items() for i, f in enumerate(of)}
    late = np.arange(len(copies)) % 2 == 1
    copies.loc[late, "_file"] = [following[place] for place in zip(copies._sender[late], copies._file[late], strict=True)]
    copies.loc[late, "_order"] = rows._order.max() + 1 if end is None else end
    return copies.assign(_kind="repeated", _state=DUPLICATE, _rule=None, _field=None)


def delayed(random: np.random.Generator, rows: pd.DataFrame, candidates: pd.Series, count: int) -> pd.DataFrame:
    """The rows with some of the candidates moved to a file two to six deliveries later; they must be accepted all the same."""
    names = rows.groupby("_sender")["_file"].unique().map(sorted)
    position = {(s, f): i for s, files in names.items() for i, f in enumerate(files)}
    chosen = random.permutation(np.flatnonzero(candidates))[:count]
    rows = rows.copy()
    where, kind, state = rows._file.to_numpy(object, copy=True), np.full(len(rows), None, object), np.full(len(rows), None, object)
    for row, later in zip(chosen, random.integers(2, 7, len(chosen)), strict=True):
        files = names[rows._sender.iloc[row]]
        at = position[rows._sender.iloc[row], where[row]] + int(later)
        if at < len(files):
            where[row], kind[row], state[row] = files[at], "late", ACCEPTED
    return rows.assign(_file=where, _kind=kind, _state=state)


def spoiled_cells(
    random: np.random.Generator, rows: pd.DataFrame, kinds: Sequence[Dirt], each: int, key: str | None, *, first: int = 0
) -> pd.DataFrame:
    """`each` bad rows of each kind for a CSV, XLSX or Parquet file, made from good ones, with ids of their own counted from `first`.

    Without `key` a bad row keeps the key of the good one: codes and dates leave no room for another.
    """
    parts = []
    # Whatever any kind changes may hold other types than the good rows have.
    mixed = dict.fromkeys((column for dirt in kinds for column in dirt.change), object)
    for number, dirt in enumerate(kinds):
        part = _picked(random, rows, each).astype(mixed)
        if key is not None:
            part[key] = [_bad_id(str(good), first + number * each + i) for i, good in enumerate(part[key])]
        for column, value in dirt.change.items():
            part[column] = pd.Series([_value(value, sender) for sender in part["_sender"]], part.index, object)
        parts.append(part.assign(_kind=dirt.kind, _state=REFUSED, _rule=dirt.rule, _field=dirt.field))
    return pd.concat(parts, ignore_index=True)


def _picked(random: np.random.Generator, rows: pd.DataFrame, count: int) -> pd.DataFrame:
    return rows.iloc[np.sort(random.choice(len(rows), size=min(count, len(rows)), replace=False))].copy()


def _made_from(good: pd.DataFrame, dirt: Dirt, key: str, first: int, changes: Sequence[Mapping[str, Any]] | None = None) -> pd.DataFrame:
    lines = []
    for number, (line, sender) in enumerate(zip(good[LINE], good["_sender"], strict=True)):
        spoiled = {column: _value(value, sender) for column, value in dirt.change.items()}
        values = json.loads(line) | dict(changes[number] if changes else {}) | spoiled
        values[key] = _bad_id(json.loads(line)[key], first + number)
        lines.append(_spoil(json.dumps({k: v for k, v in values.items() if v is not None}, ensure_ascii=False), dirt))
    return good[PLACE].assign(**{LINE: lines, "_kind": dirt.kind, "_state": REFUSED, "_rule": dirt.rule, "_field": dirt.field})


def _value(value: Any, sender: str) -> Any:
    return next(village for city, village in _VILLAGES.items() if city != sender) if value == ELSEWHERE else value


def _spoil(line: str, dirt: Dirt) -> bytes:
    match dirt.spoil:
        case "gb18030":
            return line.encode("gb18030")
        case "nul":
            return line.encode().replace("，".encode(), b"\0", 1) if "，" in line else line.encode()[:-1] + b"\0}"
        case "cut":
            return line[: len(line) // 2].encode()
        case None:
            return line.encode()


def _bad_id(good: str, number: int) -> str:
    return f"{good.partition('-')[0][:-6]}{_BAD_ID_MARK}{number:05d}"
