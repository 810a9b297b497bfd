"""Are two lakes equal? Compared column by column in DuckDB, so that a million rows take seconds."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gridlake.settings import CHECKOUT
from gridlake.tables import Tables

# Filled anew by every process that writes a table, so not part of "the same tables".
WHEN_AND_WHO = frozenset({"_received_at", "received_at", "last_received_at", "run_id", "checked_at", "published_at"})
# One set of rows a run, by design.
NOT_COMPARED = frozenset({"ops.check_result"})
TOLERANCE = 1e-9


# Entities whose library is as their feed has it.
PLAIN = frozenset(model.stem for model in (CHECKOUT / "dbt" / "models").glob("*/*.sql") if "as_reported(" in model.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Rows:
    """A table as it stood: its Parquet files, which later commits leave where they are, and its schema."""

    schema: pa.Schema
    files: tuple[str, ...]
    without: frozenset[str] = WHEN_AND_WHO

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """The columns that are compared, in the order of their names."""
        return {name: self.schema.field(name).type for name in sorted(self.schema.names) if name not in self.without}

    @property
    def query(self) -> str:
        """The rows as DuckDB reads them, each type in one form whoever wrote the file."""
        shown = ", ".join(f'{_comparable(name, kind)} as "{name}"' for name, kind in self.columns.items())
        # Aliases must not be taken for the columns of the same name within other expressions, hence the level of its own.
        return f"(select {shown} from (select * from read_parquet({list(self.files)}, union_by_name = true)))"


def content(home: Path, without: Collection[str] = ()) -> dict[str, Rows]:
    """Every table of a lake as it stands now; `without` names more columns that are not compared."""
    tables = Tables(home / "tables")
    left_out = WHEN_AND_WHO.union(without)
    return {n: Rows(tables.schema(n), tuple(tables.files(n)), left_out) for n in tables.names() if n not in NOT_COMPARED}


def rows_of(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a lake: `{schema.table}` stands for a table at its newest version."""
    tables = Tables(home / "tables")
    named = re.sub(r"\{([a-z0-9_.]+)\}", lambda found: f"read_parquet({tables.files(found[1])})", sql)
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        return connection.execute(named).fetchall()


def differing(one: dict[str, Rows], other: dict[str, Rows]) -> dict[str, str]:
    """The tables that are not equal, row for row and type for type, with what differs."""
    found = {}
    for name in sorted(one.keys() | other.keys()):
        if name not in one or name not in other:
            found[name] = f"only in the {'second' if name not in one else 'first'} lake"
        elif said := _difference(one[name], other[name]):
            found[name] = said
    return found


def _difference(one: Rows, other: Rows) -> str | None:
    if one.columns != other.columns:
        return f"columns {sorted(one.columns.items() ^ other.columns.items(), key=str)}"
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        counts = [connection.execute(f"select count(*) from {rows.query}").fetchall()[0][0] if rows.files else 0 for rows in (one, other)]
        if 0 in counts:
            return None if counts == [0, 0] else f"{counts[0]:,} rows against {counts[1]:,}"
        hashed = f"hash({', '.join(_rounded(name, kind) for name, kind in one.columns.items())})"
        # How often each row is there, by its hash: eight bytes a row, however wide it is.
        connection.execute(f"""
            create table uneven as
            select hash, sum(side) as surplus
            from (select {hashed} as hash, 1 as side from {one.query} union all select {hashed}, -1 from {other.query})
            group by hash having sum(side) <> 0
        """)
        if connection.execute("select count(*) from uneven").fetchall() == [(0,)]:
            return None
        # Doubles last: rows that differ in them alone stand side by side.
        order = ", ".join(f'"{n}"' for n in sorted(one.columns, key=lambda n: pa.types.is_floating(one.columns[n])))
        left = [
            connection.execute(f"select * from {rows.query} where {hashed} in (select hash from uneven) order by {order} limit 100000").fetchall()
            for rows in (one, other)
        ]
    if len(left[0]) == len(left[1]) and all(_is_close(a, b) for a, b in zip(*left, strict=True)):
        return None
    return (
        f"{counts[0]:,} rows against {counts[1]:,}; {len(left[0]):,} against {len(left[1]):,} differ, the first: {_first(list(one.columns), *left)}"
    )


def _comparable(name: str, kind: pa.DataType) -> str:
    if pa.types.is_timestamp(kind):
        # Spark may write 96 bits, the others 64.
        return f'epoch_us("{name}")'
    if pa.types.is_map(kind):
        return f'list_sort(map_entries("{name}"))'
    return f'"{name}"'


def _rounded(name: str, kind: pa.DataType) -> str:
    return f'round("{name}", 9)' if pa.types.is_floating(kind) else f'"{name}"'


def _is_close(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return all(
        abs(a - b) <= TOLERANCE * max(1.0, abs(a), abs(b)) if isinstance(a, float) and isinstance(b, float) else a == b
        for a, b in zip(one, other, strict=True)
    )


def _first(columns: list[str], one: list[tuple[Any, ...]], other: list[tuple[Any, ...]]) -> str:
    for a, b in zip(one, other, strict=False):
        if not _is_close(a, b):
            return repr({c: (x, y) for c, x, y in zip(columns, a, b, strict=True) if x != y} | dict(zip(columns[:1], a[:1], strict=True)))[:900]
    return repr(dict(zip(columns, (one or other)[-1], strict=True)))[:900]
