"""Staging derived from contracts: one dbt model a feed, its tests, the sources, and the macros that list feeds by entity.

A feed of an entity comes out in the entity's columns, whatever its own are called; any other feed in its own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Container, Iterator, Mapping
from typing import Any

import yaml

from gridlake.contracts.compile import AUDIT, SEALED, TOKEN, bronze_fields
from gridlake.contracts.model import Column, Contract, ContractError, Contracts
from gridlake.contracts.overlap import asked_twice

SQL_TYPES: Mapping[str, str] = {
    "string": "string",
    "integer": "bigint",
    "number": "double",
    "boolean": "boolean",
    "date": "date",
    "timestamp": "timestamp",
}
# The first of these that an entity has says on which day a row counts.
_BUSINESS_CLOCKS = ("reported_at", "changed_at")
# What the tables of happenings are partitioned by, so that a day's increment opens the months that it touches: 2026-03, or NO_MONTH.
MONTH = "business_month"
NO_MONTH = "0000-00"
_SOURCE = re.compile(r"\{\{\s*source\s*\}\}")


def files(contracts: Contracts) -> dict[str, str]:
    """Every generated file of the dbt project by its path."""
    made = {
        "macros/contracts.sql": macros(contracts),
        "models/sources_from_contracts.yml": _yaml(sources(contracts)),
        "models/staging/feeds.yml": _yaml(properties(contracts)),
    }
    for contract in contracts.values():
        made[f"models/staging/stg_{contract.id}.sql"] = model(contract, contracts)
    for entity in contracts.entities:
        made[f"models/staging/stg_{entity}.sql"] = union(contracts.defining(entity))
    return made


def canonical(contract: Contract, contracts: Contracts) -> Contract:
    """The contract whose columns the feed comes out in: its entity's defining one, or itself."""
    return contracts.defining(contract.entity) if contract.entity else contract


def staged_columns(shape: Contract) -> list[str]:
    """The columns of staging for a feed of this shape, in order, without those that only the merge needs."""
    names: list[str] = []
    for column in shape.columns:
        if _is_own_id(shape, column):
            names += [column.name, "local_id"]
        elif column.position:
            names += [column.name, f"{column.name}_original"]
        else:
            names += [field.name for field in bronze_fields(column)]
    return [*names, "region_system", "business_date", *([MONTH] if is_dated(shape) else []), "feed", *AUDIT.names]


def is_dated(shape: Contract) -> bool:
    """Whether rows of this shape happen at a time of their own, rather than stand in a register until they are changed."""
    clocks = {c.name for c in shape.columns if c.logical_type == "timestamp"}
    return bool(clocks.intersection(_BUSINESS_CLOCKS)) and clocks != {"changed_at"}


def model(contract: Contract, contracts: Contracts) -> str:
    """The dbt model `stg_<source>__<feed>`: what the contract says, handed to the macro that holds the SQL."""
    by_month = f", partition_by='{MONTH}'" if is_dated(canonical(contract, contracts)) else ""
    said = {"compared": ["_source_position"], "looked_up": [f"bronze.{contract.id}"]}
    return f"""-- one row per sender and key of {contract.id}: its newest version, deletes kept
-- Generated from the contract; a change made here is lost.
{{{{ config(materialized='incremental', unique_key=['_sender_code', '_source_key'], meta={said}{by_month}) }}}}
{{{{ staged_feed({_as_jinja(statement(contract, contracts))}) }}}}
"""


def statement(contract: Contract, contracts: Contracts) -> dict[str, Any]:
    """What the macro `staged_feed` needs to know of a feed; its comment names the fields."""
    shape = canonical(contract, contracts)
    local_ids = [c.name for c in shape.columns if c.local_id_of]
    said: dict[str, Any] = {
        "feed": contract.id,
        "region_system": contract.region_system,
        "time_zone": contract.time_zone,
        "key": [_quoted(name) for name in _key(contract)],
        "version": [_quoted(c.name) for c in contract.version_order],
        "local_ids": local_ids,
        "clocks": [n for n in _BUSINESS_CLOCKS if any(c.name == n and c.logical_type == "timestamp" for c in shape.columns)],
        "columns": staged_columns(shape),
    }
    own_id = next((c.name for c in shape.columns if _is_own_id(shape, c)), None)
    if own_id:
        said["own_id"] = own_id
    position = {c.position: c.name for c in shape.columns if c.position}
    if position:
        said["position"] = {**position, "datum": contract.coordinate_system}
    if contract.sql is None:
        said["values"] = [[name, expression] for column in shape.columns for name, expression in _expressions(contract, shape, column)]
    else:
        said["sql"] = _reading_newest(contract, contract.sql)
        said["types"] = [[f.name, _sql_type(c, f.name)] for c in shape.columns for f in bronze_fields(c)]
    return said


def union(shape: Contract) -> str:
    """The dbt model `stg_<entity>`: a view, because a table would hold every row of staging twice."""
    return f"""-- one row per current {shape.defines}, over every feed that conforms to it
-- Generated from the contracts; a change made here is lost.
{{{{ config(materialized='view') }}}}
{{{{ current_rows('{shape.defines}') }}}}
"""


def views(contracts: Contracts, columns_of: Callable[[str], Container[str]]) -> dict[str, str]:
    """What `union` makes of each entity, as SQL by view, for a session in which dbt did not make it.

    `columns_of` gives a table's columns, none where it is not there. An entity is left out where a feed's table lacks a column: the contract has
    changed since, or nothing was staged yet, and the step stage comes first.
    """
    found = {}
    for entity in contracts.entities:
        columns = staged_columns(contracts.defining(entity))
        tables = {f"staging.stg_{c.id}": columns_of(f"staging.stg_{c.id}") for c in contracts.conforming(entity)}
        if all(column in there for there in tables.values() for column in columns):
            parts = [_current(c, contracts, ", ".join(columns)) for c in contracts.conforming(entity)]
            found[f"staging.stg_{entity}"] = " union all ".join(parts)
    return found


def _current(contract: Contract, contracts: Contracts, selected: str) -> str:
    """Current rows of a feed, without those that their sender has sent by a newer major version of it."""
    table = f"staging.stg_{contract.id}"
    key = " and ".join(f"older.{name} = newer.{name}" for name in ["_sender_code", *_key(canonical(contract, contracts))])
    for newer in contracts.superseding(contract):
        table += f"{'' if ' as older' in table else ' as older'} left anti join staging.stg_{newer.id} as newer on {key}"
    return f"select {selected} from {table} where _op = 'upsert'"


def macros(contracts: Contracts) -> str:
    """What macros know of the contracts: feeds by entity, an entity's columns, and the zone of each region system."""
    by_entity = {entity: [c.id for c in contracts.conforming(entity)] for entity in contracts.entities}
    columns = {entity: staged_columns(contracts.defining(entity)) for entity in contracts.entities}
    return "\n".join(
        [
            "{# Generated from the contracts; a change made here is lost. #}",
            _returning("feeds()", sorted(contracts)),
            _returning("conforming(entity)", by_entity, "entity"),
            _returning("entity_columns(entity)", columns, "entity"),
            _returning("key_of(feed)", {c.id: [_quoted(name) for name in _key(c)] for c in contracts.values()}, "feed"),
            _returning("versions_in(feed)", {c.id: _versions(c, contracts) for c in contracts.values() if c.entity}, "feed"),
            _returning("superseding(feed)", {c.id: [newer.id for newer in contracts.superseding(c)] for c in contracts.values()}, "feed"),
            _returning("entity_key(entity)", {entity: _key(contracts.defining(entity)) for entity in contracts.entities}, "entity"),
            _returning("zone_of(feed)", {c.id: c.time_zone for c in contracts.values()}, "feed"),
            _returning("region_zones()", _region_zones(contracts)),
            _returning("audit_columns()", AUDIT.names),
            _returning("no_month()", NO_MONTH),
            _returning("asked_twice()", asked_twice(contracts)),
        ]
    )


def sources(contracts: Contracts) -> dict[str, Any]:
    """dbt's sources: what landing wrote, at the cut's versions."""
    ids = sorted(contracts)
    bronze = [{"name": c.id, "description": f"{c.title}：{c.purpose}" if c.purpose else c.title} for c in contracts.values()]
    return {
        "version": 2,
        "sources": [
            {"name": "bronze", "schema": "bronze", "description": "落地数据，本次运行所取版本", "tables": bronze},
            {"name": "quarantine", "schema": "quarantine", "description": "拒收数据，原文密存", "tables": [{"name": i} for i in ids]},
        ],
    }


def properties(contracts: Contracts) -> dict[str, Any]:
    """Description and tests of each generated feed model."""
    return {"version": 2, "models": [_properties(c, contracts) for c in contracts.values()]}


def literal(value: Any) -> str:
    """A value of a map as a SQL literal that both engines read alike (backslash escapes, no doubled quotes)."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    text = str(value).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"


def _quoted(name: str) -> str:
    """A source's own column as SQL names it: Apache Spark takes letters beyond ASCII in backticks only."""
    return name if name.isascii() else f"`{name}`"


def _key(contract: Contract) -> list[str]:
    return [c.name for c in contract.key]


def _is_own_id(shape: Contract, column: Column) -> bool:
    return bool(column.key_position) and column.local_id_of is not None and column.local_id_of == shape.entity


def _versions(contract: Contract, contracts: Contracts) -> dict[str, Any]:
    """Where every version of an entity's rows is found and how its columns are read there; the comment of the macro `history` names the fields."""
    shape = canonical(contract, contracts)
    local_ids = [c.name for c in shape.columns if c.local_id_of]
    if contract.sql is not None:
        # What a SELECT makes of rows is known of the newest ones only.
        staged = {name: name for name in staged_columns(shape)}
        return {"is_staged": True, "region_system": contract.region_system, "version": [], "values": staged, "local_ids": []}
    values = {name: expression for column in shape.columns for name, expression in _expressions(contract, shape, column)}
    version = [_quoted(c.name) for c in contract.version_order]
    return {"is_staged": False, "region_system": contract.region_system, "version": version, "values": values, "local_ids": local_ids}


def _sql_type(column: Column, name: str) -> str:
    return SQL_TYPES[column.logical_type] if name == column.name else "string"


def _reading_newest(contract: Contract, sql: str) -> str:
    if not _SOURCE.search(sql):
        raise ContractError(
            f"{contract.sql_path}: expected a SELECT from {{{{ source }}}}, found none; read the rows there and give their _source_position"
        )
    return _SOURCE.sub("newest", sql).strip().rstrip(";")


def _as_jinja(document: Mapping[str, Any]) -> str:
    """A dict as a Jinja literal, which JSON is as long as it has no null; long lists one item a line."""
    lines = []
    for key, value in document.items():
        text = json.dumps(value, ensure_ascii=False)
        if isinstance(value, list) and value and isinstance(value[0], list):
            text = "[\n" + ",\n".join(f"        {json.dumps(item, ensure_ascii=False)}" for item in value) + "\n    ]"
        lines.append(f"    {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(lines) + "\n}"


def _expressions(contract: Contract, shape: Contract, column: Column) -> Iterator[tuple[str, str]]:
    """Each staged column of a canonical column with its expression over the source's newest rows."""
    entry = contract.mapping.get(column.name)
    own = {c.name: c for c in contract.columns}
    if entry is None:
        entry = {"column": column.name} if column.name in own else {"constant": None}
    place = f"gridlake.map.{column.name}"
    if "column" in entry and entry["column"] not in own:
        raise ContractError(f"{contract.path}: {place}: no column {entry['column']!r}; the contract has {', '.join(own)}")
    source = own[entry["column"]] if "column" in entry else None
    if column.is_sealed or (source is not None and source.is_sealed):
        if source is None and entry.get("constant", "") is None:
            yield column.name + SEALED, "cast(null as string)"
            yield column.name + TOKEN, "cast(null as string)"
        elif source is not None and source.is_sealed and column.is_sealed:
            yield column.name + SEALED, _quoted(source.name + SEALED)
            yield column.name + TOKEN, _quoted(source.name + TOKEN)
        else:
            raise ContractError(
                f"{contract.path}: {place}: {column.name} of {shape.defines} is {column.classification}, what is mapped to it is not alike; "
                "class both L4: staging can neither seal nor open"
            )
        return
    yield column.name, _expression(contract, column, entry, source)
    if column.redact:
        yield column.name + SEALED, _quoted(source.name + SEALED) if source is not None and source.redact else "cast(null as string)"


def _expression(contract: Contract, column: Column, entry: Mapping[str, Any], source: Column | None) -> str:
    kind = SQL_TYPES[column.logical_type]
    if "sql" in entry:
        return f"cast({entry['sql']} as {kind})"
    if source is None:
        return f"cast({literal(entry['constant'])} as {kind})"
    if "codes" in entry:
        cases = " ".join(f"when {literal(str(code))} then {literal(value)}" for code, value in entry["codes"].items())
        return f"cast(case cast({_quoted(source.name)} as string) {cases} else {literal(entry.get('default'))} end as {kind})"
    if (source.logical_type, column.logical_type) == ("date", "timestamp"):
        return f"to_utc_timestamp(cast({_quoted(source.name)} as timestamp), {literal(contract.time_zone)})"
    if (source.logical_type, column.logical_type) == ("timestamp", "date"):
        return f"cast(from_utc_timestamp({_quoted(source.name)}, {literal(contract.time_zone)}) as date)"
    if source.logical_type in {"number", "boolean", "timestamp"} and column.logical_type == "string":
        raise ContractError(
            f"{contract.path}: gridlake.map.{column.name}: {source.name} is a {source.logical_type}, which the engines write differently as text; "
            "say how with {sql: …}"
        )
    return f"cast({_quoted(source.name)} as {kind})"


def _properties(contract: Contract, contracts: Contracts) -> dict[str, Any]:
    shape = canonical(contract, contracts)
    described: dict[str, dict[str, Any]] = {}
    for column in shape.columns:
        for field in bronze_fields(column):
            described[field.name] = _described(field.name, column)
    columns = [described.get(name) or {"name": name} for name in staged_columns(shape) if name in described]
    return {
        "name": f"stg_{contract.id}",
        "description": f"{contract.title}（{contract.id} {contract.version}）：每个上报单位、每个主键的最新版本，含已删除",
        "data_tests": [{"unique_together": {"arguments": {"columns": ["_sender_code", "_source_key"]}}}],
        "columns": columns,
    }


def _described(name: str, column: Column) -> dict[str, Any]:
    suffix = {column.name + SEALED: "（密文）", column.name + TOKEN: "（比对令牌）"}.get(name, "")
    description = column.description or column.title
    return {"name": name, "description": description + suffix, "config": {"meta": {"label": column.title + suffix, "class": column.classification}}}


def _region_zones(contracts: Contracts) -> dict[str, str]:
    # Days of a region system are those of its event feeds, as its marts count them.
    ordered = sorted(contracts.values(), key=lambda c: (c.entity != "event", c.id), reverse=True)
    return {c.region_system: c.time_zone for c in ordered}


def _returning(signature: str, value: Any, key: str | None = None) -> str:
    chosen = f"({json.dumps(value, ensure_ascii=False, sort_keys=True)})" + (f"[{key}]" if key else "")
    return f"{{% macro {signature} %}}{{{{ return({chosen}) }}}}{{% endmacro %}}"


def _yaml(document: dict[str, Any]) -> str:
    return "# Generated from the contracts; a change made here is lost.\n" + yaml.safe_dump(document, allow_unicode=True, sort_keys=False, width=200)
