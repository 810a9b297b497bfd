"""Reads ODCS files into `Contract`s. Refuses what it cannot understand, naming file and place."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pydantic
import yaml
from open_data_contract_standard.model import OpenDataContractStandard, SchemaProperty

from gridlake.contracts.model import Column, Contract, ContractError, Contracts, Rejected, Release, Rule, Volume
from gridlake.contracts.pulls import pulls
from gridlake.settings import Settings

PREFIX = "gridlake."
SUFFIX = ".odcs.yaml"
# libyaml, where PyYAML was built with it: a tenth of the time, which every command spends on the contracts.
_SAFE: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# `event.odcs.yaml` and, beside it, `event.v2.odcs.yaml`: two major versions of one feed.
_STEM = re.compile(r"(?P<family>.+?)(?:\.v(?P<major>[2-9]|[1-9][0-9]+))?")
_WINDOW = re.compile(r"(\d+) (minute|hour|day)s?")
_CONTRACT_PROPERTIES = {
    "defines", "conformsTo", "map", "timeZone", "ambiguousTime", "coordinateSystem", "regionSystem",
    "repeatWindow", "retention", "volume", "ignoredColumns", "accept", "reject", "changes",
}  # fmt: skip
_COLUMN_PROPERTIES = {"codeList", "gate", "localIdOf", "region", "redact", "position", "versionOrder"}
_TYPES = {"string", "integer", "number", "boolean", "date", "timestamp"}


def load_all(settings: Settings) -> Contracts:
    """Every built-in contract and those of `--contracts`; an id that appears twice is an error."""
    folders = [settings.expectations / "contracts", *([settings.contracts] if settings.contracts else [])]
    found: dict[str, Contract] = {}
    for folder in folders:
        if not folder.is_dir():
            raise ContractError(f"{folder}: expected a folder of <source>/<feed>{SUFFIX}, found none; check --contracts")
        for path in sorted(folder.glob(f"*/*{SUFFIX}")):
            contract = load(path)
            if contract.id in found:
                raise ContractError(f"{path}: {contract.id} is already defined by {found[contract.id].path}; rename one")
            found[contract.id] = contract
    return Contracts(list(found.values()))


def load(path: Path) -> Contract:
    """One contract from `<source>/<feed>.odcs.yaml`; the path gives source and feed, and the major version where it is not the only one."""
    try:
        document = yaml.load(path.read_text(encoding="utf-8"), Loader=_SAFE)  # noqa: S506 - a safe one
        odcs = OpenDataContractStandard.model_validate(document)
    except (yaml.YAMLError, pydantic.ValidationError, UnicodeDecodeError) as error:
        raise ContractError(f"{path}: not an ODCS document: {error}") from error
    own = _own_properties(path, odcs.customProperties, _CONTRACT_PROPERTIES)
    objects = odcs.schema_ or []
    if len(objects) != 1:
        raise ContractError(f"{path}: expected exactly one object under `schema`, found {len(objects)}")
    table = objects[0]
    family, feed = names(path)
    if feed != family and not str(odcs.version).startswith(f"{feed.removeprefix(family + '_v')}."):
        raise ContractError(f"{path}: version {odcs.version}: expected the major version that the file's name says; correct one of them")
    sql = path.with_name(f"{path.name.removesuffix(SUFFIX)}.sql")
    contract = Contract(
        source=path.parent.name,
        feed=feed,
        title=odcs.name or feed,
        version=odcs.version or "0",
        status=odcs.status or "active",
        domain=odcs.domain or "",
        owner=getattr(odcs.team, "name", None) or "",
        purpose=(odcs.description and odcs.description.purpose) or "",
        usage=(odcs.description and odcs.description.usage) or "",
        limitations=(odcs.description and odcs.description.limitations) or "",
        columns=tuple(_column(path, p) for p in table.properties or []),
        rules=tuple(_rules(path, table.quality or [])),
        defines=own.get("defines"),
        conforms_to=own.get("conformsTo"),
        mapping=own.get("map") or {},
        sql=sql.read_text(encoding="utf-8") if sql.exists() else None,
        time_zone=own.get("timeZone", "Asia/Shanghai"),
        ambiguous_time=own.get("ambiguousTime", "refuse"),
        coordinate_system=own.get("coordinateSystem", "CGCS2000"),
        region_system=own.get("regionSystem", "cn"),
        repeat_window=_window(path, own.get("repeatWindow", "3 days")),
        retention=_retention(path, own.get("retention") or {}, _window(path, own.get("repeatWindow", "3 days"))),
        volume=Volume(**(own.get("volume") or {})),
        ignored_columns=tuple(own.get("ignoredColumns") or ()),
        accept=tuple(own.get("accept") or ()),
        reject=tuple(Rejected(r["row"], r["rule"], r.get("field")) for r in own.get("reject") or ()),
        sla=tuple(p.model_dump(exclude_none=True) for p in odcs.slaProperties or ()),
        family=family,
        releases=tuple(_releases(path, own.get("changes") or ())),
        path=path,
        pulls=pulls(path, odcs.servers or ()),
    )
    if not contract.key:
        raise ContractError(f"{path}: no column says primaryKey: true; a feed needs a key to know versions and repeats")
    if contract.defines and contract.conforms_to:
        raise ContractError(f"{path}: says both gridlake.defines and gridlake.conformsTo; a feed does one of them")
    return contract


def names(path: Path) -> tuple[str, str]:
    """(family, feed) that a contract's path says: `event.v2.odcs.yaml` is the feed `event_v2` of the family `event`."""
    stem = _STEM.fullmatch(path.name.removesuffix(SUFFIX))
    if stem is None:
        raise ContractError(f"{path}: expected a file <feed>{SUFFIX} or <feed>.v<major>{SUFFIX}; rename it")
    return stem["family"], stem["family"] + (f"_v{stem['major']}" if stem["major"] else "")


def _releases(path: Path, given: Iterable[Any]) -> Iterable[Release]:
    for number, item in enumerate(given, 1):
        try:
            yield Release(str(item["version"]), date.fromisoformat(str(item["date"])), str(item["what"]), str(item.get("sender") or ""))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ContractError(
                f'{path}: gridlake.changes[{number}]: expected {{version: 1.1.0, date: "2026-11-25", what: …, sender: …}}; problem: {error!r}'
            ) from error


def _own_properties(path: Path, properties: Iterable[Any] | None, known: set[str]) -> dict[str, Any]:
    own = {}
    for item in properties or ():
        name = item.property or ""
        if not name.startswith(PREFIX):
            continue
        if name.removeprefix(PREFIX) not in known:
            expected = ", ".join(sorted(PREFIX + k for k in known))
            raise ContractError(f"{path}: customProperty {name!r} is not known; expected one of {expected}")
        own[name.removeprefix(PREFIX)] = item.value
    return own


def _column(path: Path, given: SchemaProperty) -> Column:
    own = _own_properties(path, given.customProperties, _COLUMN_PROPERTIES)
    options = given.logicalTypeOptions or {}
    if given.logicalType not in _TYPES:
        raise ContractError(f"{path}: column {given.name}: logicalType {given.logicalType!r} is not one of {sorted(_TYPES)}")
    if given.classification not in {"L1", "L2", "L3", "L4"}:
        raise ContractError(f"{path}: column {given.name}: classification {given.classification!r} is not L1, L2, L3 or L4")
    return Column(
        name=given.name or "",
        title=given.businessName or given.name or "",
        description=given.description or "",
        logical_type=given.logicalType,  # type: ignore[arg-type]
        required=bool(given.required),
        key_position=(given.primaryKeyPosition or 1) if given.primaryKey else None,
        classification=given.classification,  # type: ignore[arg-type]
        pattern=options.get("pattern"),
        min_length=options.get("minLength"),
        max_length=options.get("maxLength"),
        minimum=options.get("minimum"),
        maximum=options.get("maximum"),
        format=options.get("format"),
        values=tuple(e.value for e in given.enum or ()),
        code_list=own.get("codeList"),
        local_id_of=own.get("localIdOf"),
        is_gate=bool(own.get("gate")),
        is_region=bool(own.get("region")),
        redact=bool(own.get("redact")),
        position=own.get("position"),
        version_order=own.get("versionOrder"),
        examples=tuple(given.examples or ()),
    )


def _rules(path: Path, quality: Iterable[Any]) -> Iterable[Rule]:
    for item in quality:
        if item.type != "custom" or item.engine != "gridlake" or not isinstance(item.implementation, str):
            raise ContractError(f"{path}: quality {item.name!r}: expected type custom, engine gridlake and a SQL predicate")
        yield Rule(
            name=item.name or "",
            predicate=item.implementation,
            description=item.description or "",
            dimension=item.dimension or "consistency",
            severity=item.severity or "error",
        )


def _retention(path: Path, given: Any, repeat_window: timedelta) -> dict[str, timedelta]:
    if not isinstance(given, dict) or not given.keys() <= {"bronze", "quarantine"}:
        raise ContractError(f"{path}: gridlake.retention {given!r}: expected {{bronze: <n> days, quarantine: <n> days}}, one of them or both")
    kept = {schema: _window(path, text, "retention") for schema, text in given.items()}
    if any(period < repeat_window for period in kept.values()):
        raise ContractError(
            f"{path}: gridlake.retention is shorter than gridlake.repeatWindow ({repeat_window}): a repeat could not be known for one"
        )
    return kept


def _window(path: Path, text: str, name: str = "repeatWindow") -> timedelta:
    match = _WINDOW.fullmatch(text)
    if not match:
        raise ContractError(f"{path}: gridlake.{name} {text!r}: expected '<n> minutes|hours|days'")
    return timedelta(**{match[2] + "s": int(match[1])})
