"""Whatever object stands in a line: its values come out equal, or the row has a reason; and every format agrees with JSON."""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gridlake.contracts import Contract, load
from gridlake.regions import RegionTree
from gridlake.senders import load as load_sender
from gridlake.settings import Settings
from gridlake.vocabularies import load_all
from streaming.checks import Checks
from streaming.decoder import Decoded, Decoder
from streaming.rows import Cells

DECLARATIONS = Path(__file__).parents[1] / "streaming" / "declarations"
CONTRACT: Contract = load(DECLARATIONS / "expectations/contracts/office/visit.odcs.yaml")
DECODER = Decoder(CONTRACT)
COLUMNS = {c.name: c for c in CONTRACT.columns}
MANY = settings(deadline=None, max_examples=300)
RECEIVED = datetime.fromisoformat("2026-06-01T08:00:00+00:00")

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=8)
    | st.sampled_from(["2026-05-01 09:00:00", "2026-05-01", "2011-11-06 01:30:00", "2026-03-08 02:30:00", "", '":', "a\u0000b"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=3,
)
names = st.sampled_from([*COLUMNS, "_op", "platform_url"]) | st.text(max_size=4)
objects = st.dictionaries(names, anything, max_size=12)


def strictly(name: str, value: Any) -> bool:
    """Whether a JSON value is of a column's type, written without a look at the decoder."""
    kind = COLUMNS[name].logical_type if name in COLUMNS else "string"
    if value is None:
        return True
    if kind == "integer":
        return type(value) is int and -(2**63) <= value < 2**63
    if kind == "number":
        return type(value) is float or (type(value) is int and abs(value) < 2**1000 and int(float(value)) == value)
    if kind == "boolean":
        return type(value) is bool
    if type(value) is not str or "\0" in value:
        return False
    try:
        if kind == "date":
            return value == date.fromisoformat(value).isoformat()
        if kind == "timestamp":
            return value == datetime.fromisoformat(value).isoformat(sep=" ", timespec="seconds") and value != "2026-03-08 02:30:00"
    except ValueError:
        return False
    return True


def values_of(decoded: Decoded, row: int) -> dict[str, Any]:
    return {name: array[row].as_py() for name, array in decoded.columns.items()}


@MANY
@given(st.lists(objects, max_size=12), st.sampled_from([(",", ":"), (", ", ": "), (" , ", " : ")]), st.booleans())
def test_an_object_is_decoded_to_equal_values_or_refused_with_a_reason(
    rows: list[dict[str, Any]], separators: tuple[str, str], escaped: bool
) -> None:
    decoded = DECODER.lines([json.dumps(row, separators=separators, ensure_ascii=escaped).encode() for row in rows])
    refused = decoded.reasons.mask(len(rows))
    assert len(decoded) == len(rows)
    assert not decoded.unread.any()
    for number, row in enumerate(rows):
        known = {name: value for name, value in row.items() if name in COLUMNS}
        expected = all(strictly(name, value) for name, value in known.items())
        expected &= not set(row) - set(COLUMNS) - {"_op", "platform_url"}
        expected &= row.get("_op") in (None, "upsert", "delete")
        assert expected == (not refused[number]), row
        if not refused[number]:
            found = values_of(decoded, number)
            for name, value in known.items():
                if COLUMNS[name].logical_type in ("string", "integer", "number", "boolean"):
                    assert found[name] == value
                    assert (found[name] is None) == (value is None)
            assert all(found[name] is None for name in COLUMNS if name not in row)
            assert decoded.op[number].as_py() == (row.get("_op") or "upsert")


@MANY
@given(
    st.lists(
        st.binary(max_size=40) | objects.map(lambda o: json.dumps(o).encode()) | st.sampled_from([b"{}", b"[]", b"NaN", b'{"a":1}x']), max_size=12
    )
)
def test_any_bytes_are_a_row_with_values_or_a_row_with_a_reason(raw: list[bytes]) -> None:
    decoded = DECODER.lines(raw)
    assert len(decoded) == len(raw) == len(decoded.unread)
    assert all(len(array) == len(raw) for array in decoded.columns.values())
    for row, line in enumerate(raw):
        try:
            is_object = type(json.loads(line.decode())) is dict
        except (ValueError, RecursionError):
            is_object = False
        if not is_object:
            assert decoded.unread[row]
    assert not (decoded.unread & ~decoded.reasons.mask(len(raw))).any(), "a row without values has a reason"


@MANY
@given(st.lists(st.tuples(names, anything), min_size=2, max_size=6), st.sampled_from([":", " :", "\t: "]))
def test_a_key_written_twice_is_always_seen(pairs: list[tuple[str, Any]], colon: str) -> None:
    line = "{" + ",".join(json.dumps(k) + colon + json.dumps(v) for k, v in pairs) + "}"
    decoded = DECODER.lines([line.encode()])
    twice = len({k for k, _ in pairs}) < len(pairs)
    assert any(reason.rule == "duplicate_key" for reason in decoded.reasons) == twice


@MANY
@given(
    st.lists(
        st.fixed_dictionaries(
            {},
            optional={
                "visit_id": st.text("ABCxyz 012,\"'\n来", min_size=1, max_size=6),
                "visitor_count": st.integers(-(2**63), 2**63 - 1),
                "temperature_c": st.floats(allow_nan=False, allow_infinity=False),
                "is_urgent": st.booleans(),
                "visit_date": st.dates(date(1900, 1, 1)).map(date.isoformat),
            },
        ),
        min_size=1,
        max_size=8,
    )
)
def test_text_cells_and_parquet_columns_give_the_values_that_json_gives(rows: list[dict[str, Any]]) -> None:
    by_json = DECODER.lines([json.dumps(row).encode() for row in rows])
    header = ("is_urgent", "visit_id", "temperature_c", "visit_date", "visitor_count")
    written = [[None if (v := row.get(h)) is None else v if isinstance(v, str) else json.dumps(v) for h in header] for row in rows]
    by_cells = DECODER.cells(Cells(header, written, [b""] * len(rows)))
    table = pa.Table.from_pylist([{h: row.get(h) for h in header} for row in rows])
    by_columns = DECODER.table(table)
    for other in (by_cells, by_columns):
        assert not other.reasons.entries
        for name, array in by_json.columns.items():
            assert other.columns[name].equals(array), name


@MANY
@given(st.lists(objects, max_size=10))
def test_every_row_is_accepted_or_refused_and_reasons_add_up(rows: list[dict[str, Any]]) -> None:
    checks, sender = environment()
    decoded = DECODER.lines([json.dumps(row).encode() for row in rows])
    reasons, warnings = checks.check(decoded, [sender], np.zeros(len(rows), np.int64), RECEIVED)
    refused = reasons.mask(len(rows))
    groups = np.arange(len(rows)) % 2
    counted = reasons.counts(groups, 2)
    listed = reasons.lists(np.flatnonzero(refused)).to_pylist()
    assert len(listed) == int(refused.sum())
    assert all(found for found in listed), "no refused row without a reason"
    assert sum(sum(c.values()) for c in counted) == sum(map(len, listed))
    assert all(0 <= row < len(rows) for reason in [*reasons, *warnings] for row in reason.rows)
    for number, row in enumerate(rows):
        if not refused[number] and row.get("_op") != "delete":
            assert {"visit_id", "region_code", "started_at", "source_version"} <= row.keys()


_environment: list[Any] = []


def environment() -> tuple[Checks, Any]:
    if not _environment:
        vocabularies = load_all(Settings(project=DECLARATIONS))
        _environment.append(Checks(CONTRACT, vocabularies, RegionTree(vocabularies.regions)))
        _environment.append(load_sender(DECLARATIONS / "expectations/senders/north.yml"))
    return _environment[0], _environment[1]


@pytest.mark.parametrize(
    ("policy", "started", "ended", "expected"),
    [
        ("earlier", "01:30", "01:45", ("05:30", "05:45")),
        ("earlier", "01:45", "01:30", ("05:45", "06:30")),  # the second 01:30: the first would be before the beginning
        ("earlier", "00:30", "01:30", ("04:30", "05:30")),
        ("later", "01:30", "01:45", ("06:30", "06:45")),
        ("refuse", "01:30", "02:45", (None, "07:45")),
    ],
)
def test_a_time_shown_twice_is_taken_as_the_contract_says(policy: str, started: str, ended: str, expected: tuple[str | None, str]) -> None:
    contract = load(CONTRACT.path)
    object.__setattr__(contract, "ambiguous_time", policy)
    row = {"started_at": f"2011-11-06 {started}:00", "ended_at": f"2011-11-06 {ended}:00"}
    decoded = Decoder(contract).lines([json.dumps(row).encode()])
    found = tuple(None if (v := decoded.columns[c][0].as_py()) is None else v.strftime("%H:%M") for c in row)
    assert found == expected
    assert [(r.rule, r.field) for r in decoded.reasons] == ([("ambiguous_local_time", "started_at")] if policy == "refuse" else [])


def test_floats_survive_the_way_through_text() -> None:
    for value in (0.1, 1e-300, 120.153576, math.pi, -0.0):
        decoded = DECODER.cells(Cells(("temperature_c",), [[repr(value)]], [b""]))
        assert decoded.columns["temperature_c"][0].as_py() == value
