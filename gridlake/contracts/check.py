"""Looks for what is wrong with a contract before a row of it arrives: the ODCS schema, then what gridlake can know.

That accepted examples are accepted, and refused ones refused by their rule, is the decoder's to show (tests/contracts).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import jsonschema
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from packaging.version import InvalidVersion, Version

from gridlake.contracts import staging
from gridlake.contracts.compile import AUDIT, SEALED, TOKEN
from gridlake.contracts.load import SUFFIX, load, names
from gridlake.contracts.model import AmbiguousTime, Column, Contract, ContractError, Contracts
from gridlake.contracts.predicates import AGREED_FUNCTIONS, DUCKDB_TYPES, objections
from gridlake.vocabularies import Vocabularies

# Letters too: a sheet's own header may be Chinese. Delta refuses space , ; { } ( ) = and tabs in a name.
_COLUMN_NAME = re.compile(r"[A-Za-z\u4e00-\u9fff][A-Za-z0-9_\u4e00-\u9fff]{0,99}")
_PLACE_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_SEMVER = re.compile(r"[0-9]+\.[0-9]+\.[0-9]+")
_QUOTED = re.compile(r"'[^']*'")
_LETTERS = re.compile(r"([A-Za-z])\1*")
_TIME_LETTERS = re.compile(r"yyyy|y|MM?|dd?|HH?|mm?|ss?|S+|X{1,3}|Z{1,3}")
_SPELL_OUT = re.compile(r"\\[wWdDsSbB]")
_FOREIGN_TO_RE2 = re.compile(r"\(\?(?:=|!|<=|<!|>|P?<)|\\[1-9]|[+*?}]\+")
_COORDINATE_SYSTEMS = ("CGCS2000", "WGS84", "GCJ-02")
# What landing calls the reasons that follow from columns and format; a contract's own rules go by their own names.
FIELD_RULES = frozenset(
    {"required", "type", "pattern", "length", "minimum", "maximum", "values", "code_list", "region_unknown", "region_scope"}
    | {"encoding", "json", "duplicate_key", "unknown_column", "column_count", "nonexistent_local_time", "ambiguous_local_time"}
)
_EXCLUSIVE = ("column", "constant", "sql")
_JSON_TYPES: Mapping[str, type | tuple[type, ...]] = {"integer": int, "number": (int, float), "boolean": bool}


@dataclass(frozen=True)
class Problem:
    """One thing to change in one file."""

    file: Path
    place: str
    expected: str
    came: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.place}: expected {self.expected}, came {self.came}; {self.remedy}"

    def as_json(self) -> dict[str, str]:
        """The problem for --json."""
        return {"file": str(self.file), "place": self.place, "expected": self.expected, "came": self.came, "remedy": self.remedy}


def contract_files(paths: Iterable[Path]) -> list[Path]:
    """The contract files at or below the paths; a path without any is an error."""
    found: dict[Path, None] = {}
    for path in paths:
        below = [path] if path.is_file() else sorted(path.rglob(f"*{SUFFIX}"))
        if not below:
            raise ContractError(f"{path}: expected a file <source>/<feed>{SUFFIX} or a folder of them, found none; check the path")
        found.update(dict.fromkeys(below))
    return list(found)


def check_files(paths: Iterable[Path], vocabularies: Vocabularies, others: Iterable[Path] = ()) -> list[Problem]:
    """Every problem of these files; `others` are the contracts beside which they are to work (they define entities)."""
    problems: list[Problem] = []
    loaded: dict[Path, Contract] = {}
    asked = list(paths)
    for path in asked:
        try:
            by_schema = schema_problems(path)
        except ContractError as error:
            problems.append(_unreadable(path, str(error).removeprefix(f"{path}: ")))
            continue
        problems += by_schema
        try:
            loaded[path] = load(path)
        except (ContractError, AttributeError, KeyError, TypeError) as error:
            # What the ODCS schema does not cover: a gridlake.* property that is unknown or of another shape than the loader reads.
            said = str(error).removeprefix(f"{path}: ") if isinstance(error, ContractError) else f"{type(error).__name__} {error}"
            if all(p.place == "id" for p in by_schema):
                problems.append(_unreadable(path, said))
    known = {c.id: c for c in [*_readable(others), *loaded.values()]}
    contracts = Contracts(list(known.values()))
    for contract in loaded.values():
        problems += check(contract, contracts, vocabularies)
    return problems


def schema_problems(path: Path) -> list[Problem]:
    """Where the file is not what the official ODCS JSON schema allows, or not the contract that its path says."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not YAML in UTF-8: {error}") from error
    problems = []
    identity = f"{path.parent.name}.{names(path)[0]}"
    if isinstance(document, dict) and document.get("id") != identity:
        problems.append(Problem(path, "id", f"{identity}, as the path says", _short(document.get("id")), "change the id or move the file"))
    for violation in _odcs_validator().iter_errors(document):
        found = jsonschema.exceptions.best_match([violation])
        came = found.message if isinstance(found.instance, (dict, list)) else json.dumps(found.instance, ensure_ascii=False, default=str)
        problems.append(
            Problem(
                path,
                found.json_path,
                f"what ODCS allows ({found.validator}: {_short(found.validator_value)})",
                _short(came),
                "see the ODCS standard, v3.1; quote dates and times",
            )
        )
    return problems


def check(contract: Contract, contracts: Contracts, vocabularies: Vocabularies) -> list[Problem]:
    """What is wrong with a contract that could be read, beside the contracts and vocabularies it is to work with."""
    look = _Look(contract, contracts, vocabularies)
    return [*look.header(), *look.columns(), *look.key(), *look.rules(), *look.mapping(), *look.examples()]


class _Look:
    def __init__(self, contract: Contract, contracts: Contracts, vocabularies: Vocabularies) -> None:
        self.contract, self.contracts, self.vocabularies = contract, contracts, vocabularies

    def problem(self, place: str, expected: str, came: object, remedy: str) -> Problem:
        return Problem(self.contract.path, place, expected, _short(came), remedy)

    def header(self) -> Iterator[Problem]:
        contract = self.contract
        for part in (contract.source, contract.feed):
            if not _PLACE_NAME.fullmatch(part):
                yield self.problem("path", "small letters, digits and single underscores", part, "rename the folder or the file")
        if not _is_semver(contract.version):
            yield self.problem("version", "major.minor.patch", contract.version, "see `gridlake feed diff` for the next one")
        yield from self._releases()
        if contract.ambiguous_time not in get_args(AmbiguousTime):
            yield self.problem("gridlake.ambiguousTime", " or ".join(get_args(AmbiguousTime)), contract.ambiguous_time, "choose one")
        if contract.coordinate_system not in _COORDINATE_SYSTEMS:
            yield self.problem("gridlake.coordinateSystem", " or ".join(_COORDINATE_SYSTEMS), contract.coordinate_system, "choose one")
        if not _is_zone(contract.time_zone):
            yield self.problem("gridlake.timeZone", "an IANA zone such as Asia/Shanghai", contract.time_zone, "name the source's zone")
        systems = set(self.vocabularies.regions.column("region_system").to_pylist())
        if contract.region_system not in systems and any(c.is_region for c in contract.columns):
            expected = f"a region system with a vocabulary ({', '.join(sorted(systems))})"
            yield self.problem("gridlake.regionSystem", expected, contract.region_system, f"add vocabularies/regions_{contract.region_system}.csv")
        volume = contract.volume
        if not volume.origin.strip():
            yield self.problem("gridlake.volume", "an origin: where the numbers come from", "none", "say in a few words how min and max were found")
        if volume.min is None and volume.max is None:
            yield self.problem("gridlake.volume", "min or max rows a delivery", "neither", "state at least min: 1")
        elif volume.min is not None and volume.max is not None and volume.min > volume.max:
            yield self.problem("gridlake.volume", "min ≤ max", f"{volume.min} > {volume.max}", "correct one of them")
        both = sorted(set(contract.ignored_columns) & {c.name for c in contract.columns})
        if both:
            yield self.problem("gridlake.ignoredColumns", "columns that the schema does not have", ", ".join(both), "drop them from one list")

    def _releases(self) -> Iterator[Problem]:
        """Every version is dated, newest first. A contract that lists none has had none but its first."""
        contract, place = self.contract, "gridlake.changes"
        for part in (r for r in contract.releases if not _is_semver(r.version)):
            yield self.problem(place, "major.minor.patch", part.version, "write the version as it stood in the contract")
            return
        if contract.releases and contract.releases[0].version != contract.version:
            remedy = "add the entry at the top: version, date, what changed, what the sender does"
            yield self.problem(place, f"an entry for {contract.version} first", contract.releases[0].version, remedy)
        for newer, older in itertools.pairwise(contract.releases):
            if Version(newer.version) <= Version(older.version) or newer.date < older.date:
                came = f"{newer.version} of {newer.date} above {older.version} of {older.date}"
                yield self.problem(place, "versions and dates from newest to oldest", came, "put them in order")
        definers = [c.id for c in self.contracts.values() if contract.defines and c.defines == contract.defines]
        if len(definers) > 1:
            remedy = "let one define the entity and the others say gridlake.conformsTo with a map"
            yield self.problem("gridlake.defines", f"one contract that defines {contract.defines}", ", ".join(definers), remedy)

    def columns(self) -> Iterator[Problem]:
        seen: dict[str, str] = {}
        derived = {c.name + suffix for c in self.contract.columns if c.is_sealed or c.redact for suffix in (SEALED, TOKEN)}
        for column in self.contract.columns:
            place = f"column {column.name}"
            if not _COLUMN_NAME.fullmatch(column.name):
                yield self.problem(place, "a letter, then letters, digits and _ (at most 100)", column.name, "ask the sender to rename the column")
            if column.name.lower() in seen:
                yield self.problem(place, "names that differ in more than upper and lower case", seen[column.name.lower()], "rename one")
            seen[column.name.lower()] = column.name
            if column.name in derived or column.name in AUDIT.names:
                yield self.problem(place, "a name that landing does not use itself", column.name, "rename the column")
            yield from self._limits(column, place)
            yield from self._meaning(column, place)
            yield from self._sealed(column, place)
        positions = {c.position for c in self.contract.columns if c.position}
        if len(positions) == 1:
            yield self.problem("gridlake.position", "longitude and latitude", f"only {positions.pop()}", "mark the other column too")

    def _limits(self, column: Column, place: str) -> Iterator[Problem]:
        is_text, is_number = column.logical_type == "string", column.logical_type in {"integer", "number"}
        is_time = column.logical_type in {"date", "timestamp"}
        if not is_text and (column.pattern or column.min_length is not None or column.max_length is not None):
            yield self.problem(place, "pattern and lengths on strings only", column.logical_type, "remove them or make it a string")
        if not is_number and (column.minimum is not None or column.maximum is not None):
            yield self.problem(place, "minimum and maximum on numbers only", column.logical_type, "remove them or correct logicalType")
        if column.min_length is not None and column.max_length is not None and column.min_length > column.max_length:
            yield self.problem(place, "minLength ≤ maxLength", f"{column.min_length} > {column.max_length}", "correct one of them")
        if column.minimum is not None and column.maximum is not None and column.minimum > column.maximum:
            yield self.problem(place, "minimum ≤ maximum", f"{column.minimum:g} > {column.maximum:g}", "correct one of them")
        if is_time and not column.format:
            yield self.problem(place, "logicalTypeOptions.format for every date and timestamp", "none", 'e.g. format: "yyyy-MM-dd HH:mm:ss"')
        if is_time and column.format and not _is_time_format(column.format):
            yield self.problem(place, "a Java date pattern of yyyy MM dd HH mm ss SSS XXX and separators", column.format, "write it with these")
        if column.pattern:
            yield from self._pattern(column.pattern, place)
        if column.values and (is_number or column.logical_type == "boolean"):
            wrong = [v for v in column.values if not isinstance(v, _JSON_TYPES[column.logical_type])]
            if wrong:
                yield self.problem(place, f"enum values of type {column.logical_type}", wrong[0], "unquote them or correct logicalType")

    def _pattern(self, pattern: str, place: str) -> Iterator[Problem]:
        if _SPELL_OUT.search(pattern):
            remedy = "spell it out: [0-9], [A-Za-z0-9_], [ \\t]; engines disagree on Chinese and full-width text"
            yield self.problem(place, r"a pattern without \w \d \s \b", pattern, remedy)
        if _FOREIGN_TO_RE2.search(pattern):
            yield self.problem(place, "no look-around, back-reference or named group", pattern, "not every engine has them; say it otherwise")
        try:
            re.compile(pattern)
            pc.match_substring_regex(pa.array([""]), pattern)
        except (re.error, pa.ArrowInvalid) as error:
            yield self.problem(place, "a regular expression", f"{pattern} ({str(error).splitlines()[0]})", "correct it")

    def _meaning(self, column: Column, place: str) -> Iterator[Problem]:
        lists = sorted(v.name for v in self.vocabularies.code_lists)
        if column.code_list and column.code_list not in lists:
            remedy = f"add vocabularies/{column.code_list}.csv (code,name_zh,name_en) or use one of these"
            yield self.problem(place, f"a code list ({', '.join(lists)})", column.code_list, remedy)
        if column.code_list and column.logical_type != "string":
            yield self.problem(place, "codes as strings", column.logical_type, "codes such as 0101 lose their zeros as numbers")
        entities, own_entity = self.contracts.entities, self.contract.entity
        if column.local_id_of and column.local_id_of not in entities:
            remedy = "name an entity that a contract defines"
            yield self.problem(place, f"gridlake.localIdOf one of {', '.join(entities) or 'none yet'}", column.local_id_of, remedy)
        if column.is_gate and (column.logical_type != "string" or column.redact or column.key_position or column.local_id_of in {None, own_entity}):
            remedy = "put gridlake.gate on a column with gridlake.localIdOf of another entity, or drop it"
            yield self.problem(place, "gridlake.gate on the local id of another entity", column.local_id_of or "no gridlake.localIdOf", remedy)
        if column.is_region and column.logical_type != "string":
            yield self.problem(place, "region codes as strings", column.logical_type, "make it a string")
        if column.position and column.logical_type != "number":
            yield self.problem(place, "a position as number", column.logical_type, "make it a number")
        if column.redact and (column.logical_type != "string" or column.is_sealed):
            yield self.problem(place, "gridlake.redact on free text below L4", f"{column.logical_type}, {column.classification}", "drop redact")
        if column.version_order and column.logical_type not in {"integer", "timestamp", "date"}:
            yield self.problem(place, "gridlake.versionOrder on an integer, date or timestamp", column.logical_type, "choose another column")

    def _sealed(self, column: Column, place: str) -> Iterator[Problem]:
        if not column.is_sealed:
            return
        uses = {
            "primaryKey": column.key_position,
            "gridlake.codeList": column.code_list,
            "enum": column.values,
            "examples": column.examples,
            "gridlake.localIdOf": column.local_id_of,
            "gridlake.gate": column.is_gate,
            "gridlake.region": column.is_region,
            "gridlake.position": column.position,
            "gridlake.versionOrder": column.version_order,
        }
        for use, said in uses.items():
            if said:
                remedy = "class L4 is kept as ciphertext only; use another column or a lower class"
                yield self.problem(place, f"no {use} on a column of class L4", use, remedy)
        if column.logical_type != "string":
            yield self.problem(place, "class L4 on strings", column.logical_type, "make it a string: only text is sealed")

    def key(self) -> Iterator[Problem]:
        for column in self.contract.key:
            if not column.required:
                yield self.problem(f"column {column.name}", "required: true on a key column", "not required", "add required: true")
            if column.logical_type in {"number", "boolean"}:
                yield self.problem(f"column {column.name}", "a key of strings, integers or dates", column.logical_type, "choose another key")
        for what, numbers in (
            ("primaryKeyPosition", [c.key_position for c in self.contract.key]),
            ("gridlake.versionOrder", [c.version_order for c in self.contract.version_order]),
        ):
            if numbers != list(range(1, len(numbers) + 1)):
                yield self.problem(what, "1, 2, 3 … without gap or repeat", numbers, "number the columns anew")

    def rules(self) -> Iterator[Problem]:
        # SQL does not tell names apart by capitals; two such columns are a problem of their own.
        columns = {c.name: DUCKDB_TYPES[c.logical_type] for c in {c.name.lower(): c for c in self.contract.columns}.values()}
        columns |= {"_received_at": DUCKDB_TYPES["timestamp"], "_op": DUCKDB_TYPES["string"]}
        seen: set[str] = set()
        for rule in self.contract.rules:
            place = f"quality {rule.name or '(no name)'}"
            if not _PLACE_NAME.fullmatch(rule.name):
                yield self.problem(place, "a name of small letters, digits and underscores", rule.name or "none", "name what must hold")
            if rule.name in seen or rule.name in FIELD_RULES:
                yield self.problem(place, "a name used once", rule.name, "rename it: receipts count refusals by it")
            seen.add(rule.name)
            if not rule.description:
                yield self.problem(place, "a description", "none", "receipts show it to the sender")
            if rule.severity not in {"error", "warning"}:
                yield self.problem(place, "severity error (refuses) or warning (is counted)", rule.severity, "choose one")
            for objection in objections(rule.predicate, columns):
                remedy = f"use columns, operators and {', '.join(sorted(AGREED_FUNCTIONS))}"
                yield self.problem(place, "a boolean expression that DuckDB and Spark read alike", objection, remedy)

    def mapping(self) -> Iterator[Problem]:
        contract = self.contract
        if contract.mapping and not contract.conforms_to:
            yield self.problem("gridlake.map", "gridlake.conformsTo beside a map", "none", "say which entity the map leads to")
        if not contract.conforms_to:
            return
        if contract.conforms_to not in self.contracts.entities:
            expected = f"an entity that a contract defines ({', '.join(self.contracts.entities)})"
            yield self.problem("gridlake.conformsTo", expected, contract.conforms_to, "correct it, or write the defining contract first")
            return
        canonical = {c.name: c for c in self.contracts.defining(contract.conforms_to).columns}
        own = {c.name: c for c in contract.columns}
        entries = [p for name, entry in contract.mapping.items() for p in self._map_entry(name, canonical.get(name), entry, own)]
        yield from entries
        if contract.sql is None:
            for name, column in canonical.items():
                if column.required and name not in contract.mapping and name not in own:
                    remedy = "map it to {column: …}, {constant: …} or {sql: …}"
                    yield self.problem("gridlake.map", f"an entry for {name} ({column.title}), which {contract.conforms_to} requires", "none", remedy)
        if entries:
            return
        try:
            staging.statement(contract, self.contracts)
        except ContractError as error:
            came = str(error).removeprefix(f"{contract.path}: ")
            yield self.problem("gridlake.map", "a map that staging can write as SQL", came, "correct the entry")

    def _map_entry(self, name: str, target: Column | None, entry: Mapping[str, Any], own: Mapping[str, Column]) -> Iterator[Problem]:
        place = f"gridlake.map.{name}"
        if target is None:
            canonical = ", ".join(c.name for c in self.contracts.defining(self.contract.conforms_to or "").columns)
            yield self.problem(place, f"a column of {self.contract.conforms_to} ({canonical})", name, "correct or drop it")
            return
        said = [kind for kind in _EXCLUSIVE if kind in entry] if isinstance(entry, Mapping) else []
        if len(said) != 1:
            yield self.problem(place, "exactly one of column, constant, sql", json.dumps(entry, ensure_ascii=False, default=str), "keep one")
            return
        unknown = sorted(set(entry) - {*_EXCLUSIVE, "codes", "default"})
        if unknown:
            yield self.problem(place, "column, codes, default, constant or sql", ", ".join(unknown), "drop the rest")
        if target.code_list and target.code_list in self.vocabularies:
            codes = self.vocabularies[target.code_list].codes
            given = [*(entry.get("codes") or {}).values(), *(entry[k] for k in ("default", "constant") if entry.get(k) is not None)]
            for code in dict.fromkeys(str(g) for g in given):
                if code not in codes:
                    yield self.problem(place, f"a code of {target.code_list}", code, "look the code up in the vocabulary")
        source = own.get(str(entry.get("column")))
        if source is not None and source.values and target.required and "codes" in entry and entry.get("default") is None:
            unmapped = [str(v) for v in source.values if str(v) not in {str(c) for c in entry["codes"]}]
            if unmapped:
                remedy = f"map it or give a default: {target.name} is required"
                yield self.problem(place, f"a code for every value of {source.name}", ", ".join(unmapped), remedy)

    def examples(self) -> Iterator[Problem]:
        contract = self.contract
        names = {c.name for c in contract.columns}
        rules = FIELD_RULES | {r.name for r in contract.rules if r.severity == "error"}
        if not contract.accept:
            yield self.problem("gridlake.accept", "at least one row to accept", "none", "add one that shows a plain, correct row")
        if not contract.reject:
            yield self.problem("gridlake.reject", "at least one row to refuse, with rule and field", "none", "add one that shows a usual mistake")
        for number, row in enumerate(contract.accept, 1):
            place = f"gridlake.accept[{number}]"
            unknown = sorted(set(row) - names - {"_op"} - set(contract.ignored_columns))
            if unknown:
                expected = f"columns of the contract ({', '.join(sorted(names))})"
                yield self.problem(place, expected, ", ".join(unknown), "correct the row or add the column")
            is_delete = row.get("_op") == "delete"
            needed = {c.name for c in (*contract.key, *contract.version_order)} if is_delete else {c.name for c in contract.columns if c.required}
            missing = sorted(n for n in needed if row.get(n) is None)
            if missing:
                expected = "every key and version column" if is_delete else "every required column"
                yield self.problem(place, expected, f"no {', '.join(missing)}", "complete the row")
        for number, rejected in enumerate(contract.reject, 1):
            place = f"gridlake.reject[{number}]"
            if rejected.rule not in rules:
                expected = f"a rule of the contract or one of {', '.join(sorted(FIELD_RULES))}"
                yield self.problem(place, expected, rejected.rule or "none", "name the rule that refuses the row")
            if rejected.field is not None and rejected.field not in names and rejected.field not in rejected.row:
                yield self.problem(place, "a column of the contract or of the row", rejected.field, "correct field:")


class _StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice: YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """As SafeLoader, but a repeated key raises."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        repeated = next((k for k in keys if keys.count(k) > 1), None)
        if repeated is not None:
            raise yaml.constructor.ConstructorError(None, None, f"key {repeated!r} stands twice", node.start_mark)
        return super().construct_mapping(node, deep)


@cache
def _odcs_validator() -> Any:
    schema = json.loads((files("open_data_contract_standard") / "schema.json").read_text(encoding="utf-8"))
    return jsonschema.validators.validator_for(schema)(schema)


def _readable(paths: Iterable[Path]) -> Iterator[Contract]:
    for path in paths:
        try:
            yield load(path)
        except ContractError:
            continue  # reported where that file itself is checked


def _unreadable(path: Path, came: str) -> Problem:
    return Problem(path, "file", "a contract that can be read", came, "correct this first; further checks wait for it")


def _is_semver(version: str) -> bool:
    try:
        Version(version)
    except InvalidVersion:
        return False
    return bool(_SEMVER.fullmatch(version))


def _is_time_format(pattern: str) -> bool:
    bare = _QUOTED.sub("", pattern)
    return "'" not in bare and all(_TIME_LETTERS.fullmatch(run[0]) for run in _LETTERS.finditer(bare))


def _is_zone(name: str) -> bool:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 300 else text[:297] + "…"
