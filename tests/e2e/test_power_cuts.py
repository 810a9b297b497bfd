"""A landing cut short by a power cut at any of its writes and repeated: nothing acknowledged is lost, nothing doubled, every table opens."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.power import Point, Scene, disturb, judge, last_line, room, scenes

POINTS, POINTS_DEEP = 50, 500
FULL = os.environ.get("GRIDLAKE_TEST_SIZE") == "full"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A place for disks; kept where a test has failed, as its message names what lies there."""
    made = room()
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture(scope="module")
def seed() -> int:
    return random.randrange(2**32)


@pytest.fixture(scope="module")
def recorded(folder: Path, seed: int) -> list[Scene]:
    """Every scene, traced once."""
    return list(scenes(folder, random.Random(seed), few=not FULL))


def test_nothing_acknowledged_is_lost_by_a_power_cut_at_any_write(recorded: list[Scene], folder: Path, seed: int) -> None:
    outcomes = disturb(recorded, folder, POINTS, seed, lambda _: None)
    print(last_line(outcomes))
    bad = "\n".join(str(o) for o in outcomes if not o.is_good)
    assert last_line(outcomes) == f"{POINTS} points, 0 lost, 0 doubled, 0 unreadable", f"seed {seed}\n{bad}"


def test_a_landing_that_syncs_nothing_is_found_out(recorded: list[Scene], folder: Path, tmp_path: Path) -> None:
    first = recorded[0]
    careless = Scene("a careless landing", folder / "careless", first.inbox, first.project, first.before).record(
        before_all="import os; os.fsync = lambda handle: None"
    )
    outcome = judge(Point(careless, len(careless.calls), "nothing unsynced is left", "0"), folder / "careless disk")
    assert any("acknowledged" in lost for lost in outcome.lost), outcome


def test_half_a_write_is_among_what_a_cut_leaves(recorded: list[Scene], folder: Path) -> None:
    scene = recorded[0]
    commits = [n for n in scene.names_changed_at if scene.calls[n - 1].name == "linkat"]
    assert len(commits) > 10
    for number, way in enumerate(["names are left without contents", "names are left with torn contents"]):
        left = folder / f"left after a commit {number}"
        Point(scene, commits[-1], way, "0").leave(left)
        newest = {log: max(log.glob("*.json")) for log in left.rglob("_delta_log")}
        assert any(commit.read_bytes() != _whole(scene, left, commit) for commit in newest.values()), way


def _whole(scene: Scene, left: Path, commit: Path) -> bytes:
    return (scene.after / commit.relative_to(left)).read_bytes()


@pytest.mark.deep
def test_nothing_acknowledged_is_lost_at_many_points(recorded: list[Scene], folder: Path, seed: int) -> None:
    outcomes = disturb(recorded, folder, POINTS_DEEP, seed + 1, lambda _: None)
    assert last_line(outcomes) == f"{POINTS_DEEP} points, 0 lost, 0 doubled, 0 unreadable", "\n".join(str(o) for o in outcomes if not o.is_good)
