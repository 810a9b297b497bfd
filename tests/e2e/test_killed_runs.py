"""A run killed (-9) at a named moment and repeated ends in the same tables as an undisturbed one."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.e2e.conftest import FULL, GRIDLAKE, NOW, Lake, gridlake, succeed, with_keys_of
from tests.lakes import content, differing

MOMENTS = [
    "landing.after_quarantine",
    "landing.after_receipt",
    "landing.after_bronze",
    "build.mid",
    "publish.before_switch",
    "publish.after_switch",
    "report.between_files",
]


def test_a_run_killed_at_every_named_moment_in_turn_ends_like_an_undisturbed_one(lake: Lake, tmp_path: Path) -> None:
    home = with_keys_of(lake, tmp_path / "lake")
    for moment in MOMENTS:
        killed = gridlake("run", "--input", lake.inbox, "--home", home, *NOW, env={"GRIDLAKE_KILL_AT": moment})
        assert killed.returncode == -signal.SIGKILL, f"{moment} was never passed:\n{killed.stderr[-2000:]}"
    succeed("run", "--input", lake.inbox, "--home", home, *NOW)
    assert differing(content(lake.home), content(home)) == {}


@pytest.mark.deep
@pytest.mark.parametrize("moment", [f"{m}:{n}" for m in MOMENTS[:3] for n in (2, 4)] + MOMENTS[3:])
def test_a_run_killed_once_and_repeated_ends_like_an_undisturbed_one(lake: Lake, tmp_path: Path, moment: str) -> None:
    home = with_keys_of(lake, tmp_path / "lake")
    killed = gridlake("run", "--input", lake.inbox, "--home", home, *NOW, env={"GRIDLAKE_KILL_AT": moment})
    assert killed.returncode == -signal.SIGKILL, f"{moment} was never passed:\n{killed.stderr[-2000:]}"
    succeed("run", "--input", lake.inbox, "--home", home, *NOW)
    assert differing(content(lake.home), content(home)) == {}


@pytest.mark.deep
def test_runs_killed_at_random_moments_end_like_an_undisturbed_one(lake: Lake, tmp_path: Path) -> None:
    count, seed = int(os.environ.get("GRIDLAKE_CHAOS", "20" if FULL else "5")), random.randrange(2**32)
    chance = random.Random(seed)
    for point in range(count):
        home = with_keys_of(lake, tmp_path / f"lake{point}")
        disturbed = subprocess.Popen(
            [GRIDLAKE, "run", "--input", str(lake.inbox), "--home", str(home), *NOW], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            disturbed.wait(chance.uniform(2, 30))
        disturbed.kill()
        disturbed.wait()
        succeed("run", "--input", lake.inbox, "--home", home, *NOW)
        assert differing(content(lake.home), content(home)) == {}, f"seed {seed}, point {point}"
    print(f"{count} points, 0 tables differ")
