"""A small sound contract as a document, to be changed by tests and written where contracts lie."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

Change = Callable[[dict[str, Any]], None]


def document() -> dict[str, Any]:
    """`clinic.visit`: a visit with a patient's name, sound in every respect."""
    return {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": "clinic.visit",
        "name": "就诊",
        "version": "1.2.0",
        "status": "active",
        "schema": [
            {
                "name": "visit",
                "physicalType": "file",
                "properties": [
                    {
                        "name": "visit_id",
                        "logicalType": "string",
                        "required": True,
                        "primaryKey": True,
                        "primaryKeyPosition": 1,
                        "classification": "L1",
                    },
                    {"name": "patient_name", "logicalType": "string", "classification": "L4"},
                    {"name": "minutes", "logicalType": "integer", "logicalTypeOptions": {"minimum": 1, "maximum": 600}, "classification": "L1"},
                    {
                        "name": "ward",
                        "logicalType": "string",
                        "logicalTypeOptions": {"pattern": "[A-Z][0-9]+", "maxLength": 10},
                        "classification": "L1",
                        "enum": [{"value": "A1"}, {"value": "B2"}],
                    },
                    {
                        "name": "began_at",
                        "logicalType": "timestamp",
                        "logicalTypeOptions": {"format": "yyyy-MM-dd HH:mm:ss"},
                        "required": True,
                        "classification": "L1",
                        "customProperties": [{"property": "gridlake.versionOrder", "value": 1}],
                    },
                ],
                "quality": [
                    {
                        "name": "short_in_a1",
                        "type": "custom",
                        "engine": "gridlake",
                        "description": "A1 只做短诊",
                        "severity": "error",
                        "implementation": "ward <> 'A1' or minutes <= 30",
                    }
                ],
            }
        ],
        "customProperties": [
            {"property": "gridlake.timeZone", "value": "Asia/Shanghai"},
            {"property": "gridlake.volume", "value": {"min": 1, "max": 100, "origin": "a test"}},
            {"property": "gridlake.accept", "value": [{"visit_id": "V1", "began_at": "2026-03-01 09:00:00"}]},
            {"property": "gridlake.reject", "value": [{"rule": "required", "field": "began_at", "row": {"visit_id": "V1"}}]},
        ],
    }


def changed(*changes: Change) -> dict[str, Any]:
    """The document after changes."""
    made = copy.deepcopy(document())
    for change in changes:
        change(made)
    return made


def write(root: Path, made: dict[str, Any], place: str = "clinic/visit") -> Path:
    """Write a document to `<root>/<source>/<feed>.odcs.yaml`."""
    path = root / f"{place}.odcs.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(made, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return path


def column(name: str, **values: Any) -> Change:
    """Set fields of one column; None takes a field away."""

    def change(made: dict[str, Any]) -> None:
        found = next(c for c in made["schema"][0]["properties"] if c["name"] == name)
        for key, value in values.items():
            if value is None:
                found.pop(key, None)
            else:
                found[key] = value

    return change


def own(name: str, value: Any) -> Change:
    """Set a property of the contract under our prefix; None takes it away."""

    def change(made: dict[str, Any]) -> None:
        rest = [p for p in made["customProperties"] if p["property"] != f"gridlake.{name}"]
        made["customProperties"] = rest + ([] if value is None else [{"property": f"gridlake.{name}", "value": value}])

    return change


def rule(**values: Any) -> Change:
    """Set fields of the contract's one rule."""
    return lambda made: made["schema"][0]["quality"][0].update(values)


def added(**values: Any) -> Change:
    """Add a column."""
    return lambda made: made["schema"][0]["properties"].append({"logicalType": "string", "classification": "L1", **values})


def without(name: str) -> Change:
    """Remove a column."""

    def change(made: dict[str, Any]) -> None:
        table = made["schema"][0]
        table["properties"] = [c for c in table["properties"] if c["name"] != name]

    return change


def top(**values: Any) -> Change:
    """Set fields of the document itself."""
    return lambda made: made.update(values)


def tagged(**values: Any) -> list[dict[str, Any]]:
    """A column's properties under our prefix."""
    return [{"property": f"gridlake.{name}", "value": value} for name, value in values.items()]
