"""The comparison of two lakes, on which parity and killed runs rest, sees every kind of difference."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gridlake.tables import Tables
from tests.lakes import content, differing

NAME = "business.event"
SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("at", pa.timestamp("us", "UTC")),
        ("number", pa.int64()),
        ("share", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("numbers", pa.map_(pa.string(), pa.int64())),
        ("_received_at", pa.timestamp("us", "UTC")),
    ]
)
AT = datetime(2026, 3, 1, tzinfo=UTC)
ROWS: list[dict[str, Any]] = [
    {"key": f"k{n}", "at": AT, "number": n, "share": n / 3, "tags": ["a", "b"], "numbers": [("x", 1), ("y", 2)], "_received_at": AT} for n in range(5)
]
Write = Callable[[str, list[dict[str, Any]]], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Make a lake of one table; two appends, so that its rows lie in two files."""

    def written(name: str, rows: list[dict[str, Any]], schema: pa.Schema = SCHEMA) -> Path:
        tables = Tables(tmp_path / name / "tables")
        tables.ensure(NAME, schema)
        for part in (rows[:2], rows[2:]):
            tables.append(NAME, pa.Table.from_pylist(part, schema))
        return tmp_path / name

    return written


def difference(write: Write, rows: list[dict[str, Any]]) -> str | None:
    return differing(content(write("one", ROWS)), content(write("other", rows))).get(NAME)


def test_order_clocks_of_writing_map_order_and_the_last_digits_of_a_double_do_not_count(write: Write) -> None:
    later = [
        {**row, "_received_at": datetime(2026, 4, 1, tzinfo=UTC), "share": row["share"] + 1e-12, "numbers": row["numbers"][::-1]} for row in ROWS
    ]
    assert difference(write, later[::-1]) is None


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("key", "k9"),
        ("key", None),
        ("at", datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("number", 7),
        ("share", 1.00000001),
        ("share", None),
        ("tags", ["b", "a"]),
        ("tags", None),
        ("numbers", [("x", 1)]),
    ],
)
def test_one_value_that_differs_is_seen(write: Write, column: str, value: Any) -> None:
    said = difference(write, [*ROWS[:3], {**ROWS[3], column: value}, ROWS[4]])
    assert said is not None
    assert f"'{column}'" in said


def test_a_double_on_the_edge_of_rounding_is_no_difference(write: Write) -> None:
    edge = [{**row, "share": 0.1234567895} for row in ROWS]
    assert differing(content(write("a", edge)), content(write("b", [{**row, "share": row["share"] - 2e-11} for row in edge]))) == {}


def test_a_row_too_few_too_many_or_twice_is_seen(write: Write) -> None:
    one = content(write("one", ROWS))
    for name, rows in {
        "few": ROWS[:4],
        "many": [*ROWS, {**ROWS[0], "key": "k6"}],
        "twice": [*ROWS, ROWS[0]],
        "none": [],
        "instead": [*ROWS[:4], ROWS[0]],
    }.items():
        assert NAME in differing(one, content(write(name, rows))), name


def test_another_type_and_a_missing_table_are_seen(write: Write, tmp_path: Path) -> None:
    one = content(write("one", ROWS))
    tables = Tables(tmp_path / "typed" / "tables")
    schema = SCHEMA.set(2, pa.field("number", pa.int32()))
    tables.ensure(NAME, schema)
    tables.append(NAME, pa.Table.from_pylist(ROWS, schema))
    assert "int32" in differing(one, content(tmp_path / "typed"))[NAME]
    assert differing(one, {}) == {NAME: "only in the first lake"}


def test_content_stays_what_it_was_when_the_lake_goes_on(write: Write) -> None:
    home = write("one", ROWS)
    before = content(home)
    Tables(home / "tables").append(NAME, pa.Table.from_pylist(ROWS[:1], SCHEMA))
    assert differing(before, content(home))[NAME].startswith("5 rows against 6")
