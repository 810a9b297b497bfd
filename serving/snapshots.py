"""Published snapshots as readers see them: which there are, which is current, and queries over one of them.

A reader resolves `current` once and keeps what it opened; a switch never changes an answer half-way. Nothing here writes.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb

CURRENT = "current"
MANIFEST = "manifest.json"
MARTS = "marts.duckdb"
DICTIONARY = "dictionary.json"
# Open databases kept: the current snapshot, its predecessor and a few that somebody pinned.
OPEN_AT_MOST = 8


class NoSnapshot(LookupError):
    """There is no snapshot of that id, or none at all; the message says what to do."""


@dataclass(frozen=True)
class RegionSystem:
    """What a reader of one region system must know: its clock and the first day that is not yet complete."""

    time_zone: str
    open_date: date


@dataclass(frozen=True)
class Manifest:
    """What a snapshot was made of; enough to make it again."""

    snapshot_id: str
    run_id: str
    created_at: datetime
    as_of: datetime
    cut: Mapping[str, int]
    tables: Mapping[str, Mapping[str, int]]
    contracts: Mapping[str, str]
    models: Mapping[str, str]
    code_digest: str
    checks: Mapping[str, int]
    files: Mapping[str, str]
    region_systems: Mapping[str, RegionSystem] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Manifest:
        """The manifest in a file."""
        document = json.loads(path.read_text(encoding="utf-8"))
        systems = {
            name: RegionSystem(system["time_zone"], date.fromisoformat(system["open_date"]))
            for name, system in document.pop("region_systems", {}).items()
        }
        document |= {name: datetime.fromisoformat(document[name]) for name in ("created_at", "as_of")}
        return cls(**document, region_systems=systems)

    def to_json(self) -> str:
        """The file's text, keys in order."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1, default=lambda v: v.isoformat())


class Snapshot:
    """One published snapshot, open for reading by many threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = Manifest.read(folder / MANIFEST)
        self._connection = duckdb.connect(str(folder / MARTS), read_only=True)
        # All connections of a process to one file share its settings, so the first one makes them. Only now, after opening:
        # before it ICU, which knows time zones, is not there yet.
        if self._connection.execute("select not current_setting('lock_configuration')::boolean").fetchall() == [(True,)]:
            for setting in ("global TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true"):
                self._connection.execute(f"set {setting}")

    @property
    def id(self) -> str:
        """The snapshot's id."""
        return self.manifest.snapshot_id

    @cached_property
    def dictionary(self) -> dict[str, Any]:
        """`feeds` (contract documents by id), `code_lists` (rows by name), `marts` (gridlake.mart_words), `models` (titles), as published."""
        document: dict[str, Any] = json.loads((self.folder / DICTIONARY).read_text(encoding="utf-8"))
        return document

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """All rows of a query; values only ever reach it as bound parameters."""
        with self._connection.cursor() as cursor:
            result = cursor.execute(sql, parameters)
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    @contextmanager
    def session(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own: temporary tables made on it are seen by it alone and end with it."""
        with self._connection.cursor() as cursor:
            yield cursor

    def row(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> dict[str, Any] | None:
        """The first row of a query, or None."""
        return next(iter(self.rows(sql, parameters)), None)

    @cached_property
    def tables(self) -> list[str]:
        """The marts it holds, without their schema."""
        return [r["table_name"] for r in self.rows("select table_name from information_schema.tables where table_schema = 'mart' order by 1")]


class Snapshots:
    """The snapshots under `<home>/snapshots`."""

    def __init__(self, home: Path) -> None:
        self.folder = home.absolute() / "snapshots"
        self._open: OrderedDict[str, Snapshot] = OrderedDict()
        self._lock = threading.Lock()

    def manifests(self) -> list[Manifest]:
        """The manifest of every published snapshot, newest as-of and creation first."""
        found = [Manifest.read(path) for path in self.folder.glob(f"[0-9]*/{MANIFEST}")]
        return sorted(found, key=lambda m: (m.as_of, m.created_at, m.snapshot_id), reverse=True)

    def current(self) -> str:
        """The id that `current` points to; raises NoSnapshot where nothing was published."""
        link = self.folder / CURRENT
        if not link.is_symlink():
            raise NoSnapshot(f"expected a published snapshot under {self.folder}, found none; run `gridlake run` first")
        return link.readlink().name

    def open(self, snapshot_id: str | None = None) -> Snapshot:
        """The snapshot of that id, the current one for None; stays readable after later switches."""
        wanted = snapshot_id or self.current()
        with self._lock:
            if wanted in self._open:
                self._open.move_to_end(wanted)
                return self._open[wanted]
            # Only a name that the folder lists is opened: an id never becomes part of a path unseen.
            if not self.folder.is_dir() or wanted not in {p.name for p in self.folder.iterdir() if (p / MANIFEST).exists() and not p.is_symlink()}:
                raise NoSnapshot(f"expected the id of a published snapshot, got {wanted!r}; GET /snapshots lists them")
            snapshot = self._open[wanted] = Snapshot(self.folder / wanted)
            # A dropped one closes when its last reader lets go of it.
            while len(self._open) > OPEN_AT_MOST:
                self._open.popitem(last=False)
            return snapshot
