"""Power cuts: a landing is traced, and the disk rebuilt as it may stand after a cut at any of its writes; then the lake is opened and landed again.

`python -m tests.e2e.power --points N` cuts at N points. At each, every row that was acknowledged before must be in bronze or quarantine, every table
must open, and after the repeated landing the tables must equal those of the landing that nobody disturbed. What a cut may take away: tests.e2e.disk.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import multiprocessing
import os
import pickle
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb

import gridlake.tables
from gridlake import cli, runs
from gridlake.settings import Settings
from gridlake.tables import Tables
from streaming import landing
from tests.e2e import pushed, traced
from tests.e2e.disk import Chance, Content, Disk, Folder, Names, all_names, no_names, synced_content
from tests.streaming.conftest import DECLARATIONS, WHEN, lines, visit

AT_A_TIME = 2
NOW = ("--as-of", "2026-06-01T08:00:00Z")
CHUNK_ROWS = 80
MOST_TOLD = 5
# The command of a scene in which rows are pushed, not landed from files.
PUSH = "push"
# From this barrier on the rows of a feed's batch are acknowledged.
ACKNOWLEDGED = "landing.after_bronze"
_COMMIT = re.compile(r"\d{20}\.json")
_POSITION = {"bronze": "_source_position", "quarantine": "_source_position"}
Rows = dict[str, list[dict[str, Any]]]


@dataclass
class Scene:
    """A writer that was traced once: the disk before it, its calls, and the tables that it left."""

    name: str
    folder: Path
    inbox: Path
    project: Path
    before: Path
    # Whether the tables before it are as a writer left them, acknowledged, and not as a power cut did.
    is_sound_before: bool = False
    command: str = "land"
    calls: list[traced.Call] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)
    names_changed_at: list[int] = field(default_factory=list)
    passed: list[str] = field(default_factory=list)

    @property
    def after(self) -> Path:
        """The disk as the undisturbed writer left it."""
        return self.folder / "disk"

    @property
    def rows(self) -> Path:
        """The rows it left, pickled."""
        return self.folder / "rows"

    def record(self, *, killed_at: str | None = None, before_all: str = "pass") -> Scene:
        """Trace it, after an attempt that is killed at a barrier where one is given; `before_all` is Python that the process begins with.

        Raises AssertionError when it fails, or when the modelled disk is not the real one afterwards.
        """
        shutil.copytree(self.before, self.after, symlinks=True)
        said, trace = self.folder / "said", self.folder / "trace"
        env = {k: v for k, v in os.environ.items() if not k.startswith("GRIDLAKE_")} | {"GRIDLAKE_BARRIERS": str(said)} | environment(self.project)
        # With every byte of every path and content in hexadecimal, a call that does not name this folder has nothing to do with the disk.
        here = "".join(f"\\x{byte:02x}" for byte in os.fsencode(self.folder))
        for kill in [killed_at, None] if killed_at else [None]:
            attempt = env | ({"GRIDLAKE_KILL_AT": kill} if kill else {})
            done = traced.run([sys.executable, "-c", self._program(said, before_all), *arguments(self, self.after)], trace, attempt)
            assert done.returncode == (-signal.SIGKILL if kill else 0), f"{kill}: {done.returncode}\n{done.stderr}"
            self.calls += [*(call for call in traced.calls(trace) if here in call.arguments), traced.END]
            trace.unlink()
        disk = Disk.of(self.before)
        disk.root = self.after
        replay = traced.Replay(disk, said)
        for number, call in enumerate(self.calls, 1):
            if replay.do(call):
                self.boundaries.append(number)
                if call.name not in {"write", "pwrite64", "writev"}:
                    self.names_changed_at.append(number)
        assert replay.said, f"{said}: nothing was said"
        self.passed = replay.said
        modelled, real = disk.contents(), Disk.of(self.after).contents()
        differing = sorted(path for path in modelled.keys() | real.keys() if modelled.get(path) != real.get(path))
        assert not differing, f"the modelled disk differs from the real one in {differing[:10]}"
        self.rows.write_bytes(pickle.dumps(content(Tables(self.after / "lake" / "tables"))))
        return self

    def _program(self, said: Path, before_all: str) -> str:
        if self.command == PUSH:
            paths = f"Path({str(self.after / 'lake')!r}), Path({str(said)!r})"
            return f"{before_all}; from pathlib import Path; from tests.e2e.pushed import push_all; push_all({paths})"
        return f"from tests.e2e.power import make_small; make_small(); {before_all}; from gridlake.cli import main; main()"

    def cut_at(self, number: int) -> tuple[Disk, dict[str, int], list[str]]:
        """(the disk, the newest acknowledged version of each table, what was said) after so many calls."""
        disk = Disk.of(self.before)
        disk.root = self.after
        replay = traced.Replay(disk, self.folder / "said")
        tables = Tables(self.before / "lake" / "tables")
        versions = {name: tables.version(name) for name in tables.names()} if self.is_sound_before else {}
        heard = 0
        for call in self.calls[:number]:
            replay.do(call)
            for line in replay.said[heard:]:
                name, _, feed = line.partition(" ")
                if name == ACKNOWLEDGED:
                    for table in (f"bronze.{feed}", f"quarantine.{feed}", "ops.receipt"):
                        versions[table] = _newest_version(disk, self.after, table)
            heard = len(replay.said)
        return disk, versions, replay.said


@dataclass(frozen=True)
class Point:
    """One power cut: after which call, and what was taken away."""

    scene: Scene
    call: int
    way: str
    seed: str

    def __str__(self) -> str:
        call = self.scene.calls[self.call - 1]
        where = ", ".join(path.replace(str(self.scene.after), "") for path in traced.paths(call))
        return f"{self.scene.name}: cut after call {self.call} ({call.name} {where}), {self.way}, seed {self.seed!r}"

    def leave(self, folder: Path) -> tuple[dict[str, int], list[str]]:
        """Rebuild the disk after the cut; gives the acknowledged versions and what was said."""
        disk, versions, said = self.scene.cut_at(self.call)
        chance = Chance(random.Random(self.seed))
        names, surviving = WAYS[self.way](chance)
        folder.mkdir()
        disk.leave(folder, names, surviving)
        return versions, said


WAYS: Mapping[str, Callable[[Chance], tuple[Names, Content]]] = {
    "nothing unsynced is left": lambda _: (no_names, synced_content),
    "names are left without contents": lambda _: (all_names, synced_content),
    "names are left with torn contents": lambda chance: (all_names, chance.torn),
    "chance": lambda chance: (chance.names, chance.any_content),
}


@dataclass
class Outcome:
    """What was found at a point."""

    point: str
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        """Nothing lost, doubled or unreadable."""
        return not (self.lost or self.doubled or self.unreadable)

    def __str__(self) -> str:
        found = [f"  lost: {x}" for x in self.lost] + [f"  doubled: {x}" for x in self.doubled] + [f"  unreadable: {x}" for x in self.unreadable]
        return "\n".join([self.point, *(line[:2000] for line in found[:MOST_TOLD])])


def arguments(scene: Scene, disk: Path) -> list[str]:
    """The command line of the scene's writer on a disk."""
    return [scene.command, "--home", str(disk / "lake"), "--inbox", str(scene.inbox), *NOW, "--json"]


def make_small() -> None:
    """Chunks of few rows, and few files worth making one of, so that small lakes see what large ones do."""
    landing.CHUNK_ROWS = CHUNK_ROWS
    gridlake.tables._FEWEST_TO_COMPACT = 2


def environment(project: Path) -> dict[str, str]:
    """The environment of a landing by a project's declarations."""
    return {"GRIDLAKE_PROJECT": str(project)}


def content(tables: Tables) -> Rows:
    """Every row of every table, without when it was landed, in order of their text."""
    found = {}
    for name in tables.names():
        kept = [{k: v for k, v in row.items() if k not in WHEN} for row in tables.read(name).to_pylist()]
        found[name] = sorted(kept, key=_as_text)
    return found


def judge(point: Point, folder: Path) -> Outcome:
    """Rebuild the disk of a point, open the lake, land again, compare."""
    outcome = Outcome(str(point))
    shutil.rmtree(folder, ignore_errors=True)
    versions, said = point.leave(folder)
    try:
        _see_acknowledged(point.scene, Tables(folder / "lake" / "tables"), versions, outcome)
        if outcome.is_good and point.scene.command == PUSH:
            pushed.push_all(folder / "lake", folder / "said")
            lost, doubled = pushed.wrong(folder / "lake", said)
            outcome.lost, outcome.doubled = outcome.lost + lost, outcome.doubled + doubled
        elif outcome.is_good:
            _repeat(point.scene, folder)
            _compare(point.scene, folder, outcome)
    except Exception:  # noqa: BLE001 - whatever keeps the lake from opening is what is looked for
        outcome.unreadable.append(traceback.format_exc(limit=-6))
    if outcome.is_good:
        shutil.rmtree(folder)
    return outcome


def _see_acknowledged(scene: Scene, tables: Tables, versions: dict[str, int], outcome: Outcome) -> None:
    present = {name: _positions(name, tables, None) for name in tables.names()}
    for name, version in versions.items():
        missing = _acknowledged(scene.after, name, version) - present.get(name, Counter())
        outcome.lost += [f"{name}: {position}, acknowledged in version {version}" for position in missing]


@lru_cache(maxsize=1000)
def _acknowledged(after: Path, name: str, version: int) -> Counter[str]:
    return _positions(name, Tables(after / "lake" / "tables"), version)


def _positions(name: str, tables: Tables, version: int | None) -> Counter[str]:
    rows = tables.read(name, version=version)
    if name == "ops.receipt":
        return Counter(f"{r['feed']}/{r['_delivery_id']}/{r['batch']}" for r in rows.select(["feed", "_delivery_id", "batch"]).to_pylist())
    return Counter(rows.column("_source_position").to_pylist())


def _repeat(scene: Scene, folder: Path) -> None:
    said = io.StringIO()
    with _surroundings(environment(scene.project)), contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            cli.main(arguments(scene, folder), standalone_mode=False)
        except SystemExit as end:
            raise AssertionError(f"the repeated landing ended with {end.code}: {said.getvalue()[-3000:]}") from end
        runs.entries(Settings(home=folder / "lake"))


def _compare(scene: Scene, folder: Path, outcome: Outcome) -> None:
    tables = Tables(folder / "lake" / "tables")
    expected, found = _rows_of(scene.rows), content(tables)
    for name in sorted(expected.keys() | found.keys()):
        should, have = (Counter(map(_as_text, rows.get(name, []))) for rows in (expected, found))
        outcome.lost += [f"{name}: {row}" for row in should - have]
        outcome.doubled += [f"{name}: {row}" for row in have - should]
        files = tables.files(name)
        if files:
            # A reader that knows no Delta.
            ((count,),) = duckdb.sql(f"select count(*) from read_parquet({files}, union_by_name = true)").fetchall()
            assert count == len(found[name]), f"{name}: DuckDB reads {count} rows, Delta {len(found[name])}"
    for reference in (row["payload_ref"] for name, rows in found.items() if name.startswith("quarantine.") for row in rows):
        assert reference is None or (folder / "lake" / reference).stat().st_size, f"{reference}: a sealed file without content"


@lru_cache(maxsize=100)
def _rows_of(pickled: Path) -> Rows:
    rows: Rows = pickle.loads(pickled.read_bytes())
    return rows


@contextlib.contextmanager
def _surroundings(env: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _newest_version(disk: Disk, root: Path, table: str) -> int:
    schema, _, name = table.partition(".")
    log = disk.find(str(root / "lake" / "tables" / schema / name / "_delta_log"))
    assert isinstance(log, Folder)
    return max(int(entry.removesuffix(".json")) for entry in log.names if _COMMIT.fullmatch(entry))


def _as_text(row: Mapping[str, Any]) -> str:
    return json.dumps(row, sort_keys=True, default=str, ensure_ascii=False)


# --- scenes


def put(inbox: Path, name: str, rows: bytes | Sequence[Mapping[str, Any]], *, sender: str = "north", feed: str = "office/visit") -> None:
    """Lay a file into an inbox."""
    path = inbox / feed / sender / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(rows if isinstance(rows, bytes) else lines(*rows))


def first_files(inbox: Path) -> None:
    """Good, refused, repeated, empty, refused whole, of two chunks, too long for a cell, of a feed nobody knows."""
    put(inbox, "1.jsonl", [visit(n, source_version="x" if n % 7 == 0 else 1, visitor_name="王小明") for n in range(1, 40)])
    put(inbox, "2.jsonl", b"")
    put(inbox, "3.jsonl", [visit(n) for n in range(30, 50)])
    put(inbox, "4.jsonl", [visit(n, note="" if n == 290 else "同") for n in range(200, 300)])
    put(inbox, "5.jsonl", lines(visit(90)) + b'{"note": "' + b"a" * (1 << 20) + b'"}\n' + lines(visit(91)))
    put(inbox, "1.jsonl", [visit(n, region_code="2001") for n in range(5)], sender="south")
    put(inbox, "1.jsonl", [visit(1)], sender="nobody")
    put(inbox, "1.jsonl", [visit(1)], feed="office/unheard_of")
    put(inbox, "1.csv", b"tally_id,amount\nA,1\nB,2\nC,3\n", feed="office/tally")


def more_files(inbox: Path) -> None:
    """A second day's files."""
    first_files(inbox)
    for number in range(6, 9):
        rows = [visit(n, source_version=1 if n % 9 else "x") for n in range(number * 100 + 200, number * 100 + 250)]
        put(inbox, f"{number}.jsonl", rows)
    put(inbox, "2.csv", b"tally_id,amount\nD,1\n", feed="office/tally")


def grown(project: Path) -> Path:
    """The declarations with a column more in one contract."""
    shutil.copytree(DECLARATIONS, project)
    contract = project / "expectations" / "contracts" / "office" / "visit.odcs.yaml"
    text = contract.read_text(encoding="utf-8").replace("version: 1.2.0", "version: 1.3.0")
    column = "      - {name: desk, logicalType: string, classification: L1}\n    quality:\n"
    contract.write_text(text.replace("    quality:\n", column, 1), encoding="utf-8")
    return project


def scenes(folder: Path, chance: random.Random, *, few: bool = False) -> Iterator[Scene]:
    """A first landing, also after a killed one; a second, with a new column and checkpoints; maintenance; repetitions after a cut, to be cut again.

    `few` leaves out pushes, which tests/e2e/test_push_power.py cuts off on its own, and one of the repetitions.
    """
    empty = folder / "empty"
    (empty / "lake").parent.mkdir(parents=True)
    # Sealed values are alike only under the same keys.
    from gridlake.privacy import Keys

    Keys.load(Settings(home=empty / "lake").keys)
    first_files(folder / "inbox1")
    more_files(folder / "inbox2")
    first = Scene("a first landing", folder / "first", folder / "inbox1", DECLARATIONS, empty).record()
    yield first
    if not few:
        pushes = folder / "before pushes"
        shutil.copytree(empty, pushes)
        pushed.key_of(pushed.settings_of(pushes / "lake"), "north")
        yield Scene("pushes", folder / "pushes", folder / "inbox1", DECLARATIONS, pushes, command=PUSH).record()
    begun = folder / "begun"
    shutil.copytree(first.after, begun, symlinks=True)
    tables = Tables(begun / "lake" / "tables")
    for name in tables.names():
        # At every second version, where it is every hundredth by default.
        _set_checkpoint_interval(tables.path(name), 2)
    # Killed, its writes are still there for the next process; only the power takes them away.
    kill = chance.choice([passing for passing in first.passed if passing.startswith(("table.", "landing.", "vault."))])
    yield Scene(f"a first landing, killed at {kill} and repeated", folder / "killed", first.inbox, DECLARATIONS, empty).record(killed_at=kill)
    second = Scene("a second landing", folder / "second", folder / "inbox2", grown(folder / "grown"), begun, is_sound_before=True).record()
    yield second
    yield Scene(
        "maintenance", folder / "maintenance", folder / "inbox2", second.project, second.after, is_sound_before=True, command="maintain"
    ).record()
    for number, scene in enumerate((second,) if few else (first, second)):
        point = Point(scene, chance.choice(scene.names_changed_at), "chance", f"{chance.random()}")
        left = folder / f"left{number}"
        point.leave(left)
        yield Scene(f"{scene.name}, repeated after a cut", folder / f"again{number}", scene.inbox, scene.project, left).record()


def _set_checkpoint_interval(table: Path, commits: int) -> None:
    from deltalake import DeltaTable

    DeltaTable(str(table)).alter.set_table_properties({"delta.checkpointInterval": str(commits)})


# --- points


def points(found: Sequence[Scene], number: int, seed: int) -> list[Point]:
    """Cuts at writes chosen by chance, half of them at those that change names, which are fewer and matter more."""
    chosen = []
    for index in range(number):
        chance = random.Random(f"{seed} {index}")
        scene = found[index % len(found)]
        call = chance.choice(scene.boundaries if chance.random() < 0.5 else scene.names_changed_at)
        chosen.append(Point(scene, call, chance.choice(list(WAYS)), f"{seed} {index}"))
    return chosen


_found: list[Scene] = []


def _prepare(pickled: Path) -> None:
    make_small()
    _found.extend(pickle.loads(pickled.read_bytes()))


def _judge(scene: int, call: int, way: str, seed: str, folder: Path) -> Outcome:
    return judge(Point(_found[scene], call, way, seed), folder)


def disturb(found: Sequence[Scene], folder: Path, number: int, seed: int, say: Callable[[Outcome], None]) -> list[Outcome]:
    """Cut at so many points, some at a time; `say` hears of each. The disk of a point that is not good is left as it is."""
    pickled = folder / "scenes.pickle"
    pickled.write_bytes(pickle.dumps(list(found)))
    outcomes = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(AT_A_TIME, context, _prepare, (pickled,)) as pool:
        begun = [
            pool.submit(_judge, found.index(p.scene), p.call, p.way, p.seed, folder / f"disk{index}")
            for index, p in enumerate(points(found, number, seed))
        ]
        for future in begun:
            outcomes.append(future.result())
            say(outcomes[-1])
    return outcomes


def last_line(outcomes: Sequence[Outcome]) -> str:
    """The count of points, and of those at which something was lost, doubled or unreadable."""
    lost, doubled, unreadable = (sum(bool(getattr(o, kind)) for o in outcomes) for kind in ("lost", "doubled", "unreadable"))
    return f"{len(outcomes)} points, {lost} lost, {doubled} doubled, {unreadable} unreadable"


def room() -> Path:
    """A folder for disks: in memory where there is such a place, because every repeated landing syncs its files."""
    memory = Path("/dev/shm")
    return Path(tempfile.mkdtemp(prefix="gridlake-power-", dir=memory if os.access(memory, os.W_OK) else None))


def main() -> int:
    """Cut at so many points and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(2**32))
    options = parser.parse_args()
    folder, started = room(), time.monotonic()
    print(f"power cuts: seed {options.seed}, disks in {folder}", flush=True)
    found = list(scenes(folder, random.Random(options.seed)))
    for scene in found:
        print(f"{time.monotonic() - started:6.0f} s  {scene.name}: {len(scene.calls):,} calls, {len(scene.boundaries)} writes", flush=True)

    def say(outcome: Outcome) -> None:
        if not outcome.is_good:
            print(f"{time.monotonic() - started:6.0f} s  {outcome}", flush=True)

    outcomes = disturb(found, folder, options.points, options.seed, say)
    is_good = all(o.is_good for o in outcomes)
    if is_good:
        shutil.rmtree(folder)
    print(last_line(outcomes))
    return int(not is_good)


if __name__ == "__main__":
    sys.exit(main())
