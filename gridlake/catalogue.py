"""What is known of every table: its columns with their meaning, class and checks, who answers for it, where it comes from, who reads it.

Put together from the contracts, from dbt's own reading of its YAML and SQL, and from what factors and reports ask; holds no data.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from sqlglot.errors import SqlglotError

from gridlake import cache, lineage, named_queries, transform
from gridlake.contracts import Contract, Contracts
from gridlake.contracts.compile import AUDIT, QUARANTINE_SCHEMA, SEALED, TOKEN, bronze_fields
from gridlake.lineage import Column, Lineage, LineageError, Made
from gridlake.runs import Run
from gridlake.settings import Settings

# Staged and landed columns are what contracts say of them, so they stand on the contracts' pages.
_OF_CONTRACTS = ("bronze", "quarantine", "staging")
_CHINESE = re.compile(r"[\u4e00-\u9fff]")
_TARGET = re.compile(r"""(ref|source)\(\s*(?:['"]([^'"]+)['"]\s*,\s*)?['"]([^'"]+)['"]\s*\)""")
# What factors call the tables that they are given a part of.
_VIEWS = {f"{lineage.SESSION}.event": "business.event", f"{lineage.SESSION}.event_text": "changes.event_text"}
# Comments and texts of a query; names between backticks are neither.
_QUOTED = re.compile(r"""--[^\n]*|/\*.*?\*/|'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|(`[^`]*`)""", re.DOTALL)
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")


@dataclass(frozen=True)
class Described:
    """One column: what it is called, what it means, how sensitive it is, what is checked of it."""

    name: str
    label: str
    description: str
    classification: str
    checks: tuple[str, ...] = ()
    # A value that it might have, as its contract shows one.
    example: str = ""
    # The code list that its values are of, where all that it is made of has the same one.
    code_list: str = ""

    @property
    def english(self) -> str:
        """Its name as words."""
        return self.name.strip("_").replace("_", " ")


@dataclass(frozen=True)
class Table:
    """One table: a page of the dictionary."""

    name: str
    title: str
    grain: str
    owner: str
    columns: Mapping[str, Described]
    checks: tuple[str, ...]
    # The file that says what it and its columns mean.
    said_in: str


@dataclass(frozen=True)
class Catalogue:
    """Every table with a page of its own, how all tables are made, and who outside the lake reads a column or table."""

    tables: Mapping[str, Table]
    lineage: Lineage
    readers: Mapping[Column, tuple[str, ...]]
    gaps: tuple[str, ...]

    def readers_of(self, table: str) -> tuple[str, ...]:
        """The reports and interfaces that read any column of the table."""
        return tuple(sorted({reader for column, readers in self.readers.items() if column.table == table for reader in readers}))


EMPTY = Catalogue({}, Lineage({}), {}, ())


def of_run(run: Run) -> Catalogue:
    """The catalogue of a lake as its last build left it; empty where dbt has built nothing there."""
    folder = run.settings.home.absolute() / "dbt"
    manifest = folder / "target" / "manifest.json"
    if not manifest.exists():
        return EMPTY
    queries = transform.queries(run.settings.home)
    while True:
        try:
            return read(run.settings, run.contracts, queries, manifest)
        except LineageError as error:
            if error.table not in queries:
                raise
            # Somebody's model may be SQL that only the engine reads: its table is there all the same.
            run.progress.say(f"  lineage: {error}; the dictionary says of no column of it where it comes from")
            columns = run.tables.schema(error.table).names if run.tables.exists(error.table) else []
            queries = {t: sql for t, sql in queries.items() if t != error.table} | _as_it_stands(error.table, columns)


def _as_it_stands(table: str, columns: list[str]) -> dict[str, str]:
    """A query that gives these columns and says of none where it comes from."""
    return {table: f"select {', '.join(f'null as `{name}`' for name in columns)}"} if columns else {}


def of_project(settings: Settings, home: Path) -> Catalogue:
    """The catalogue of the declarations alone; the project is compiled in `home`, a folder for this."""
    run = Run.start(settings.model_copy(update={"home": home, "engine": "embedded"}), quiet=True)
    try:
        queries = transform.compiled(run)
    finally:
        run.close()
    return read(run.settings, run.contracts, queries, home.absolute() / "dbt" / "target" / "manifest.json")


def read(settings: Settings, contracts: Contracts, queries: Mapping[str, str], manifest: Path) -> Catalogue:
    """The catalogue of these queries by table, described in dbt's manifest."""
    project = json.loads(manifest.read_text(encoding="utf-8"))
    models = {f"{n['schema']}.{n['alias']}": n for n in project["nodes"].values() if n["resource_type"] == "model"}
    sources = {f"{s['schema']}.{s['identifier']}": s for s in project["sources"].values() if s["schema"] not in ("bronze", "quarantine")}
    known = {table: list(source["columns"]) for table, source in sources.items() if source["columns"]}
    known |= {f"bronze.{c.id}": _landed(c) for c in contracts.values()}
    known |= {f"quarantine.{c.id}": QUARANTINE_SCHEMA.names for c in contracts.values()}
    declared = {table: _declared(source) for table, source in sources.items()}
    found = _kept_or_told(settings, queries, known, declared, _Factors(settings))
    checks = _checks(project, models)
    examples = _Examples(contracts, found)
    classes = _Classes(contracts, found)
    code_lists = _CodeLists(contracts, found)
    tested = _tested_lists(project, models)
    tables = {}
    gaps: list[str] = []
    for name, node in sorted({**models, **sources}.items()):
        said_in = str(node.get("patch_path") or node["original_file_path"]).partition("://")[2] or str(node["original_file_path"])
        if name.partition(".")[0] in _OF_CONTRACTS and name in models and name != "staging.row_conservation":
            continue
        there = list(found[name].columns) if name in models else list(node["columns"])
        gaps += _gaps(name, node, there, f"dbt/{said_in}")
        columns = {}
        for column in there:
            said = node["columns"].get(column, {})
            place = Column(name, column)
            classification = classes.of(place)
            columns[column] = Described(
                column, _label(said), str(said.get("description") or ""), classification, checks.get((name, column), ()),
                examples.of(place) if classification in ("L1", "L2") else "", code_lists.of(place) or tested.get(place, ""),
            )  # fmt: skip
        owner = str((node.get("config", {}).get("meta") or {}).get("owner") or "")
        tables[name] = Table(name, str(node["description"]), _grain(node), owner, columns, checks.get((name, ""), ()), said_in)
    return Catalogue(tables, found, _readers(settings, found), tuple(gaps))


def _landed(contract: Contract) -> list[str]:
    return [f.name for c in contract.columns for f in bronze_fields(c)] + list(AUDIT.names)


def _label(said: Mapping[str, Any]) -> str:
    return str((said.get("config", {}).get("meta") or said.get("meta") or {}).get("label") or "")


def _grain(node: Mapping[str, Any]) -> str:
    first = str(node.get("raw_code") or "").strip().splitlines()[:1]
    return first[0].removeprefix("--").strip() if first and first[0].startswith("--") else ""


def _gaps(table: str, node: Mapping[str, Any], there: list[str], said_in: str) -> Iterator[str]:
    """What a reader of the table would not be told, and what is told of columns that are not there."""
    if not _CHINESE.search(str(node["description"])):
        yield f"{table}: expected a description in Chinese of what a row is, found none; write it in {said_in}"
    for name in there:
        said = node["columns"].get(name)
        if said is None:
            how = f"- {{name: {name}, description: …, config: {{meta: {{label: …}}}}}}"
            yield f"{table}.{name}: expected the column to be described, {said_in} does not name it; add `{how}` there"
        elif not str(said.get("description") or "").strip():
            yield f"{table}.{name}: expected a description, found none; write it in {said_in}"
        elif not _CHINESE.search(_label(said)):
            yield f"{table}.{name}: expected a Chinese name in config.meta.label, came {_label(said)!r}; write it in {said_in}"
    for name in node["columns"]:
        if name not in there:
            yield f"{table}.{name}: {said_in} describes a column that the table does not have; correct its name there or remove it"


def _declared(source: Mapping[str, Any]) -> Made:
    """How a table that no SQL makes is made, as its columns say with `from`."""
    columns = {}
    for name, said in source["columns"].items():
        origins = [str(o).rsplit(".", 1) for o in (said.get("config", {}).get("meta") or {}).get("from", ())]
        columns[name] = tuple(
            lineage.Origin(Column(table, column), "TRANSFORMATION" if len(origins) > 1 else "IDENTITY") for table, column in origins
        )
    tables = sorted({o.column.table for origins in columns.values() for o in origins})
    return Made(columns, (), tuple(tables))


class _Factors:
    """What factors ask, by file."""

    def __init__(self, settings: Settings) -> None:
        room = settings.project / "spark_jobs" / "factors"
        folders = [room, *([settings.contracts / "detect" / "factors"] if settings.contracts else [])]
        texts = room / "inputs" / "event_text.sql"
        self.inputs = {"changes.event_text": texts.read_text(encoding="utf-8")} if texts.exists() else {}
        self.subjects: dict[str, str] = {}
        self.queries: dict[str, str] = {}
        for path in (p for folder in folders for p in sorted(folder.glob("*.sql"))):
            self.subjects[path.stem] = str(yaml.safe_load(path.with_suffix(".yml").read_text(encoding="utf-8"))["subject"])
            # Its parameters are numbers and texts, of which no column is made.
            self.queries[path.stem] = _PARAMETER.sub("1", path.read_text(encoding="utf-8"))

    def made(self, found: Lineage, known: Mapping[str, Iterable[str]]) -> dict[str, Made]:
        """How the tables of factors are made: each factor is one query, whose numbers go into one column."""
        columns = {table: list(names) for table, names in known.items()} | {table: list(made.columns) for table, made in found.items()}
        made = dict(lineage.of_queries(self.inputs, columns))
        columns |= {table: list(m.columns) for table, m in made.items()} | {f"{lineage.SESSION}.feed_datum": ["feed", "coordinate_system"]}
        columns |= {view: columns[table] for view, table in _VIEWS.items() if table in columns}
        asked = lineage.of_queries(self.queries, columns)
        for subject in sorted(set(self.subjects.values())):
            table = f"factor.{subject}"
            if table in found:
                several = [_renamed(asked[factor]) for factor, of in sorted(self.subjects.items()) if of == subject]
                made[table] = _united(several, list(found[table].columns))
        return made


def _kept_or_told(
    settings: Settings, queries: Mapping[str, str], known: Mapping[str, list[str]], declared: Mapping[str, Made], factors: _Factors
) -> Lineage:
    code = [Path(module.__file__ or "").read_text(encoding="utf-8") for module in (lineage, sys.modules[__name__])]
    # Where a column comes from does not hang on what a text says, such as the lake's folder and the clock.
    shapes = {table: _QUOTED.sub(lambda found: found[1] or "''", sql) for table, sql in queries.items()}
    asked = [code, shapes, known, lineage.as_json(Lineage(declared)), factors.inputs, factors.queries, factors.subjects]
    name = f"lineage-{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()}.json"
    if document := cache.kept(settings, name):
        return lineage.from_json(json.loads(document))
    found = lineage.of_queries(queries, known, declared)
    found = Lineage({**found, **factors.made(found, known)})
    cache.keep(settings, name, json.dumps(lineage.as_json(found)).encode())
    return found


def _renamed(made: Made) -> Made:
    def place(column: Column) -> Column:
        return Column(_VIEWS.get(column.table, column.table), column.name)

    columns = {n: tuple(lineage.Origin(place(o.column), o.kind) for o in origins) for n, origins in made.columns.items()}
    conditions = tuple(lineage.Condition(place(c.column), c.part) for c in made.conditions)
    return Made(columns, conditions, tuple(sorted(_VIEWS.get(t, t) for t in made.tables)))


def _united(parts: list[Made], names: list[str]) -> Made:
    """One table of several queries; what it has no column of its own for goes into `numbers`."""
    columns: dict[str, set[lineage.Origin]] = {name: set() for name in names}
    for part in parts:
        for name, origins in part.columns.items():
            columns[name if name in columns else "numbers"] |= set(origins)
    conditions = sorted({c for part in parts for c in part.conditions})
    return Made({n: tuple(sorted(o)) for n, o in columns.items()}, tuple(conditions), tuple(sorted({t for part in parts for t in part.tables})))


def _checks(project: Mapping[str, Any], models: Mapping[str, Any]) -> dict[tuple[str, str], tuple[str, ...]]:
    """What is tested of each (table, column), in words; of the table as a whole under ''."""
    tables = {n["unique_id"]: table for table, n in models.items()}
    found: dict[tuple[str, str], list[str]] = {}
    for node in sorted(project["nodes"].values(), key=lambda n: str(n["unique_id"])):
        table = tables.get(node.get("attached_node") or "") if node["resource_type"] == "test" else None
        if table is None:
            continue
        given = (node.get("test_metadata") or {}).get("kwargs") or {}
        said = _in_words(str((node.get("test_metadata") or {}).get("name")), given, str(node["name"]))
        found.setdefault((table, str(given.get("column_name") or "")), []).append(said)
    return {place: tuple(said) for place, said in found.items()}


def _tested_lists(project: Mapping[str, Any], models: Mapping[str, Any]) -> dict[Column, str]:
    """The code list that dbt's YAML holds a column to; for what no contract brings as it is."""
    tables = {n["unique_id"]: table for table, n in models.items()}
    tests = [n for n in project["nodes"].values() if n.get("attached_node") in tables and n.get("test_metadata")]
    asked = [(n["attached_node"], n["test_metadata"]["kwargs"]) for n in tests if n["test_metadata"]["name"] == "in_code_list"]
    return {Column(tables[node], given["column_name"]): given["list_name"] for node, given in asked}


def _in_words(kind: str, given: Mapping[str, Any], name: str) -> str:
    match kind:
        case "not_null":
            return "不为空"
        case "unique":
            return "不重复"
        case "unique_together":
            return f"组合不重复：{'、'.join(given['columns'])}"
        case "accepted_values":
            return f"取值：{'、'.join(map(str, given['values']))}"
        case "in_code_list":
            return f"代码表 {given['list_name']}"
        case "relationships":
            return f"在 {_named(given['to'])}.{given['field']} 中"
        case "refers_to":
            return f"{'、'.join(given['columns'])} 在 {_named(given['to'])} 中"
        case "holds":
            return f"{name}：{given['condition']}"
    return name


def _named(to: str) -> str:
    target = _TARGET.search(to)
    return target[3] if target else to


class _Origins:
    """What contracts say of the landed columns that a column is made of."""

    def __init__(self, contracts: Contracts, found: Lineage) -> None:
        self.lineage = found
        self.contracts = contracts
        self._columns = {
            Column(f"bronze.{c.id}", f.name): (c, column) for c in contracts.values() for column in c.columns for f in bronze_fields(column)
        }

    def landed(self, column: Column) -> Iterator[tuple[Contract, Any, lineage.Origin]]:
        for origin in self.lineage.sources(column):
            if origin.column in self._columns:
                contract, landed = self._columns[origin.column]
                yield contract, landed, origin


class _Classes(_Origins):
    """How sensitive a column is: as the most sensitive landed column in it; one of none, or made only of counts, is internal."""

    def of(self, column: Column) -> str:
        """L1 … L3, or L4 for what is left of such a value: ciphertext, or a token to join by."""
        if column.name.endswith(SEALED):
            return "L4（密文）"
        if column.name.endswith(TOKEN):
            return "L4（令牌）"
        # Landing replaces an L4 value by ciphertext and token; what is counted by them is no such value.
        classes = [min(landed.classification, "L3") for _, landed, _ in self.landed(column)]
        return max(classes, default="L2")


class _Examples(_Origins):
    """A value of a column, as the contract that it comes from unchanged shows one; never one of class L4 or of free text."""

    def of(self, column: Column) -> str:
        """The first value among the contract's accepted rows, or ''."""
        for contract, landed, origin in self.landed(column):
            if origin.kind != "IDENTITY" or landed.is_sealed or landed.redact or origin.column.name != landed.name:
                continue
            for row in contract.accept:
                if row.get(landed.name) is not None:
                    return str(row[landed.name])
        return ""


class _CodeLists(_Origins):
    """Which code list a column's values are of, as the contracts say of the landed columns that it is made of.

    The contract that defines an entity says it for all that conform to it: these map what they have onto its codes.
    """

    def of(self, column: Column) -> str:
        """Its name; '' where there is none, where there are several, or where the column is computed."""
        landed = list(self.landed(column))
        defining = [contract.entity for contract, _, _ in landed if contract.defines]
        origins = [(c.code_list or "", origin.kind) for contract, c, origin in landed if contract.defines or contract.entity not in defining]
        lists = {name for name, _ in origins}
        return lists.pop() if len(lists) == 1 and "TRANSFORMATION" not in {kind for _, kind in origins} else ""


def contract_of(contracts: Contracts, table: str) -> Contract | None:
    """The contract on whose page a landed or staged table is described."""
    schema, _, name = table.partition(".")
    name = name.removeprefix("stg_") if schema == "staging" else name
    if schema not in _OF_CONTRACTS:
        return None
    if name in set(contracts):
        return contracts[name]
    return contracts.defining(name) if name in contracts.entities else None


def _readers(settings: Settings, found: Lineage) -> dict[Column, tuple[str, ...]]:
    """The reports, pages and interfaces that read each column of a mart, by their files."""
    serving = settings.project / "serving"
    marts = {table: list(made.columns) for table, made in found.items()}
    readers: dict[Column, set[str]] = {}
    for path in sorted((serving / "reports").glob("*/queries.sql")):
        for query in named_queries.split(path.read_text(encoding="utf-8")):
            for column in _read_by(query.sql, marts):
                readers.setdefault(column, set()).add(f"报告 {path.parent.name}/{query.name}")
    for path in sorted([*serving.glob("*.py"), *(serving / "api").glob("*.py")]):
        for column in _named_in(path.read_text(encoding="utf-8"), marts):
            kind = "接口" if path.parent.name == "api" else "程序"
            readers.setdefault(column, set()).add(f"{kind} serving/{path.relative_to(serving).as_posix()}")
    return {column: tuple(sorted(names)) for column, names in readers.items()}


def _read_by(sql: str, tables: Mapping[str, list[str]]) -> set[Column]:
    try:
        return lineage.columns_read(sql, tables, dialect="duckdb")
    except SqlglotError:
        return _named_in(repr(sql), tables)


def _named_in(source: str, tables: Mapping[str, list[str]]) -> set[Column]:
    """Columns that the texts of a Python file name, of the marts that they name."""
    texts = [n.value for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    asked = [text for text in texts if re.search(r"\b(from|join) mart\.\w", text)]
    words = {word for text in texts for word in re.findall(r"\w+", text)} if asked else set()
    marts = {table for text in asked for table in re.findall(r"\bmart\.\w+", text)} & tables.keys()
    return {Column(table, name) for table in marts for name in tables[table] if name in words}
