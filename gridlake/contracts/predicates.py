"""What a row rule may say: one boolean expression over one row that DuckDB and Spark read alike."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import duckdb

# Functions whose names, arguments and results are the same on DuckDB, Sail and Apache Spark.
AGREED_FUNCTIONS = frozenset(
    {"abs", "ceil", "floor", "coalesce", "nullif", "greatest", "least"}
    | {"concat", "contains", "left", "length", "lower", "ltrim", "replace", "right", "rtrim", "substr", "substring", "trim", "upper"}
    | {"year", "month", "day", "hour", "minute", "second"}
)
# How DuckDB's parser spells operators, `like` and `interval n days`; they are syntax, not functions, to whoever writes a rule.
_OPERATORS = frozenset({"+", "-", "*", "/", "%", "||", "~~", "!~~", "trunc", "to_days", "to_hours", "to_minutes", "to_seconds", "to_weeks"})
_NODES = frozenset({"BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR", "TYPE"})
_TEXT = re.compile(r"'(?:[^']|'')*'")
# ADR 1 and the list of engine differences: each of these gives another result on one of the engines, silently.
_TRAPS = {
    r"\\[wWdDsSbB]": r"\w, \d, \s or \b (Unicode on one engine, ASCII on the other)",
    r"(?i)\bweekday\s*\(|\bextract\s*\(": "weekday() or extract()",
}
DUCKDB_TYPES: Mapping[str, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "timestamp": "TIMESTAMP",
}


def objections(predicate: str, columns: Mapping[str, str]) -> Iterator[str]:
    """What stands against a predicate over columns {name: DuckDB type}; nothing if it may be used."""
    if any("''" in text[1:-1] for text in _TEXT.findall(predicate)):
        yield f"a doubled quote in a text (Sail drops it) in {predicate!r}"
    for pattern, words in _TRAPS.items():
        if re.search(pattern, predicate):
            yield f"{words} in {predicate!r}"
    with duckdb.connect() as connection:
        (text,) = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({predicate})"]).fetchone() or ("",)
        parsed = json.loads(text)
        if parsed.get("error"):
            yield f"{predicate!r} does not parse: {_first_line(parsed.get('error_message'))}"
            return
        foreign = sorted(set(_foreign(parsed)))
        if foreign:
            yield f"{', '.join(foreign)} in {predicate!r}"
            return
        named = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
        connection.execute(f"CREATE TABLE one_row ({named})")
        try:
            described = connection.execute(f"DESCRIBE SELECT ({predicate}) FROM one_row").fetchall()
        except duckdb.Error as error:
            yield f"{predicate!r} does not fit the columns: {_first_line(error)}"
            return
        if described[0][1] != "BOOLEAN":
            yield f"{predicate!r} gives {described[0][1]}"


def _foreign(node: Any) -> Iterator[str]:
    if isinstance(node, list):
        for part in node:
            yield from _foreign(part)
    elif isinstance(node, dict):
        kind = node.get("class")
        if kind and kind not in _NODES:
            yield f"a {kind.lower().replace('_', ' ')}"
        name = node.get("function_name")
        if name and name.lower() not in AGREED_FUNCTIONS | _OPERATORS:
            yield f"{name}()"
        for part in node.values():
            yield from _foreign(part)


def _first_line(message: object) -> str:
    return str(message).strip().splitlines()[0]
