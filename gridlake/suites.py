"""What the tables of a run must be like: suites derived from contracts and dbt YAML, and those written by hand.

Says it in names and arguments of Great Expectations without importing it; `gridlake.quality` looks whether it holds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

from gridlake.contracts import Column, Contract, Contracts
from gridlake.contracts.compile import AUDIT, SEALED, TOKEN
from gridlake.privacy import ID_NUMBER, MOBILE
from gridlake.runs import RunError
from gridlake.senders import Senders
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies

Severity = Literal["critical", "warning"]

# Nobody outside sees these with ciphertexts or join tokens in them.
_SHOWN_SCHEMAS = frozenset({"sharing", "mart"})
_TARGET = re.compile(r"""(ref|source)\(\s*(?:['"]([^'"]+)['"]\s*,\s*)?['"]([^'"]+)['"]\s*\)""")
_UPSERTS = "_op = 'upsert'"
# Generic tests in dbt YAML that a suite asks, all of a table in one pass; dbt runs the others itself.
DBT_TESTS = frozenset({"not_null", "unique", "unique_together", "accepted_values", "in_code_list", "relationships", "refers_to", "holds"})


class SuiteError(RunError):
    """A suite or check file that cannot be understood."""


@dataclass(frozen=True)
class Reference:
    """Columns that name a row of another table, by its `keys`."""

    columns: tuple[str, ...]
    table: str
    keys: tuple[str, ...]


@dataclass(frozen=True)
class Expected:
    """One expectation: a class of Great Expectations with its arguments, over all rows or those of `where` (Spark SQL)."""

    type: str
    kwargs: Mapping[str, Any]
    severity: Severity
    title: str
    where: str | None = None
    column: str | None = None  # where it is about a column that only the suite's query has: the one people know
    reference: Reference | None = None  # where it asks whether what a row names is there

    @property
    def column_name(self) -> str | None:
        """The column or columns it is about, as a person would name them."""
        columns = self.kwargs.get("column_list")
        return self.column or self.kwargs.get("column") or (", ".join(columns) if columns else None)


@dataclass(frozen=True)
class Suite:
    """What one table, or one query over tables, must be like."""

    name: str
    title: str
    table: str
    query: str
    expected: tuple[Expected, ...]
    asks_more: bool = False  # than the rows of its table: another table, or whether there are rows at all

    def of_rows(self, condition: str) -> Suite:
        """The same asked of the rows alone that meet a condition."""
        return replace(self, query=self.query.replace(f"from {self.table}", f"from (select * from {self.table} where {condition})", 1))


@dataclass(frozen=True)
class Check:
    """A named expectation that suites use by name; `{column}` is filled in where it is used."""

    name: str
    title: str
    type: str
    severity: Severity
    kwargs: Mapping[str, Any] = field(default_factory=dict)

    def on(self, column: str | None = None, *, where: str | None = None, **more: Any) -> Expected:
        """The expectation on a column, or on the table."""
        place = {"column": column} if column else {}
        return Expected(self.type, {**place, **self.kwargs, **more}, self.severity, self.title, where)


def checks(settings: Settings) -> dict[str, Check]:
    """Every named check of `expectations/checks/*.yml`."""
    found = {}
    for path in sorted((settings.expectations / "checks").glob("*.yml")):
        said = _document(path, {"title", "type", "severity", "kwargs"})
        # Personal numbers are defined once, where free text is redacted.
        kwargs = {name: _filled(value) for name, value in (said.get("kwargs") or {}).items()}
        found[path.stem] = Check(path.stem, said["title"], said["type"], _severity(path, said["severity"]), kwargs)
    return found


def of_contract(contract: Contract, vocabularies: Vocabularies, senders: Senders, named: Mapping[str, Check]) -> list[Suite]:
    """The suites of `bronze.<feed>`: its rows, and the order in which they arrived."""
    table = f"bronze.{contract.id}"
    # What landing has sealed or redacted is no longer what the rule was about.
    altered = [c.name for c in contract.columns if c.is_sealed or c.redact]
    rules = [r for r in contract.rules if not any(re.search(rf"\b{re.escape(name)}\b", r.predicate) for name in altered)]
    # A rule asks nothing of a delete, and a null neither breaks it (as in landing).
    judged = "".join(f", case when {_UPSERTS} then ({r.predicate}) end as _rule_{r.name}" for r in rules)
    expected = [
        Expected("ExpectTableRowCountToBeBetween", {"min_value": 1}, "warning", "有数据"),
        *(e for c in contract.columns for e in _of_column(c, vocabularies, named)),
        *_of_audit(senders, named),
        *(_true(f"_rule_{r.name}", r.name, "warning", r.description or r.name) for r in rules),
    ]
    if contract.sealed_columns:
        expected.append(_without_columns([c.name for c in contract.sealed_columns], "没有四级敏感数据的明文列"))
    rows = Suite(table, contract.title, table, f"select *{judged} from {table}", tuple(expected))
    return [rows, _arrival(contract, table)]


def of_project(manifest: Path, contracts: Contracts, vocabularies: Vocabularies, named: Mapping[str, Check]) -> list[Suite]:
    """A suite for each table and view that dbt built: the tests its YAML names; outside staging also that nothing sealed shows.

    `manifest` is dbt's own reading of its YAML, `<home>/dbt/target/manifest.json`.
    """
    if not manifest.exists():
        raise RunError(f"{manifest}: expected what dbt knows of its project, found none; run `gridlake build` and `gridlake mart` first")
    project = json.loads(manifest.read_text(encoding="utf-8"))
    models = {i: n for i, n in project["nodes"].items() if n["resource_type"] == "model"}
    tables = {("ref", "", n["name"]): f"{n['schema']}.{n['alias']}" for n in project["nodes"].values() if n["resource_type"] == "model"}
    tables |= {("source", n["source_name"], n["name"]): f"{n['schema']}.{n['identifier']}" for n in project.get("sources", {}).values()}
    tests: dict[str, list[dict[str, Any]]] = {i: [] for i in models}
    for node in project["nodes"].values():
        if node["resource_type"] == "test" and node.get("attached_node") in tests and node["config"].get("enabled", True):
            tests[node["attached_node"]].append(node)
    plain = _without_columns(_never_plain(contracts), "没有四级敏感数据的明文列")
    texts = {c.name for contract in contracts.values() for c in contract.columns if c.redact}
    suites = []
    for identity, model in sorted(models.items(), key=lambda item: (item[1]["schema"], item[1]["alias"])):
        is_staged = model["schema"] == "staging"
        more = [] if is_staged else [plain, *(named["no_personal_number"].on(name) for name in model["columns"] if name in texts)]
        if model["schema"] in _SHOWN_SCHEMAS:
            more.append(named["nothing_sealed"].on())
        suites.append(_Model(model, tables, vocabularies).suite(sorted(tests[identity], key=lambda t: str(t["unique_id"])), more))
    return [suite for suite in suites if suite.expected]


def by_hand(settings: Settings, named: Mapping[str, Check], present: Iterable[str], as_of: datetime) -> list[Suite]:
    """The suites of `expectations/suites/*.yml` and `--contracts DIR/suites/*.yml` over tables that are there.

    `{as_of}` in a query is the run's clock, a timestamp in UTC.
    """
    folders = [settings.expectations / "suites", *([settings.contracts / "suites"] if settings.contracts else [])]
    tables = frozenset(present)
    suites = [_by_hand(path, named) for folder in folders for path in sorted(folder.glob("*.yml"))]
    now = f"timestamp '{as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}'"
    return [replace(s, query=s.query.replace("{as_of}", now)) for s in suites if s.table in tables]


def _of_column(column: Column, vocabularies: Vocabularies, named: Mapping[str, Check]) -> Iterator[Expected]:
    if column.is_sealed or column.redact:
        yield named["sealed_value"].on(column.name + SEALED)
    if column.required and not column.key_position:
        place = column.name + SEALED if column.is_sealed else column.name
        yield Expected("ExpectColumnValuesToNotBeNull", {"column": place}, "warning", "必填", _UPSERTS)
    if column.is_sealed:
        yield named["join_token"].on(column.name + TOKEN)
        return
    here = {"column": column.name}
    if column.key_position:
        yield Expected("ExpectColumnValuesToNotBeNull", here, "critical", "主键不为空")
    if column.redact:
        yield named["no_personal_number"].on(column.name)
    if column.code_list and column.code_list in vocabularies:
        codes = sorted(vocabularies[column.code_list].codes)
        yield Expected("ExpectColumnValuesToBeInSet", {**here, "value_set": codes}, "warning", f"代码表 {column.code_list}")
    if column.values:
        yield Expected("ExpectColumnValuesToBeInSet", {**here, "value_set": list(column.values)}, "warning", "取值在列举之内")
    if column.pattern and not column.redact:
        yield Expected("ExpectColumnValuesToMatchRegex", {**here, "regex": rf"\A(?:{column.pattern})\z"}, "warning", "格式")
    if column.minimum is not None or column.maximum is not None:
        limits = {"min_value": column.minimum, "max_value": column.maximum}
        yield Expected("ExpectColumnValuesToBeBetween", {**here, **limits}, "warning", "范围")
    # A redacted text may have grown: `[姓名或地址]` is longer than most names.
    if (column.min_length is not None or column.max_length is not None) and not column.redact:
        lengths = {"min_value": column.min_length, "max_value": column.max_length}
        yield Expected("ExpectColumnValueLengthsToBeBetween", {**here, **lengths}, "warning", "长度")


def _of_audit(senders: Senders, named: Mapping[str, Check]) -> Iterator[Expected]:
    for audit in AUDIT:
        yield Expected("ExpectColumnValuesToNotBeNull", {"column": audit.name}, "critical", "留痕列不为空")
    yield Expected("ExpectColumnValuesToBeUnique", {"column": "_source_position"}, "critical", "同一来源位置只落地一次")
    yield Expected("ExpectColumnValuesToBeInSet", {"column": "_op", "value_set": ["upsert", "delete"]}, "critical", "操作为 upsert 或 delete")
    yield named["payload_digest"].on("_payload_digest")
    yield Expected("ExpectColumnValuesToBeInSet", {"column": "_sender_code", "value_set": sorted(senders)}, "warning", "报送单位已登记")


def _arrival(contract: Contract, table: str) -> Suite:
    # Rows of one delivery received later lie behind those received earlier; a few groups, however many rows.
    query = f"""
    select
        _delivery_id,
        lag(last_position) over (partition by _delivery_id order by _received_at) is null
        or lag(last_position) over (partition by _delivery_id order by _received_at) < first_position as _in_order
    from (
        select _delivery_id, _received_at, min(_source_position) as first_position, max(_source_position) as last_position
        from {table}
        group by _delivery_id, _received_at
    )
    """
    held = _true("_in_order", "_source_position", "warning", "同一批次内按接收次序排列")
    return Suite(f"arrival.{contract.id}", f"{contract.title}到达次序", table, query, (held,))


class _Model:
    """The suite of one dbt model. References and conditions become boolean columns of its query, so that all is asked in one pass."""

    def __init__(self, model: Mapping[str, Any], tables: Mapping[tuple[str, str, str], str], vocabularies: Vocabularies) -> None:
        self.model, self.table = model, f"{model['schema']}.{model['alias']}"
        self._tables, self._vocabularies = tables, vocabularies
        self._columns: list[str] = []
        self._joins: list[str] = []

    def suite(self, tests: Iterable[Mapping[str, Any]], more: Iterable[Expected]) -> Suite:
        """What its tests say, and more."""
        expected = [e for test in tests for e in self._of_test(test)]
        query = f"select t.*{''.join(self._columns)} from {self.table} as t{''.join(self._joins)}"
        description = (self.model.get("description") or self.model["name"]).splitlines()[0]
        return Suite(self.table, description, self.table, query, (*expected, *more))

    def _of_test(self, test: Mapping[str, Any]) -> Iterator[Expected]:
        metadata = test.get("test_metadata") or {}
        given = metadata.get("kwargs") or {}
        severity: Severity = "warning" if str(test["config"].get("severity", "error")).lower() == "warn" else "critical"
        where, column = test["config"].get("where"), str(given.get("column_name"))
        match metadata.get("name"):
            case "not_null":
                yield Expected("ExpectColumnValuesToNotBeNull", {"column": column}, severity, "不为空", where)
            case "unique":
                yield Expected("ExpectColumnValuesToBeUnique", {"column": column}, severity, "不重复", where)
            case "unique_together":
                # GX wants two columns and more.
                columns = list(given["columns"])
                if len(columns) == 1:
                    yield Expected("ExpectColumnValuesToBeUnique", {"column": columns[0]}, severity, "不重复", where)
                else:
                    yield Expected("ExpectCompoundColumnsToBeUnique", {"column_list": columns}, severity, "组合不重复", where)
            case "accepted_values":
                yield Expected(
                    "ExpectColumnValuesToBeInSet", {"column": column, "value_set": list(given["values"])}, severity, "取值在列举之内", where
                )
            case "in_code_list":
                codes = sorted(self._vocabularies[given["list_name"]].codes)
                yield Expected("ExpectColumnValuesToBeInSet", {"column": column, "value_set": codes}, severity, f"代码表 {given['list_name']}", where)
            case "relationships":
                yield self._reference(test, [column], given["to"], [given["field"]], severity, where)
            case "refers_to":
                yield self._reference(test, given["columns"], given["to"], given["to_columns"], severity, where)
            case "holds":
                name = f"_holds_{len(self._columns)}"
                self._columns.append(f", coalesce({given['condition']}, false) as {name}")
                yield _true(name, str(test["name"]), severity, str(given["condition"]), where)

    def _reference(
        self, test: Mapping[str, Any], columns: list[str], to: str, to_columns: list[str], severity: Severity, where: str | None
    ) -> Expected:
        named = _TARGET.search(to)
        target = self._tables.get((named[1], named[2] or "" if named[1] == "source" else "", named[3])) if named else None
        if target is None:
            raise SuiteError(f"dbt test {test['name']}: expected `to: ref('…')` to a model of the project, came {to!r}; correct the YAML")
        number = len(self._columns)
        keys = ", ".join(f"{there} as k{i}" for i, there in enumerate(to_columns))
        met = " and ".join(f"t.{here} = r{number}.k{i}" for i, here in enumerate(columns))
        given = " and ".join(f"t.{here} is not null" for here in columns)
        self._joins.append(f" left join (select distinct {keys} from {target}) as r{number} on {met}")
        self._columns.append(f", case when {given} then r{number}.k0 is not null end as _reference_{number}")
        told = _true(f"_reference_{number}", ", ".join(columns), severity, f"在 {target}（{', '.join(to_columns)}）中", where)
        return replace(told, reference=Reference(tuple(columns), target, tuple(to_columns)))


def _never_plain(contracts: Contracts) -> list[str]:
    """Names that are class L4 in one contract and in no other contract anything less."""
    open_names = {c.name for contract in contracts.values() for c in contract.columns if not c.is_sealed}
    return sorted({c.name for contract in contracts.values() for c in contract.sealed_columns} - open_names)


def _without_columns(names: list[str], title: str) -> Expected:
    pattern = "|".join(re.escape(n) for n in names)
    return Expected("ExpectNoColumnToMatch", {"regex": rf"\A(?:{pattern})\Z"}, "critical", title)


def _true(column: str, known_as: str, severity: Severity, title: str, where: str | None = None) -> Expected:
    return Expected("ExpectColumnValuesToBeInSet", {"column": column, "value_set": [True]}, severity, title, where, known_as)


def _by_hand(path: Path, named: Mapping[str, Check]) -> Suite:
    said = _document(path, {"title", "table", "query", "expectations"})
    expected = []
    for number, item in enumerate(said["expectations"], 1):
        if "check" in item:
            if item["check"] not in named:
                raise SuiteError(f"{path}: expectation {number}: no check {item['check']!r}; there are {', '.join(sorted(named))}")
            expected.append(named[item["check"]].on(item.get("column"), where=item.get("where")))
        else:
            missing = {"type", "title", "severity"} - set(item)
            if missing:
                raise SuiteError(
                    f"{path}: expectation {number}: expected check, or type, title and severity; {', '.join(sorted(missing))} is missing"
                )
            severity = _severity(path, item["severity"])
            expected.append(Expected(item["type"], item.get("kwargs") or {}, severity, item["title"], item.get("where"), item.get("column")))
    query = said.get("query") or f"select * from {said['table']}"
    return Suite(f"set.{path.stem}", said["title"], said["table"], query, tuple(expected), asks_more=True)


def _document(path: Path, known: set[str]) -> dict[str, Any]:
    said = yaml.safe_load(path.read_text(encoding="utf-8"))
    if not isinstance(said, dict):
        raise SuiteError(f"{path}: expected a mapping of {', '.join(sorted(known))}, came {type(said).__name__}; see the other files beside it")
    unknown = sorted(set(said) - known)
    missing = sorted(name for name in known - {"query", "kwargs"} if not said.get(name))
    if unknown or missing:
        raise SuiteError(
            f"{path}: expected {', '.join(sorted(known))}; unknown: {', '.join(unknown) or 'none'}, missing: {', '.join(missing) or 'none'}"
        )
    return dict(said)


def _severity(path: Path, given: str) -> Severity:
    if given == "critical":
        return "critical"
    if given == "warning":
        return "warning"
    raise SuiteError(f"{path}: severity {given!r}: expected {' or '.join(get_args(Severity))}")


def _filled(value: Any) -> Any:
    return value.replace("{ID_NUMBER}", ID_NUMBER).replace("{MOBILE}", MOBILE) if isinstance(value, str) else value
