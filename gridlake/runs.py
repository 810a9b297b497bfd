"""The run ledger: what a run was given (declarations, cut, clock), what each step returned, and how it ended."""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

from gridlake import contracts, senders, vocabularies
from gridlake.contracts import Contract, Contracts, staging
from gridlake.contracts.in_force import InForce
from gridlake.engine import Engine, require_usable
from gridlake.footprint import Footprint, give_memory_back
from gridlake.privacy import Keys
from gridlake.progress import ProgressLog
from gridlake.senders import Senders
from gridlake.settings import Settings
from gridlake.tables import DiskFull, Tables, make_folder, room_for, write_file
from gridlake.vocabularies import Vocabularies

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

STEPS = ("land", "stage", "resolve", "build", "detect", "mart", "check", "publish", "report")
# What the step `build` makes, one schema each.
LIBRARY = ("theme", "item", "business", "sharing")
CUT_SCHEMAS = ("bronze", "quarantine")
CUT_TABLES = ("ops.receipt",)
# The clocks that say how far the data have come; a contract that conforms to an entity maps its own columns to them.
_CLOCKS = ("reported_at", "changed_at")

# What Airflow makes of a schedule (scheduled__2026-03-01T00:00:00+00:00) and no way out of the ledger's folder.
_RUN_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+~@=-]{0,199}")

# The lock file and its name in the folder take a block each.
_LOCK_BYTES = 8 << 10

Cut: TypeAlias = dict[str, int]
Step: TypeAlias = Callable[..., dict[str, Any]]


class RunError(Exception):
    """A run that cannot start or go on; the message says what to do."""


@dataclass
class Run:
    """One run over one lake."""

    settings: Settings
    run_id: str
    received_at: datetime
    progress: ProgressLog = field(default_factory=ProgressLog)
    cut: Cut = field(default_factory=dict)
    as_of: datetime | None = None
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)
    footprints: dict[str, dict[str, float]] = field(default_factory=dict)
    state: str = "running"
    _engine: Engine | None = None
    _started_at: int = field(default_factory=time.time_ns, repr=False, compare=False)
    _renewing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @classmethod
    def start(cls, settings: Settings, *, quiet: bool = False) -> Run:
        """A new run; 'now' is --as-of where given."""
        now = (settings.as_of or datetime.now(UTC)).astimezone(UTC)
        return cls(settings, f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}", now, ProgressLog(quiet=quiet))

    @classmethod
    def resume(cls, settings: Settings, run_id: str, *, quiet: bool = False) -> Run:
        """The run of that id as the ledger has it; a new one of that id where it has none yet."""
        if not _RUN_ID.fullmatch(run_id):
            raise RunError(f"--run-id {run_id!r}: expected 1 to 200 letters, digits and . _ : + ~ @ = -, the first a letter, digit or _")
        path = ledger(settings) / f"{run_id}.json"
        run = cls.start(settings, quiet=quiet)
        run.run_id = run_id
        if path.exists():
            document = json.loads(path.read_text(encoding="utf-8"))
            run.received_at = datetime.fromisoformat(document["received_at"])
            run.cut = document["cut"]
            run.as_of = datetime.fromisoformat(document["as_of"]) if document["as_of"] else None
            run.steps, run.footprints = document["steps"], document["footprints"]
        return run

    @cached_property
    def contracts(self) -> Contracts:
        """Every contract, built-in and given."""
        return contracts.load_all(self.settings)

    @cached_property
    def senders(self) -> Senders:
        """Every sender, built-in and given."""
        return senders.load_all(self.settings)

    @cached_property
    def vocabularies(self) -> Vocabularies:
        """Every vocabulary, built-in and given."""
        return vocabularies.load_all(self.settings)

    @cached_property
    def _in_force(self) -> InForce:
        return InForce(self.settings, self.contracts, self.senders, self.vocabularies, self._started_at)

    def renew(self) -> None:
        """Take in what has changed in contracts, senders and vocabularies since they were read, as far as it may take effect while rows arrive.

        At most one look a second; any thread may ask. What takes effect and what is withheld is said.
        """
        with self._renewing:
            taken, withheld = self._in_force.look()
            if taken:
                self.contracts, self.senders, self.vocabularies = self._in_force.contracts, self._in_force.senders, self._in_force.vocabularies
        for change in taken:
            self.progress.say(f"in force from now on: {change.what}")
        for refused in withheld:
            self.progress.say(f"NOT IN FORCE {refused}")

    @property
    def withheld(self) -> list[str]:
        """Changed declarations that did not take effect, each with its reason."""
        return [str(w) for w in self._in_force.withheld.values()] if "_in_force" in self.__dict__ else []

    @cached_property
    def tables(self) -> Tables:
        """The lake's Delta tables."""
        return Tables(self.settings.tables)

    @cached_property
    def keys(self) -> Keys:
        """The column keys."""
        return Keys.load(self.settings.keys)

    @property
    def engine(self) -> Engine:
        """The engine, started at first use with the cut registered."""
        if self._engine is None:
            self._engine = Engine(self.settings.engine, self.tables, self.settings.memory_mb)
            self._register()
        return self._engine

    @property
    def spark(self) -> SparkSession:
        """The Spark session of `engine`."""
        return self.engine.spark

    def take_cut(self) -> Cut:
        """Fix the versions that everything downstream reads, and the data's clock."""
        names = [n for n in self.tables.names() if n.partition(".")[0] in CUT_SCHEMAS or n in CUT_TABLES]
        self.cut = {name: self.tables.version(name) for name in names}
        for name in names:
            # A lander beside this run may not have synced that version yet; the ledger must not name one that a power cut takes away.
            self.tables.settle(name)
        self.as_of = self.settings.as_of.astimezone(UTC) if self.settings.as_of else self._data_clock()
        if self._engine is not None:
            self._register()
        self.save()
        return self.cut

    def perform(self, name: str, **options: str) -> dict[str, Any]:
        """One step, timed and entered in the ledger; the last one ends the run, one that fails stops it."""
        footprint = Footprint()
        require_usable(self.settings.engine, self.settings.tables)
        try:
            if name in STEPS[1:] and not self.cut:
                self.take_cut()
            self.steps[name] = _step(name)(self, **options)
        except BaseException:
            self.state = "stopped"
            with suppress(DiskFull):
                self.save()
            raise
        self.footprints[".".join([name, *options.values()])] = footprint.taken()
        give_memory_back()
        self.state = "done" if name == STEPS[-1] else "running"
        self.save()
        return self.steps[name]

    def save(self) -> None:
        """Write the ledger entry `<home>/runs/<run_id>.json`."""
        write_file(ledger(self.settings) / f"{self.run_id}.json", json.dumps(self.entry(), ensure_ascii=False, indent=1, default=str).encode())

    def entry(self) -> dict[str, Any]:
        """The ledger entry."""
        return {
            "run_id": self.run_id,
            "state": self.state,
            "engine": self.settings.engine,
            "received_at": self.received_at.isoformat(),
            "as_of": self.as_of.isoformat() if self.as_of else None,
            "cut": self.cut,
            "contracts": {c.id: c.version for c in self.contracts.values()},
            "footprints": self.footprints,
            "steps": self.steps,
        }

    def close(self) -> None:
        """Stop the engine if it was started."""
        if self._engine is not None:
            self._engine.stop()
            self._engine = None

    def _register(self) -> None:
        assert self._engine is not None
        present = frozenset(self.tables.names())

        def columns_of(table: str) -> frozenset[str]:
            return frozenset(self.tables.schema(table).names if table in present else ())

        self._engine.register(self.cut, staging.views(self.contracts, columns_of))

    def _data_clock(self) -> datetime:
        newest = [day for c in self.contracts.values() if (day := self._next_midnight(c)) is not None]
        return min(max(newest, default=self.received_at), self.received_at)

    def _next_midnight(self, contract: Contract) -> datetime | None:
        name = f"bronze.{contract.id}"
        columns = [c for c in _clock_columns(contract) if name in self.cut]
        if not columns:
            return None
        rows = self.tables.read(name, version=self.cut[name], columns=columns)
        values = [v for c in columns if (v := pc.max(rows.column(c).cast(pa.timestamp("us", "UTC"))).as_py()) is not None]
        if not values:
            return None
        zone = ZoneInfo(contract.time_zone)
        # A clock far ahead, at the end of all years perhaps, is no later than now.
        day = min(max(values), self.received_at).astimezone(zone).date() + timedelta(days=1)
        return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def ledger(settings: Settings) -> Path:
    """The folder of run entries."""
    return settings.home / "runs"


def entries(settings: Settings) -> list[dict[str, Any]]:
    """Every run, oldest first."""
    return [json.loads(p.read_text(encoding="utf-8")) for p in sorted(ledger(settings).glob("*.json"))]


@contextmanager
def only_writer(settings: Settings) -> Iterator[None]:
    """Hold the lake for one writing process; a killed holder lets go by itself."""
    with room_for(settings.home, _LOCK_BYTES):
        make_folder(settings.home)
        (settings.home / ".lock").touch()
    with (settings.home / ".lock").open("a+b", buffering=0) as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().decode().strip() or "unknown"
            raise RunError(f"{settings.home}: gridlake process {holder} is writing this lake; wait for it, or use another --home") from None
        with room_for(settings.home, _LOCK_BYTES):
            handle.truncate(0)
            handle.write(str(os.getpid()).encode())
        yield


def _clock_columns(contract: Contract) -> list[str]:
    if contract.mapping:
        return list(dict.fromkeys(str(m["column"]) for clock, m in contract.mapping.items() if clock in _CLOCKS and "column" in m))
    return [c.name for c in contract.columns if c.name in _CLOCKS and c.logical_type == "timestamp"]


def _step(name: str) -> Step:
    if name in {"stage", "build", "mart"}:
        from gridlake import transform

        step: Step = getattr(transform, name)
        return step
    if name == "check":
        from gridlake import quality

        return quality.check
    found = entry_points(group="gridlake.steps", name=name)
    if not found:
        raise RunError(f"no step {name!r}: the entry-point group gridlake.steps lacks it; reinstall with `make env`")
    loaded: Step = next(iter(found)).load()
    return loaded
