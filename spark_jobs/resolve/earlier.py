"""What an earlier run made, while nothing has come by which it could differ: a day without rows about persons links nothing anew.

A note beside the tables names what they were made of and what they are; a table that is not as noted, or any other code, and all is made again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from gridlake.runs import Run
from gridlake.tables import write_file

_CODE = sorted(p for p in Path(__file__).parent.iterdir() if p.suffix in {".py", ".yml"})


class Note:
    """Of what some tables of a lake were made; `sources` with their versions (None: the newest), `said` for what decides besides."""

    def __init__(self, run: Run, name: str, sources: Mapping[str, int | None], tables: Sequence[str], said: str = "") -> None:
        self._run, self._sources, self._tables, self._said = run, sources, tables, said
        self._file = run.settings.home.absolute() / "resolve" / f"{name}.json"

    def stands(self) -> bool:
        """Whether the tables are what this code would make of these sources."""
        return self._file.exists() and json.loads(self._file.read_text(encoding="utf-8")) == self._made_of()

    def write(self) -> None:
        """Remember it of the tables as they are now."""
        write_file(self._file, json.dumps(self._made_of()).encode())

    def _made_of(self) -> dict[str, str | None]:
        versions = {**dict.fromkeys(self._tables), **self._sources}
        tables = self._run.tables
        states = {name: tables.state(name, version) if tables.exists(name) else None for name, version in versions.items()}
        return {"code": _digest(p.read_bytes() for p in _CODE), "said": _digest([self._said.encode()]), **states}


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
