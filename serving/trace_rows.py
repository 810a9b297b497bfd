"""The rows that a row of a library or mart was made of, table by table, along the lineage of the columns that it is asked by.

A region stands for all below it: a mart's rows in it are then made of exactly the events, visits or tasks in it. Of what they were made of
only keys are shown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake import catalogue, contracts, transform
from gridlake.lineage import Column
from gridlake.settings import Settings
from gridlake.tables import Tables
from serving.trace import LIBRARY, NotFound, Trace

SHOWN = 20
_CLOSURE = "mart.region_closure"
_REGION = "region_code"


class RowTrace:
    """Follows rows of one lake's tables to the rows above them."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._tables = Tables(settings.tables)
        self._names = frozenset(self._tables.names())
        folder = settings.home.absolute() / "dbt"
        feeds, manifest = contracts.load_all(settings), folder / "target" / "manifest.json"
        if not manifest.exists():
            raise NotFound(f"{manifest}: expected what dbt knows of this lake's tables, found none; run `gridlake run` first")
        self._lineage = catalogue.read(settings, feeds, transform.queries(settings.home), manifest).lineage

    def table_of(self, name: str) -> str | None:
        """The table of that name, with its schema or, where that is clear, without; None where there is none."""
        found = [t for t in sorted(self._names) if name in (t, t.partition(".")[2]) and t.partition(".")[0] in (*LIBRARY, "mart")]
        # A mart before the library that has its name.
        return next(iter(sorted(found, key=lambda t: not t.startswith("mart."))), None)

    def follow(self, table: str, asked: Mapping[str, str]) -> dict[str, Any]:
        """The rows of the table with these values, and by table above it how many rows they were made of, with keys; raises NotFound."""
        names = self._tables.schema(table).names
        unknown = [name for name in asked if name not in names]
        if unknown:
            raise NotFound(f"{table}: expected columns among {', '.join(names)}; came {', '.join(unknown)}")
        rows = self._rows(table, asked)
        if not rows.num_rows:
            said = ", ".join(f"{name}={value}" for name, value in asked.items())
            raise NotFound(f"{table}: expected rows with {said}, found none; dates are written 2026-03-01, region codes in full")
        shown = Trace(self._settings).shown
        sums = {f.name: pc.sum(rows.column(f.name)).as_py() for f in rows.schema if f.name.endswith("_count") and pa.types.is_integer(f.type)}
        return {
            "table": table,
            "asked": dict(asked),
            "row_count": rows.num_rows,
            "sums": sums,
            "rows": [shown(row) for row in rows.slice(0, SHOWN).to_pylist()],
            "made_of": {above: self._above(above, places) for above, places in self._followed(table, asked)},
        }

    def _followed(self, table: str, asked: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
        """The tables above whose rows are found by the same values: those from which every asked column comes."""
        for above in (t for t in self._lineage[table].tables if t in self._names):
            places, columns = {}, self._tables.schema(above).names
            for name, value in asked.items():
                origins = [o for o in self._lineage.origins(Column(table, name)) if o.column.table == above]
                kept = [o.column.name for o in origins if o.kind == "IDENTITY"]
                # A region is a subtree, so a row's own region may have been made finer or coarser on the way.
                kept += [_REGION] if name == _REGION and _REGION in columns else []
                if kept:
                    places[kept[0]] = value
            if len(places) == len(asked):
                yield above, places

    def _above(self, table: str, asked: Mapping[str, str]) -> dict[str, Any]:
        rows = self._rows(table, asked)
        named = [n for ending in ("_id", "_code") for n in rows.schema.names if n.endswith(ending)]
        key = next(iter(named), rows.schema.names[0])
        return {"where": dict(asked), "row_count": rows.num_rows, "key": key, "first": rows.column(key).slice(0, SHOWN).to_pylist()}

    def _rows(self, table: str, asked: Mapping[str, str]) -> pa.Table:
        schema = self._tables.schema(table)
        where = None
        for name, value in asked.items():
            # A table with levels has a row for each region above as well.
            if name == _REGION and _CLOSURE in self._names and "region_level" not in schema.names:
                below = self._tables.read(_CLOSURE, columns=[_REGION], where=ds.field("ancestor_code") == value).column(_REGION)
                condition = ds.field(name).isin(pa.chunked_array([*below.chunks, pa.array([value], below.type)]).combine_chunks())
            else:
                try:
                    condition = ds.field(name) == pc.cast(pa.scalar(value), schema.field(name).type)
                except pa.ArrowInvalid as error:
                    raise NotFound(f"{table}.{name}: expected a value of type {schema.field(name).type}, came {value!r}") from error
            where = condition if where is None else where & condition
        rows = self._tables.read(table, where=where)
        return rows.sort_by([(rows.schema.names[0], "ascending")])
