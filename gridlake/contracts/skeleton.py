"""Writes the first contract of a feed from guesses about a sample; every question left to a person is a `# DECIDE` line.

Holds no row of the sample: example rows are made up, except values of closed lists, regions, clocks and numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import yaml

from gridlake.contracts.model import Column, Contract
from gridlake.contracts.sample import Guess, Sample

# Made up: no operator gives out 1380000, no district is 110000, no one is called 示例.
_SYNTHETIC: Mapping[str, Callable[[int], str]] = {
    "id_number": lambda n: f"11000019000101{n:03d}X",
    "phone": lambda n: f"1380000{n:04d}",
    "person_name": lambda n: f"示例{'甲乙丙丁戊己庚辛壬癸'[n % 10]}",
    "home_address": lambda n: f"示例路{n + 1}号",
}
_SYNTHETIC_TEXT = "示例"


def draft(source: str, feed: str, sample: Sample, guesses: Iterable[Guess], sealed: frozenset[str], entity: Contract | None = None) -> str:
    """The YAML text of `<source>/<feed>.odcs.yaml`; `sealed` are the values that must not stand in it, `entity` the contract to conform to."""
    found = [_without(g, sealed) for g in guesses]
    lines = [
        "apiVersion: v3.1.0",
        "kind: DataContract",
        f"id: {source}.{feed}",
        f"name: {_inline(feed)} # DECIDE: the feed's name in Chinese",
        "version: 0.1.0",
        "status: draft",
        "domain: 待定 # DECIDE",
        "description:",
        "  purpose: 待定 # DECIDE: what one row is, and who needs it",
        "  usage: 待定 # DECIDE",
        "  limitations: 待定 # DECIDE",
        "team:",
        "  name: 待定 # DECIDE: who answers for it",
        "servers:",
        f'  - {{server: inbox, type: local, path: "{source}/{feed}/{{sender}}/*", format: {sample.kind}}}',
        "schema:",
        f"  - name: {feed}",
        "    physicalType: file",
        "    dataGranularityDescription: one row per key and version # DECIDE",
        f"    # Guessed from {sample.row_count:,} rows. A class is never lower than the sample allows, but L1 to L3 are guesses.",
        "    properties:",
        *(line for g in found for line in _column(g, entity)),
        "slaProperties:",
        "  - {property: frequency, value: 1, unit: d} # DECIDE",
        "customProperties:",
        *_entity(found, entity),
        "  - {property: gridlake.timeZone, value: Asia/Shanghai} # DECIDE: the zone that the source's clocks show",
        *(["  - {property: gridlake.coordinateSystem, value: GCJ-02} # DECIDE: CGCS2000, WGS84 or GCJ-02"] if any(g.position for g in found) else []),
        "  - {property: gridlake.regionSystem, value: cn}",
        "  - {property: gridlake.repeatWindow, value: 3 days}",
        "  - property: gridlake.volume # DECIDE: rows in one delivery, and where the numbers come from",
        f"    value: {_inline({'min': 1, 'max': max(1000, sample.row_count * 10), 'origin': f'ten times the sample of {sample.row_count:,} rows'})}",
        "  - {property: gridlake.ignoredColumns, value: []}",
        *_examples(found, sealed),
    ]
    return "\n".join(lines) + "\n"


def _without(guess: Guess, sealed: frozenset[str]) -> Guess:
    """The guess without values that hold an L4 value of the sample."""
    if any(s in v for v in guess.values for s in sealed):
        question = "values are not listed here: some hold names, phones or ID numbers of the sample"
        guess = replace(guess, values=(), decide=(*guess.decide, question))
    if isinstance(guess.example, str) and any(s in guess.example for s in sealed):
        guess = replace(guess, example=None)
    return guess


def _column(guess: Guess, entity: Contract | None) -> Iterator[str]:
    for question in guess.decide:
        yield f"      # DECIDE: {question}"
    yield f"      - name: {_inline(guess.name)}"
    yield f"        businessName: {_inline(guess.name)}"
    yield f"        logicalType: {guess.logical_type}"
    options = {"format": guess.format, "pattern": guess.pattern, "maxLength": guess.max_length}
    given = {name: value for name, value in options.items() if value is not None}
    if given:
        yield f"        logicalTypeOptions: {_inline(given)}"
    if guess.values:
        yield f"        enum: {_inline([{'value': v} for v in guess.values])}"
    if guess.required:
        yield "        required: true"
    if guess.key_position:
        yield "        primaryKey: true"
        yield f"        primaryKeyPosition: {guess.key_position}"
    yield f"        classification: {guess.classification}"
    own = {
        "localIdOf": entity.defines if entity and guess.key_position == 1 else None,
        "codeList": guess.code_list,
        "region": guess.is_region or None,
        "redact": guess.redact or None,
        "position": guess.position,
        "versionOrder": guess.version_order,
    }
    properties = [{"property": f"gridlake.{name}", "value": value} for name, value in own.items() if value is not None]
    if properties:
        yield f"        customProperties: {_inline(properties)}"


def _entity(guesses: list[Guess], entity: Contract | None) -> Iterator[str]:
    if entity is None:
        yield "  # DECIDE: {property: gridlake.conformsTo, value: <entity>} with gridlake.map, if this feed belongs to a library"
        return
    yield f"  - {{property: gridlake.conformsTo, value: {entity.defines}}}"
    yield "  - property: gridlake.map"
    mapped, open_lines = [], []
    for column in entity.columns:
        source = _source(column, guesses)
        if source is not None:
            guessed = "" if source.name.lower() == column.name.lower() else " # DECIDE: guessed, not named alike"
            mapped.append(f"      {column.name}: {_inline({'column': source.name})}{guessed}")
        elif column.required:
            hint = f", codes of {column.code_list}" if column.code_list else ""
            open_lines.append(f"      # DECIDE: {column.name} ({column.title}{hint}) is required: {{column: …}}, {{constant: …}} or {{sql: …}}")
    yield "    value:" if mapped else "    value: {}"
    yield from mapped
    yield from open_lines


def _source(target: Column, guesses: list[Guess]) -> Guess | None:
    """The column that a canonical one comes from: of that name, else the only one with the same part to play."""
    able = [g for g in guesses if (g.classification == "L4") == target.is_sealed and g.logical_type == target.logical_type]
    named = [g for g in able if target.name.lower() == g.name.lower() or target.title == g.name]
    if named:
        return named[0]
    for plays, part in (
        (target.key_position, [g for g in able if g.key_position]),
        (target.is_region, [g for g in able if g.is_region]),
        (target.position, [g for g in able if g.position == target.position]),
        (target.redact and target.required, [g for g in able if g.redact]),
        (target.version_order, [g for g in able if g.version_order]),
    ):
        if plays and len(part) == 1:
            return part[0]
    return None


def _examples(guesses: list[Guess], sealed: frozenset[str]) -> Iterator[str]:
    row = {g.name: _example(g, sealed) for g in guesses if g.required or g.key_position}
    yield "  - property: gridlake.accept"
    yield f"    value: [{_inline(row)}]"
    yield "  - property: gridlake.reject # DECIDE: add the mistakes that this sender makes"
    yield "    value:"
    plain = next((g.name for g in guesses if g.required and not g.key_position), next(iter(row)))
    yield f"      - {_inline({'rule': 'required', 'field': plain, 'row': {n: v for n, v in row.items() if n != plain}})}"
    timed = next((g.name for g in guesses if g.logical_type in {"date", "timestamp"}), None)
    if timed:
        yield f"      - {_inline({'rule': 'type', 'field': timed, 'row': {**row, timed: '不是时间'}})}"


def _example(guess: Guess, sealed: frozenset[str]) -> Any:
    if guess.sealed_kind:
        # A sample may be made up itself, in the same way.
        made_up = (_SYNTHETIC[guess.sealed_kind](n) for n in range(1000))
        return next((value for value in made_up if value not in sealed), _SYNTHETIC_TEXT)
    if guess.example is not None:
        return guess.example
    if guess.values:
        return guess.values[0]
    return _SYNTHETIC_TEXT[: guess.max_length or None]


def _inline(value: Mapping[str, Any] | list[Any] | str) -> str:
    """The value as YAML on one line."""
    text = yaml.safe_dump(value, allow_unicode=True, default_flow_style=True, sort_keys=False, width=1_000_000)
    return text.removesuffix("\n").removesuffix("...").strip()
