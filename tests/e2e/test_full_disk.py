"""A landing into a full disk ends with an error that says what to do, shows nothing half-way, and is repeated cleanly once there is room."""

from __future__ import annotations

import json
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# All that a landing of these files takes is between the last two; where it stops is chosen anew each time.
STOPS_KB = ((0, 8), (8, 60), (60, 120), (120, 900), (1100, 1220))
ENOUGH_KB = 4000


def can_mount() -> bool:
    """Whether this user may have a disk of its own in a mount namespace; else sizes of files are limited instead."""
    mount = ["unshare", "--map-root-user", "--mount", "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    return subprocess.run(mount, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("full")
    program = [sys.executable, "-m", "tests.e2e.full_disk", str(folder), "--free-kb"]
    if can_mount():
        kilobytes = [random.randrange(*stop) for stop in STOPS_KB]
        command = ["unshare", "--map-root-user", "--mount", *program, *map(str, kilobytes), str(ENOUGH_KB)]
    else:
        print("no disk can be mounted here: sizes of files are limited instead")
        command = [*program, *map(str, (0, 1, 4, 8, 500)), str(ENOUGH_KB), "--limit"]
    done = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(STOPS_KB) + 1
    return found


def test_a_full_disk_is_an_error_that_names_the_folder_and_the_bytes(outcomes: list[dict[str, Any]]) -> None:
    *full, enough = outcomes
    assert enough["code"] == 0
    for outcome in full:
        assert (outcome["code"], outcome["error"]) == (1, "DiskFull"), outcome
        assert re.match(r"/\S+/lake\S*: no room on its disk for about [0-9,]+ bytes more, [0-9,]+ are free", outcome["message"]), outcome


def test_nothing_is_seen_twice_or_left_half_written(outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        assert not any(outcome["doubled"].values()), outcome
        assert not outcome["left"], outcome


def test_with_room_the_same_landing_ends_as_if_nothing_had_been(outcomes: list[dict[str, Any]]) -> None:
    for outcome in outcomes:
        assert (outcome["again"], outcome["as_undisturbed"]) == (0, True), outcome
