"""What marts and their columns are called and mean, as dbt's YAML says it: for readers who have a snapshot and no dbt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from gridlake.privacy import PERSONS, SUPPRESSED, SUPPRESSED_LABEL, SUPPRESSED_MEANING
from gridlake.settings import Settings

# dbt's names of models whose tables are called as another model already is.
_PREFIX = "mart_"


def read(settings: Settings) -> dict[str, dict[str, Any]]:
    """By mart, without its schema: `description`, and `columns`: by name `label` (Chinese) and `description`."""
    return {name.removeprefix(_PREFIX): _described(model) for path in _files(settings) for name, model in _models(path)}


def _files(settings: Settings) -> Iterator[Path]:
    roots = [settings.project / "dbt" / "models" / "mart", *([settings.contracts / "models" / "mart"] if settings.contracts else [])]
    for root in roots:
        yield from sorted(root.glob("*.yml"))


def _models(path: Path) -> Iterator[tuple[str, Mapping[str, Any]]]:
    # The loader written in C reads the marts' YAML in a tenth of the time.
    document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    for model in (document or {}).get("models") or []:
        yield str(model["name"]), model


def _described(model: Mapping[str, Any]) -> dict[str, Any]:
    columns = {
        str(c["name"]): {
            "label": str(((c.get("config") or {}).get("meta") or {}).get("label", c["name"])),
            "description": str(c.get("description", "")),
        }
        for c in model.get("columns") or []
    }
    if PERSONS in columns:
        # No model of dbt has it: publication adds it.
        columns[SUPPRESSED] = {"label": SUPPRESSED_LABEL, "description": SUPPRESSED_MEANING}
    return {"description": str(model.get("description", "")), "columns": columns}
