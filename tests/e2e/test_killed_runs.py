"""A run killed (-9) beside any of its writes, or at any moment, and repeated ends in the same tables as an undisturbed one."""

from __future__ import annotations

import ast
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gridlake.runs import STEPS
from tests.e2e.chaos import AT_A_TIME, WHOLE, Scene, at_barrier, disturb, killed_in, scenes

CHECKOUT = Path(__file__).parents[2]
ROOMS = ("gridlake", "streaming", "spark_jobs", "serving")
# Not in a run: columns that a contract has gained, maintenance, backup (tests in tests/unit of their own kill there), pushes and pulls
# (tests/streaming/test_push_killed.py and test_pull_*.py).
ELSEWHERE = {"table.before_columns", "table.after_columns", "backup.before_manifest"} | {
    "journal.before_sync", "journal.after_sync", "journal.before_unlink", "answers.before_commit", "answers.after_commit",
    "pull.after_page", "pull.before_place", "mail.between_taken_and_ledger",
}  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[Scene]:
    """The two scenes, each run once to its end."""
    return scenes(tmp_path_factory.mktemp("undisturbed"))


def names_in_the_code() -> Iterator[str]:
    """The name at every call of `barrier`."""
    for room in ROOMS:
        for path in sorted((CHECKOUT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "barrier":
                    assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno}: a barrier's name is written where it stands"
                    yield str(node.args[0].value)


def test_every_barrier_in_the_code_is_passed_by_an_undisturbed_run(undisturbed: list[Scene]) -> None:
    passed = {passing.split()[0] for scene in undisturbed for passing in scene.passings[WHOLE]}
    assert passed == set(names_in_the_code()) - ELSEWHERE


def test_a_merge_with_differing_rows_is_among_what_can_be_killed(undisturbed: list[Scene]) -> None:
    assert any(passing.startswith("statement.begun merge into business.event") for passing in undisturbed[1].passings["build"])


def test_runs_killed_at_barriers_in_every_step_end_like_an_undisturbed_one(undisturbed: list[Scene], tmp_path: Path) -> None:
    seed = random.randrange(2**32)

    def killed(scene: Scene) -> tuple[int, dict[str, str]]:
        home = scene.lake(tmp_path / scene.inbox.name)
        places = killed_in(scene, home, dict.fromkeys((WHOLE, *STEPS), 1), random.Random(f"{seed} {scene.name}"), ways=[at_barrier])
        print("\n".join(places))
        return len(places), scene.differences(home)

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        points, differences = zip(*pool.map(killed, undisturbed), strict=True)
    print(f"{sum(points)} points, {sum(map(len, differences))} tables differ")
    assert sum(points) == 20
    assert differences == ({}, {}), f"seed {seed}"


@pytest.mark.deep
def test_runs_killed_at_random_points_end_like_an_undisturbed_one(undisturbed: list[Scene], tmp_path: Path) -> None:
    points, seed = 300, random.randrange(2**32)
    said: list[str] = []
    differ = disturb(undisturbed, tmp_path, points, seed, said.append)
    print(f"{points} points, {differ} tables differ")
    assert differ == 0, f"seed {seed}\n" + "\n".join(said)
