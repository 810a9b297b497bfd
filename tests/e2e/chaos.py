"""Runs killed (-9) and repeated until they end, and how the tables they end in differ from those of undisturbed runs.

`python -m tests.e2e.chaos N` kills at N points and prints what differs. Half of the points are passings of a barrier, which lie beside writes;
half are moments of the clock. A lake is killed many times before it may finish: in each step in turn, as a scheduler repeats a step, or in the whole
run. Half of the lakes are empty at first; the others hold an earlier run's tables, so that increments and their MERGEs are killed too.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import cycle
from pathlib import Path
from typing import Any, TypeAlias

import duckdb
import pyarrow as pa

from gridlake.runs import STEPS
from serving.reports import issues
from serving.snapshots import MARTS, Snapshots
from tests.e2e import forked
from tests.e2e.conftest import NOW, succeed
from tests.lakes import PLAIN, content, differing

WHOLE = "run"
# Two months and some weeks of a few villages: every feed has a first file and a later one.
SMALLEST = ("--days", "40", "--events", "200", "--villages", "5")
# Each lake is finished and compared in the end, so many kills share one; fewer in whole runs, as each of them begins with the landing.
KILLS_BY_STEP, KILLS_WHOLE = 42, 6
AT_A_TIME = 2
# Of a report's results, which name the snapshot; its id counts the commits of the landing, and a killed one may have taken more.
_DIGEST = re.compile("[0-9a-f]{64}")


@dataclass
class Scene:
    """Files that have come for a lake as it was before, and how landing them goes undisturbed."""

    name: str
    inbox: Path
    before: Path | None
    keys: Path
    undisturbed: Path
    passings: dict[str, list[str]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def lake(self, home: Path) -> Path:
        """A lake as it is before the files come, with the keys of every other: sealed values are alike only under the same keys."""
        if self.before:
            shutil.copytree(self.before, home, symlinks=True)
        shutil.copy(self.keys, home.with_name(f"{home.name}.keys.json"))
        return home

    @cached_property
    def _tables(self) -> Any:
        return content(self.undisturbed)

    @cached_property
    def _published(self) -> dict[str, Any]:
        return _published(self.undisturbed)

    def differences(self, home: Path) -> dict[str, str]:
        """The tables, published marts and reports of a lake that are not those of the undisturbed one."""
        tables = differing(self._tables, content(home))
        expected, found = self._published, _published(home)
        return tables | {name: "published otherwise" for name in sorted(expected.keys() | found.keys()) if expected.get(name) != found.get(name)}


@dataclass
class Attempt:
    """One process over a lake: a step or the whole run, to its end or to where it is killed."""

    scene: Scene
    home: Path
    step: str
    barrier: str | None = None
    moment: float | None = None
    exit_code: int | None = None
    seconds: float = 0.0
    passed: list[str] = field(default_factory=list)

    def go(self) -> Attempt:
        """Run it; raises AssertionError where it ends by itself and badly."""
        record, log = (self.home.with_name(f"{self.home.name}.{kind}") for kind in ("passed", "log"))
        record.unlink(missing_ok=True)
        inbox = self.scene.inbox
        which: list[str | Path] = ["--input", inbox] if self.step == WHOLE else ["--inbox", inbox, "--run-id", inbox.name]
        killed_at = {"GRIDLAKE_KILL_AT": self.barrier} if self.barrier else {}
        started = time.monotonic()
        arguments = [self.step, *which, "--home", self.home, *NOW]
        self.exit_code = forked.run(arguments, log, {"GRIDLAKE_BARRIERS": str(record), **killed_at}, killed_after=self.moment)
        self.seconds = time.monotonic() - started
        self.passed = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
        assert self.exit_code == 0 or self.was_killed, f"{self}: exit code {self.exit_code}\n{log.read_text(encoding='utf-8')[-4000:]}"
        return self

    @property
    def was_killed(self) -> bool:
        """Whether it was killed before its end."""
        return self.exit_code == -signal.SIGKILL

    def __str__(self) -> str:
        last = self.passed[-1] if self.passed else "no barrier"
        return f"{self.step} at {last}" if self.barrier else f"{self.step} after {self.seconds:.1f} s, {len(self.passed)} barriers, the last {last}"


def scenes(folder: Path) -> list[Scene]:
    """The two scenes: all but the newest files of a province for an empty lake, then the newest for the lake this makes."""
    begun, whole, keys = folder / "begun", folder / "whole", folder / "first.keys.json"
    succeed("simulate", *SMALLEST, "--inbox", whole)
    # Of the feeds that all go one way two will do.
    for feed in sorted(place for place in whole.glob("[!_]*/*") if place.name in PLAIN)[2:]:
        shutil.rmtree(feed)
    # A feed without a contract is kept as a sealed file.
    unheard_of = whole / "city_platform" / "unheard_of" / "330100000000" / "a.csv"
    unheard_of.parent.mkdir(parents=True)
    unheard_of.write_text("a,b\n1,2\n", encoding="utf-8")
    shutil.copytree(whole, begun)
    for sender in {path.parent for path in begun.glob("[!_]*/*/*/*")}:
        files = sorted(sender.iterdir())
        if len(files) > 1:
            files[-1].unlink()
    first = Scene("an empty lake", begun, None, keys, folder / "first")
    second = Scene("an earlier run's lake", whole, folder / "first", keys, folder / "second")
    for scene in (first, second):
        if scene is second:
            scene.lake(scene.undisturbed)
        for step in STEPS:
            done = Attempt(scene, scene.undisturbed, step).go()
            scene.passings[step], scene.seconds[step] = done.passed, done.seconds
        scene.passings[WHOLE] = [passing for step in STEPS for passing in scene.passings[step]]
        scene.seconds[WHOLE] = sum(scene.seconds[step] for step in STEPS)
    return [first, second]


Way: TypeAlias = Callable[[Scene, Path, str, random.Random, set[str]], Attempt]


def at_barrier(scene: Scene, home: Path, step: str, chance: random.Random, seen: set[str]) -> Attempt:
    """Kill at a random passing, one not `seen` on this lake if any is left: what is done is not done again, so its barriers are not passed again."""
    # The ledger's entry has another name in each whole run.
    passings = [p for p in scene.passings[step] if step != WHOLE or not p.endswith(f" {scene.inbox.name}.json")]
    chosen = chance.choice([p for p in passings if p not in seen] or passings)
    while not (attempt := Attempt(scene, home, step, barrier=chosen).go()).was_killed:
        chosen = chance.choice(attempt.passed)
    seen.update(attempt.passed)
    return attempt


def at_moment(scene: Scene, home: Path, step: str, chance: random.Random, seen: set[str]) -> Attempt:
    """Kill at a random moment of the time that the step took undisturbed."""
    while not (attempt := Attempt(scene, home, step, moment=chance.uniform(0, scene.seconds[step])).go()).was_killed:
        pass
    seen.update(attempt.passed)
    return attempt


def killed_in(scene: Scene, home: Path, kills: Mapping[str, int], chance: random.Random, ways: Sequence[Way] = (at_barrier, at_moment)) -> list[str]:
    """Kill each step so often, and let it end before the next begins; gives where. What a killed whole run has left to do, the next steps do."""
    seen: set[str] = set()
    places = []
    for step, times in kills.items():
        places += [str(chance.choice(ways)(scene, home, step, chance, seen)) for _ in range(times)]
        if step != WHOLE or len(kills) == 1:
            Attempt(scene, home, step).go()
    return places


def in_each_step(scene: Scene, kills: int, chance: random.Random) -> dict[str, int]:
    """How often to kill each step: once, and those that write more more often."""
    more = chance.choices(STEPS, [len(scene.passings[step]) for step in STEPS], k=max(kills - len(STEPS), 0))
    chosen = [*STEPS, *more][:kills]
    return {step: chosen.count(step) for step in STEPS}


def disturb(found: Sequence[Scene], folder: Path, points: int, seed: int, say: Callable[[str], None]) -> int:
    """Kill at so many points, on as many lakes as that takes, two at a time; gives how many tables differ. A lake that differs is left as it is."""
    chance, left = random.Random(seed), points
    plans: list[tuple[Scene, dict[str, int]]] = []
    for scene, whole in cycle([(scene, whole) for whole in (False, True) for scene in found]):
        kills = {WHOLE: min(KILLS_WHOLE, left)} if whole else in_each_step(scene, min(KILLS_BY_STEP, left), chance)
        plans.append((scene, kills))
        left -= sum(kills.values())
        if not left:
            break

    def differences(number: int) -> int:
        scene, kills = plans[number]
        home = scene.lake(folder / f"lake{number}")
        try:
            places = killed_in(scene, home, kills, random.Random(f"{seed} {number}"))
        except AssertionError as error:  # said at once: the others go on for an hour
            say(f"{home.name} ({scene.name}): broken off: {error}")
            raise
        differ = scene.differences(home)
        told = [f"  killed in {p}" for p in places] + [f"  {name}: {what}" for name, what in differ.items()] if differ else []
        say("\n".join([f"{home.name} ({scene.name}): {len(places)} points, {len(differ)} tables differ", *told]))
        if not differ:
            shutil.rmtree(home)
        return len(differ)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return sum(pool.map(differences, range(len(plans))))


def _published(home: Path) -> dict[str, Any]:
    """The marts of the current snapshot and the text of its reports; every snapshot is opened on the way."""
    snapshots = Snapshots(home)
    for manifest in snapshots.manifests():
        snapshots.open(manifest.snapshot_id)
    current = snapshots.open()
    with duckdb.connect() as reader:
        reader.execute(f"attach '{current.folder / MARTS}' as published (read_only)")
        marts: dict[str, pa.Table] = {
            f"mart.{name}": reader.sql(f"select * from published.mart.{name} order by all").to_arrow_table() for name in current.tables
        }
    reports = {
        path.relative_to(home / "reports").as_posix(): _DIGEST.sub("", path.read_text(encoding="utf-8").replace(current.id, ""))
        if path.suffix == ".html"
        else path.stat().st_size > 0
        for issue in issues.all_issues(home)
        for path in issue.files
    }
    return marts | reports


def main(points: int) -> int:
    """Kill at so many points and print what came of it; the last line counts the tables that differ."""
    seed = random.randrange(2**32)
    folder = Path(tempfile.mkdtemp(prefix="gridlake-chaos-"))
    print(f"seed {seed}, lakes in {folder}", flush=True)
    started = time.monotonic()
    differ = disturb(scenes(folder), folder, points, seed, lambda said: print(f"{time.monotonic() - started:6.0f} s  {said}", flush=True))
    if not differ:
        shutil.rmtree(folder)
    print(f"{points} points, {differ} tables differ")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
