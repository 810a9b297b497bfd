"""Power cuts of a push server: whatever was not synced is taken away at one of its writes, and every push that was answered is landed, once."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gridlake.barriers import barrier
from gridlake.signatures import Message, sign
from streaming.push import desk as desks
from streaming.push import journal as journals
from tests.e2e import traced
from tests.e2e.conftest import FULL
from tests.e2e.disk import Chance, Disk
from tests.e2e.power import WAYS
from tests.streaming.conftest import Lake, lines, visit
from tests.streaming.pushing import NDJSON, PATH, key_of
from tests.streaming.test_push_failures import Door

ROUNDS, AT_ONCE = 8, 4
POINTS = 300 if FULL else 10
ANSWERED = "answered"


def body_of(number: int) -> bytes:
    """A good row and one that is refused."""
    return lines(visit(number), visit(number, visit_id=f"bad {number}"))


async def push(door: Door, number: int) -> None:
    """Push one body; its answer is a passing."""
    body = body_of(number)
    headers = sign("POST", f"http://x{PATH}", door.key, "north", body=body, headers={"content-type": NDJSON, "idempotency-key": f"key-{number}"})

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    told = await door.reception.push(Message("POST", PATH, "", headers), "office", "visit", pieces())
    assert told.status == 200
    barrier(ANSWERED, str(number))


def push_all(folder: Path) -> None:
    """What is traced: rounds of pushes, with commits and new segments between them."""
    desks.COMMIT_EVERY_S, journals.SEGMENT_BYTES = 0.15, 1000

    async def rounds(door: Door) -> None:
        for first in range(0, ROUNDS * AT_ONCE, AT_ONCE):
            await asyncio.gather(*(push(door, number) for number in range(first, first + AT_ONCE)))
            await asyncio.sleep(0.06)

    door = Door(Lake(folder))
    asyncio.run(rounds(door))
    door.reception.close()


@dataclass
class Traced:
    """The disk before, and the calls of the pushes."""

    before: Path
    root: Path
    said: Path
    calls: list[traced.Call] = field(default_factory=list)
    boundaries: list[int] = field(default_factory=list)

    def cut_at(self, number: int) -> tuple[Disk, list[str]]:
        """(the disk, the pushes that were answered) after so many calls."""
        disk = Disk.of(self.before)
        disk.root = self.root
        replay = traced.Replay(disk, self.said)
        for call in self.calls[:number]:
            replay.do(call)
        return disk, [line.partition(" ")[2] for line in replay.said if line.startswith(ANSWERED)]


def record(folder: Path, before_all: str = "pass") -> Traced:
    """Trace the pushes; `before_all` is Python that the process begins with."""
    before, root = folder / "before", folder / "disk"
    lake = Lake(before)
    key_of(lake.settings, "north")
    assert lake.keys
    shutil.copytree(before, root)
    made = Traced(before, root, folder / "said")
    program = f"{before_all}; from pathlib import Path; from tests.e2e.test_push_power import push_all; push_all(Path({str(root)!r}))"
    trace = folder / "trace"
    done = traced.run([sys.executable, "-c", program], trace, os.environ | {"GRIDLAKE_BARRIERS": str(made.said)})
    assert done.returncode == 0, done.stderr[-3000:]
    here = "".join(f"\\x{byte:02x}" for byte in os.fsencode(folder))
    # SQLite makes the index of its log anew when it opens it (https://sqlite.org/walformat.html#shm).
    index = "".join(f"\\x{byte:02x}" for byte in b"-shm")
    made.calls = [call for call in traced.calls(trace) if here in call.arguments and index not in call.arguments]
    disk = Disk.of(before)
    disk.root = root
    replay = traced.Replay(disk, made.said)
    for number, call in enumerate(made.calls, 1):
        if replay.do(call):
            made.boundaries.append(number)
    assert len([line for line in replay.said if line.startswith(ANSWERED)]) == ROUNDS * AT_ONCE
    return made


@pytest.fixture(scope="module")
def pushes(tmp_path_factory: pytest.TempPathFactory) -> Traced:
    return record(tmp_path_factory.mktemp("power"))


def opened(disk: Disk, folder: Path, way: str, chance: random.Random) -> Door:
    """A reception on what a cut has left."""
    folder.mkdir()
    disk.leave(folder, *WAYS[way](Chance(chance)))
    lake = Lake(folder)
    lake.settings.secrets.chmod(0o600)  # modes are not modelled
    return Door(lake)


def test_a_server_that_syncs_nothing_is_found_out(tmp_path: Path) -> None:
    careless = record(tmp_path / "careless", "import os; os.fsync = lambda handle: None")
    disk, answered = careless.cut_at(len(careless.calls))
    door = opened(disk, tmp_path / "left", "nothing unsynced is left", random.Random(0))
    door.reception.close()
    assert {f"V{n}" for n in answered} - {r["visit_id"] for r in door.lake.bronze()}


def test_every_answered_push_is_landed_once_after_a_power_cut(pushes: Traced, tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    answered_at_all = 0
    for point in range(POINTS):
        chance = random.Random(f"{seed} {point}")
        number, way = chance.choice(pushes.boundaries), chance.choice(list(WAYS))
        where = (
            f"seed {seed}, point {point}: cut after call {number} ({pushes.calls[number - 1].name} {traced.paths(pushes.calls[number - 1])}), {way}"
        )
        disk, answered = pushes.cut_at(number)
        answered_at_all += len(answered)
        door = opened(disk, tmp_path / str(point), way, chance)
        lake = door.lake
        there = [r["visit_id"] for r in lake.bronze()]
        assert not {f"V{n}" for n in answered} - {*there}, where
        assert len(lake.quarantine()) >= len(answered), where

        async def again(door: Door = door) -> None:
            for first in range(0, ROUNDS * AT_ONCE, AT_ONCE):
                await asyncio.gather(*(push(door, number) for number in range(first, first + AT_ONCE)))

        asyncio.run(again())
        door.reception.close()
        assert Counter(r["visit_id"] for r in lake.bronze()) == Counter(f"V{n}" for n in range(ROUNDS * AT_ONCE)), where
        assert len(lake.quarantine()) == ROUNDS * AT_ONCE, where
        assert sum(r["received"] for r in lake.receipts()) == 2 * ROUNDS * AT_ONCE, where
    print(f"{POINTS} points, {answered_at_all} answered pushes looked for, 0 lost, 0 doubled")
