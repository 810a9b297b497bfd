"""Where each column comes from: read from the SQL that dbt compiled and from what declarations say of tables that other steps write.

A column's origins are columns of the tables that its query names; `Lineage` follows them to the contracts and back to the marts.
What decides which rows there are (joins, filters, groups) is kept for the table as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, cast

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.qualify import qualify
from sqlglot.optimizer.scope import Scope, build_scope

from gridlake.runs import RunError

DIALECT = "spark"
# Where a view of the session stands, which a query names without a schema.
SESSION = "session"
# How a column comes out of its origin, the weaker first; the words are OpenLineage's subtypes of a direct transformation.
Kind = Literal["IDENTITY", "TRANSFORMATION", "AGGREGATION"]
_STRENGTH: tuple[Kind, ...] = ("IDENTITY", "TRANSFORMATION", "AGGREGATION")
# What a column does for the rows as a whole: OpenLineage's subtypes of an indirect one.
Part = Literal["JOIN", "FILTER", "GROUP_BY"]


class LineageError(RunError):
    """SQL whose columns cannot be told; `table` is what it makes."""

    def __init__(self, table: str, said: str) -> None:
        super().__init__(f"{table}: {said}")
        self.table = table


class Column(NamedTuple):
    """A column of a table, `<schema>.<table>` and its name."""

    table: str
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}"


class Origin(NamedTuple):
    """A column that another is made of, and how."""

    column: Column
    kind: Kind


class Condition(NamedTuple):
    """A column that decides which rows there are, and how."""

    column: Column
    part: Part


@dataclass(frozen=True)
class Made:
    """How one table is made: each column's origins, in the table's order, and what decides on its rows."""

    columns: Mapping[str, tuple[Origin, ...]]
    conditions: tuple[Condition, ...] = ()
    tables: tuple[str, ...] = ()
    sql: str | None = None


@dataclass(frozen=True)
class Lineage(Mapping[str, Made]):
    """Every table by name; a table that nothing here makes is one that others only read."""

    made: Mapping[str, Made]

    def __getitem__(self, table: str) -> Made:
        return self.made[table]

    def __iter__(self) -> Iterator[str]:
        return iter(self.made)

    def __len__(self) -> int:
        return len(self.made)

    def origins(self, column: Column) -> tuple[Origin, ...]:
        """What the column is made of; nothing for a column of a contract, a constant or a count of rows."""
        made = self.made.get(column.table)
        return made.columns.get(column.name, ()) if made else ()

    def used_by(self, column: Column) -> tuple[Origin, ...]:
        """The columns that are made of this one."""
        return self._users.get(column, ())

    def tables_below(self, table: str) -> tuple[str, ...]:
        """The tables whose rows or columns are made of this one's."""
        return self._tables_below.get(table, ())

    def sources(self, column: Column) -> tuple[Origin, ...]:
        """Where the column comes from in the end, each with the strongest change on the way; sorted."""
        found: dict[Column, Kind] = {}
        seen: set[tuple[Column, Kind]] = set()
        ahead = [Origin(column, "IDENTITY")]
        while ahead:
            at = ahead.pop()
            if at in seen:
                continue
            seen.add(at)
            above = self.origins(at.column)
            if not above and at.column != column:
                found[at.column] = stronger(found.get(at.column, "IDENTITY"), at.kind)
            ahead += [Origin(o.column, stronger(at.kind, o.kind)) for o in above]
        return tuple(Origin(*item) for item in sorted(found.items()))

    @cached_property
    def _users(self) -> dict[Column, tuple[Origin, ...]]:
        users: dict[Column, set[Origin]] = {}
        for table, made in self.made.items():
            for name, origins in made.columns.items():
                for origin in origins:
                    users.setdefault(origin.column, set()).add(Origin(Column(table, name), origin.kind))
        return {column: tuple(sorted(found)) for column, found in users.items()}

    @cached_property
    def _tables_below(self) -> dict[str, tuple[str, ...]]:
        below: dict[str, set[str]] = {}
        for table, made in self.made.items():
            for above in made.tables:
                below.setdefault(above, set()).add(table)
        return {table: tuple(sorted(found)) for table, found in below.items()}


def as_json(found: Lineage) -> dict[str, Any]:
    """The lineage as plain values; `from_json` gives it back."""
    return {
        table: {
            "columns": {name: [[*o.column, o.kind] for o in origins] for name, origins in made.columns.items()},
            "conditions": [[*c.column, c.part] for c in made.conditions],
            "tables": list(made.tables),
            "sql": made.sql,
        }
        for table, made in found.items()
    }


def from_json(document: Mapping[str, Any]) -> Lineage:
    """The lineage that `as_json` wrote."""
    return Lineage(
        {
            table: Made(
                {name: tuple(Origin(Column(t, c), cast(Kind, kind)) for t, c, kind in origins) for name, origins in said["columns"].items()},
                tuple(Condition(Column(t, c), cast(Part, part)) for t, c, part in said["conditions"]),
                tuple(said["tables"]),
                said["sql"],
            )
            for table, said in document.items()
        }
    )


def stronger(one: Kind, other: Kind) -> Kind:
    """What two changes one after the other amount to."""
    return max(one, other, key=_STRENGTH.index)


def of_queries(queries: Mapping[str, str], known: Mapping[str, Iterable[str]], made: Mapping[str, Made] | None = None) -> Lineage:
    """The lineage of tables by the query that each holds; `known` are the columns of tables that no query makes, `made` how they are made.

    A query of `create table … as` stands for its select. Queries may read each other in any order but a circle.
    Raises LineageError for SQL that cannot be read, names a table that is not known, or runs in a circle.
    """
    trees = {table: _parsed(table, sql) for table, sql in queries.items()}
    reads = {table: sorted({_name(t) for t in tree.find_all(exp.Table)} & trees.keys() - {table}) for table, tree in trees.items()}
    columns = {table: list(names) for table, names in known.items()}
    found: dict[str, Made] = dict(made or {})
    for table in _in_order(reads):
        found[table] = _of_query(table, trees[table], columns, queries[table])
        columns[table] = list(found[table].columns)
    return Lineage(found)


def _of_query(table: str, tree: exp.Expression, columns: Mapping[str, list[str]], sql: str) -> Made:
    """How the table is made by one parsed select, given the columns of the tables that it reads."""
    schema: dict[str, Any] = {}
    for name in {_name(t) for t in tree.find_all(exp.Table)}:
        # A name without a schema is one of the query's own or of the session.
        place = name if "." in name else f"{SESSION}.{name}"
        if place in columns:
            _add(schema, place, columns[place])
    try:
        qualified = qualify(
            tree, dialect=DIALECT, db=SESSION, schema=schema, quote_identifiers=False, identify=False, validate_qualify_columns=False,
            canonicalize_table_aliases=False,
        )  # fmt: skip
        root = build_scope(qualified)
    except SqlglotError as error:
        raise LineageError(table, f"expected SQL whose columns can be told, came: {error}") from error
    if root is None:
        raise LineageError(table, f"expected a select, came {tree.key}")
    reader = _Reader()
    origins = {name: reader.origins(root, position) for position, name in enumerate(_selected(root))}
    if "*" in origins:
        raise LineageError(table, "expected the columns of every table that it reads, it selects * from one that is not known")
    scopes = list(root.traverse())
    tables = sorted({_name(s) for scope in scopes for s in scope.sources.values() if isinstance(s, exp.Table)})
    return Made(origins, reader.conditions(scopes), tuple(tables), sql)


def columns_read(sql: str, tables: Mapping[str, Iterable[str]], dialect: str = DIALECT) -> set[Column]:
    """The columns of these tables that a query reads anywhere; raises SqlglotError for what it cannot read."""
    schema: dict[str, Any] = {}
    for table, names in tables.items():
        _add(schema, table, names)
    qualified = qualify(sqlglot.parse_one(sql, dialect=dialect), dialect=dialect, schema=dict(schema), validate_qualify_columns=False)
    found = set()
    for scope in (build_scope(qualified) or Scope(qualified)).traverse():
        for column in scope.columns:
            source = scope.sources.get(column.table)
            if isinstance(source, exp.Table) and _name(source) in tables:
                found.add(Column(_name(source), column.name))
    return found


class _Reader:
    """Follows columns through the scopes of one query."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Origin, ...]] = {}

    def origins(self, scope: Scope, position: int) -> tuple[Origin, ...]:
        """What the select's column at this position is made of."""
        key = (id(scope), position)
        if key not in self._known:
            # A recursive query meets itself: what it is made of comes from its other branches.
            self._known[key] = ()
            self._known[key] = _sorted(self._found(scope, position))
        return self._known[key]

    def conditions(self, scopes: Iterable[Scope]) -> tuple[Condition, ...]:
        """The columns of joins, filters and groups of all these scopes."""
        found: set[Condition] = set()
        for scope in scopes:
            select = scope.expression
            if not isinstance(select, exp.Select):
                continue
            joins = [join.args[name] for join in select.args.get("joins") or [] for name in ("on", "using") if join.args.get(name)]
            parts: list[tuple[Part, list[Any]]] = [
                ("JOIN", [e for on in joins for e in (on if isinstance(on, list) else [on])]),
                ("FILTER", [select.args[name] for name in ("where", "having", "qualify") if select.args.get(name)]),
                ("GROUP_BY", [select.args["group"]] if select.args.get("group") else []),
            ]
            for part, expressions in parts:
                for expression in expressions:
                    found |= {Condition(o.column, part) for o in self._within(scope, expression)}
        return tuple(sorted(found))

    def _found(self, scope: Scope, position: int) -> list[Origin]:
        if scope.set_operation_scopes:
            return [o for branch in scope.set_operation_scopes for o in self.origins(branch, position)]
        selects = scope.expression.selects if isinstance(scope.expression, exp.Query) else []
        if position >= len(selects):
            return []
        return self._within(scope, selects[position])

    def _within(self, scope: Scope, expression: exp.Expr) -> list[Origin]:
        """What the columns of an expression are made of, with what the expression does to them."""
        made: list[Origin] = []
        own = _kind(expression)
        for column in expression.find_all(exp.Column):
            made += [Origin(o.column, stronger(own, o.kind)) for o in self._of_column(scope, column)]
        return made

    def _of_column(self, scope: Scope, column: exp.Column) -> list[Origin]:
        source = self._source(scope, column.table)
        if isinstance(source, exp.Table):
            return [Origin(Column(_name(source), column.name), "IDENTITY")]
        if isinstance(source, Scope):
            if isinstance(source.expression, exp.Query):
                names = _selected(source)
                return list(self.origins(source, names.index(column.name))) if column.name in names else []
            # A lateral view: what it explodes.
            return [Origin(o.column, stronger("TRANSFORMATION", o.kind)) for o in self._within(scope, source.expression)]
        return []

    def _source(self, scope: Scope, name: str) -> Any:
        if name in scope.sources:
            return scope.sources[name]
        # A subquery within an expression has sources of its own, and may name those around it.
        for inner in scope.subquery_scopes:
            if (found := self._source(inner, name)) is not None:
                return found
        return None


def _selected(scope: Scope) -> list[str]:
    query = scope.expression
    return list(query.named_selects) if isinstance(query, exp.Query) else []


def _kind(expression: exp.Expr) -> Kind:
    bare = expression.unalias()
    # The same value in another type is the same value.
    while isinstance(bare, exp.Cast | exp.Paren):
        bare = bare.this
    if isinstance(bare, exp.Column):
        return "IDENTITY"
    aggregated = any(not isinstance(found.parent, exp.Window) for found in bare.find_all(exp.AggFunc))
    return "AGGREGATION" if aggregated else "TRANSFORMATION"


def _sorted(origins: Iterable[Origin]) -> tuple[Origin, ...]:
    strongest: dict[Column, Kind] = {}
    for column, kind in origins:
        strongest[column] = stronger(strongest.get(column, "IDENTITY"), kind)
    return tuple(Origin(*item) for item in sorted(strongest.items()))


def _parsed(table: str, sql: str) -> exp.Expression:
    try:
        tree = sqlglot.parse_one(sql, dialect=DIALECT)
    except SqlglotError as error:
        raise LineageError(table, f"expected Spark SQL, came: {str(error).splitlines()[0]}") from error
    selected = tree.expression if isinstance(tree, exp.Create) else tree
    assert isinstance(selected, exp.Expression)
    return selected


def _name(table: exp.Table) -> str:
    return f"{table.db}.{table.name}" if table.db else table.name


def _add(schema: dict[str, Any], table: str, names: Iterable[str]) -> None:
    database, _, name = table.rpartition(".")
    # The type is not asked for; without one sqlglot takes the column for unknown.
    schema.setdefault(database, {})[name] = dict.fromkeys(names, "string")


def _in_order(reads: Mapping[str, Iterable[str]]) -> Iterator[str]:
    done: set[str] = set()
    waiting = dict.fromkeys(sorted(reads))
    while waiting:
        ready = [table for table in waiting if all(above in done for above in reads[table])]
        if not ready:
            raise LineageError(next(iter(waiting)), f"expected tables made of each other in some order; these run in a circle: {', '.join(waiting)}")
        for table in ready:
            del waiting[table]
            done.add(table)
            yield table
