"""Logs: batches of consecutive offsets, landed from where bronze stands, by one lander at a time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from datetime import timedelta

import numpy as np
import pytest

from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.tables import Fenced
from streaming.feed_lander import FeedLander, prepare
from streaming.logs import Logs
from streaming.receipts import Receipt
from streaming.rows import Delivery, Lines
from tests.streaming.conftest import DECLARATIONS, NOW, Lake, lines, visit

FEED = "office__visit"
BARRIERS = ("landing.after_quarantine", "landing.after_receipt", "landing.after_bronze", "table.between_files_and_commit", "table.after_commit")


def log(name: str = "a", sender: str = "north") -> Delivery:
    return Delivery(FEED, sender, name, f"kafka:{name}/0", 0, is_log=True)


def logs_of(lake: Lake) -> Logs:
    run = Run.start(lake.settings, quiet=True)
    prepare(run)
    return Logs(FeedLander(run, run.contracts[FEED], RegionTree(run.vocabularies.regions)))


def records(first: int, last: int) -> tuple[np.ndarray, Lines]:
    """One record an offset; each tenth is refused."""
    offsets = np.arange(first, last + 1)
    raw = [lines(visit(n, source_version="1" if n % 10 == 0 else 1)).rstrip(b"\n") for n in offsets.tolist()]
    return offsets, Lines(raw)


def found(lake: Lake) -> list[str]:
    """The position of every row in bronze or quarantine, however often."""
    return sorted(row["_source_position"] for row in lake.bronze() + lake.quarantine())


def positions(first: int, last: int, name: str = "a") -> list[str]:
    return [f"kafka:{name}/0#{offset:010}" for offset in range(first, last + 1)]


def counted(receipts: list[Receipt]) -> tuple[int, int, int, int]:
    return (
        sum(r.received for r in receipts),
        sum(r.accepted for r in receipts),
        sum(r.refused for r in receipts),
        sum(r.duplicate for r in receipts),
    )


def test_a_log_is_landed_by_its_offsets_and_goes_on_where_bronze_stands(lake: Lake) -> None:
    logs = logs_of(lake)
    assert logs.take_over([log()]) == {"kafka:a/0": 0}
    logs.add("kafka:a/0", *records(5, 24))
    assert counted(logs.land(NOW)) == (20, 18, 2, 0)
    again = logs_of(lake)
    assert again.take_over([log()]) == {"kafka:a/0": 25}
    again.add("kafka:a/0", *records(20, 30))
    assert counted(again.land(NOW)) == (6, 5, 1, 0)
    assert found(lake) == positions(5, 30)


def test_where_offsets_are_missing_another_receipt_begins(lake: Lake) -> None:
    logs = logs_of(lake)
    logs.take_over([log()])
    offsets, block = records(1, 9)
    kept = np.array([0, 1, 2, 5, 6, 8])
    logs.add("kafka:a/0", offsets[kept], Lines([block.raw[n] for n in kept]))
    assert [(r.chunk.first_row, r.chunk.last_row, r.received) for r in logs.land(NOW)] == [(1, 3, 3), (6, 7, 2), (9, 9, 1)]
    assert logs_of(lake).take_over([log()]) == {"kafka:a/0": 10}


def test_a_repeat_in_another_log_of_the_sender_is_a_duplicate(lake: Lake) -> None:
    logs = logs_of(lake)
    logs.take_over([log("a"), log("b")])
    for name in ("a", "b"):
        logs.add(f"kafka:{name}/0", *records(1, 5))
    assert counted(logs.land(NOW)) == (10, 5, 0, 5)
    logs.add("kafka:b/0", np.array([6]), Lines([records(3, 3)[1].raw[0]]))
    assert counted(logs.land(NOW + timedelta(days=3, seconds=1))) == (1, 1, 0, 0)


def test_what_another_process_landed_since_they_were_judged_makes_rows_duplicates(lake: Lake) -> None:
    one, two = logs_of(lake), logs_of(lake)
    one.take_over([log("a")])
    two.take_over([log("b")])
    one.add("kafka:a/0", *records(1, 5))
    two.add("kafka:b/0", *records(3, 7))
    (judged,) = one.judge(NOW)
    assert counted(two.land(NOW)) == (5, 5, 0, 0)
    assert counted(one.commit(judged)) == (5, 2, 0, 3)
    # What this process landed itself is no other's.
    one.add("kafka:a/0", *records(8, 9))
    assert counted(one.land(NOW)) == (2, 2, 0, 0)


def test_a_lander_whose_log_was_taken_over_writes_nothing_more(lake: Lake) -> None:
    old, new = logs_of(lake), logs_of(lake)
    old.take_over([log()])
    old.add("kafka:a/0", *records(1, 15))
    (judged,) = old.judge(NOW)
    assert new.take_over([log()]) == {"kafka:a/0": 0}
    with pytest.raises(Fenced, match="another process lands it now"):
        old.commit(judged)
    assert found(lake) == []
    assert lake.receipts() == []
    new.add("kafka:a/0", *records(1, 12))
    new.land(NOW)
    with pytest.raises(Fenced):
        old.commit(judged)
    assert found(lake) == positions(1, 12)


def test_a_lander_that_takes_its_log_back_lands_what_it_had_judged_in_vain(lake: Lake) -> None:
    """Rows that were judged and never landed are no repeats of themselves."""
    one, two = logs_of(lake), logs_of(lake)
    one.take_over([log()])
    one.add("kafka:a/0", *records(1, 15))
    (judged,) = one.judge(NOW)
    two.take_over([log()])
    with pytest.raises(Fenced):
        one.commit(judged)
    one.let_go(["kafka:a/0"])
    assert one.take_over([log()]) == {"kafka:a/0": 0}
    one.add("kafka:a/0", *records(1, 15))
    assert counted(one.land(NOW)) == (15, 14, 1, 0)


_LAND = f"""
import sys; sys.path.insert(0, {str(DECLARATIONS.parents[2])!r})
from pathlib import Path
from tests.streaming.conftest import Lake, NOW
from tests.streaming.test_landing_logs import log, logs_of, records
lake = Lake.__new__(Lake); folder = Path(sys.argv[1])
lake.folder, lake.inbox, lake.home = folder, folder / "inbox", folder / "lake"
logs = logs_of(lake)
next = logs.take_over([log()])["kafka:a/0"]
for last in map(int, sys.argv[2:]):
    logs.add("kafka:a/0", *records(next, last)); next = last + 1
    logs.land()
"""


@pytest.mark.parametrize("barrier", BARRIERS)
def test_what_a_killed_lander_had_begun_is_finished_as_it_was(lake: Lake, barrier: str) -> None:
    """Killed in its second batch, rows 21 to 45; the next lander is handed rows in other pieces."""
    program = [sys.executable, "-c", _LAND, str(lake.folder)]
    done = subprocess.run([*program, "20"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    nth = 4 if barrier.startswith("table.") else 1  # three commits take the log over
    dead = subprocess.run([*program, "45"], env={**os.environ, "GRIDLAKE_KILL_AT": f"{barrier}:{nth}"}, capture_output=True, text=True, check=False)
    assert dead.returncode == -signal.SIGKILL, dead.stderr
    logs = logs_of(lake)
    start = logs.take_over([log()])["kafka:a/0"]
    for first, last in ((start, 30), (31, 60), (61, 65)):
        if last >= start:
            logs.add("kafka:a/0", *records(max(first, start), last))
            logs.land()
    assert found(lake) == positions(0, 65)
    receipts = sorted((r["first_row"], r["last_row"], r["received"]) for r in lake.receipts())
    assert sum(received for _, _, received in receipts) == 66
    assert [first for first, _, _ in receipts[1:]] == [last + 1 for _, last, _ in receipts[:-1]]
