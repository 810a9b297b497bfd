"""What the last run found out about persons, while nothing has come by which it could differ: a day without rows about persons links nothing anew.

The note beside the tables names what they were made of and what they are; a table that is not as noted, or any other code, and all is linked again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import pyarrow.compute as pc

from gridlake.contracts import staging
from gridlake.runs import Run
from gridlake.tables import write_file
from spark_jobs.resolve.persons import ENTITIES, PROBLEMS, Persons

_TABLES = ("resolved.person_record", "resolved.person_link", "resolved.crosswalk", "resolved.problem")
_CODE = sorted(p for p in Path(__file__).parent.iterdir() if p.suffix in {".py", ".yml"})


def found(run: Run) -> Persons | None:
    """The persons as the tables have them; None where they must be linked."""
    note = _note(run)
    if not note.exists() or json.loads(note.read_text(encoding="utf-8")) != _made_of(run):
        return None
    records, links = (run.tables.read(name) for name in _TABLES[:2])
    crosswalk = run.tables.read("resolved.crosswalk", where=pc.field("entity").isin(list(ENTITIES)))
    problems = run.tables.read("resolved.problem", where=pc.field("problem").isin(list(PROBLEMS)))
    return Persons(records, links, crosswalk, problems)


def note(run: Run) -> None:
    """Remember of what the tables, written by now, were made."""
    write_file(_note(run), json.dumps(_made_of(run)).encode())


def _note(run: Run) -> Path:
    return run.settings.home.absolute() / "resolve" / "persons.json"


def _made_of(run: Run) -> dict[str, str | None]:
    contracts = [c for entity in (*ENTITIES, "human_label", "grid") for c in run.contracts.conforming(entity)]
    said = json.dumps([staging.statement(c, run.contracts) for c in contracts])
    states = {f"bronze.{c.id}": run.cut.get(f"bronze.{c.id}") for c in contracts if c.entity != "grid"}
    return {
        "code": _digest(p.read_bytes() for p in _CODE),
        "contracts": _digest([said.encode()]),
        **{name: None if version is None else run.tables.state(name, version) for name, version in states.items()},
        **{name: run.tables.state(name) if run.tables.exists(name) else None for name in (*_TABLES, *(f"staging.stg_{c.id}" for c in contracts))},
    }


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
