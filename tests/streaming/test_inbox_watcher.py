"""The inbox watcher in a process of its own: files are landed as they arrive, when they are whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.streaming.conftest import DECLARATIONS, Lake, lines, visit

WITHIN_S = 30


@contextmanager
def watching(lake: Lake, *options: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """`gridlake land watch` on the lake's inbox, stopped in the end."""
    given = {"GRIDLAKE_PROJECT": str(DECLARATIONS), "GRIDLAKE_HOME": str(lake.home), "GRIDLAKE_INBOX": str(lake.inbox)}
    command = [sys.executable, "-c", "from gridlake.cli import main; main()", "land", "watch", "--every", "0.2", "--json", *options]
    with (lake.folder / "watch.log").open("a") as log:
        process = subprocess.Popen(command, env={**os.environ, **given, **environment}, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            assert "watching" in process.stdout.readline(), (lake.folder / "watch.log").read_text()
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def until(condition: Callable[[], bool]) -> None:
    """Wait until it holds; fails when it does not within the time."""
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        time.sleep(0.05)


def visits(lake: Lake) -> list[str]:
    return [r["visit_id"] for r in lake.bronze()] if lake.tables.exists("bronze.office__visit") else []


def test_a_file_is_landed_as_it_arrives_once_and_a_longer_one_of_its_name_again(lake: Lake) -> None:
    with watching(lake, "--settled", "0") as process:
        lake.put("1.jsonl", [visit(1)])
        until(lambda: visits(lake) == ["V1"])
        lake.put("2.jsonl", [visit(2)])
        until(lambda: sorted(visits(lake)) == ["V1", "V2"])
        (path := lake.put(".1.jsonl", [visit(1), visit(3)])).rename(path.with_name("1.jsonl"))
        until(lambda: sorted(visits(lake)) == ["V1", "V2", "V3"])
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert sum(r["received"] for r in lake.receipts()) == 4
    assert sum(r["duplicate"] for r in lake.receipts()) == 1


def test_a_file_that_is_still_written_waits_until_it_is_settled_or_marked(lake: Lake) -> None:
    with watching(lake, "--settled", "3600"):
        half = lake.put("half.jsonl", lines(visit(1)) + b'{"visit_id": "V2", "reg')
        lake.put("marked.jsonl", [visit(9)])
        lake.put("marked.jsonl.done", b"")
        until(lambda: visits(lake) == ["V9"])
        half.write_bytes(lines(visit(1), visit(2)))
        old = time.time() - 7200
        os.utime(half, (old, old))
        until(lambda: sorted(visits(lake)) == ["V1", "V2", "V9"])
    assert not lake.quarantine(), "neither half a row nor a marker was taken for a delivery"


@pytest.fixture
def marking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake whose sender north has declared markers."""
    project = tmp_path / "project"
    (project / "expectations").mkdir(parents=True)
    for entry in (DECLARATIONS / "expectations").iterdir():
        if entry.name != "senders":
            (project / "expectations" / entry.name).symlink_to(entry)
    (project / "expectations" / "senders").mkdir()
    north = (DECLARATIONS / "expectations" / "senders" / "north.yml").read_text(encoding="utf-8")
    (project / "expectations" / "senders" / "north.yml").write_text(north + "inbox: {done_markers: true}\n", encoding="utf-8")
    monkeypatch.setattr("tests.streaming.conftest.DECLARATIONS", project)
    return Lake(tmp_path / "lake")


def test_of_a_sender_that_has_declared_markers_nothing_is_taken_without(marking: Lake) -> None:
    marking.put("1.jsonl", [visit(1)])
    marking.land()
    assert visits(marking) == []
    marking.put("1.jsonl.done", b"")
    marking.put("2.jsonl", [visit(2)])
    marking.land()
    assert visits(marking) == ["V1"]


def test_a_watcher_that_is_killed_between_two_commits_goes_on_where_it_was(lake: Lake) -> None:
    lake.put("1.jsonl", [visit(1), visit(2, visit_id="bad")])
    with watching(lake, "--settled", "0", GRIDLAKE_KILL_AT="landing.after_quarantine") as process:
        assert process.wait(timeout=WITHIN_S) == -9
    with watching(lake, "--settled", "0"):
        until(lambda: visits(lake) == ["V1"])
    assert len(lake.quarantine()) == len(lake.receipts()) == 1


def test_a_watcher_and_a_run_land_the_same_inbox_side_by_side(lake: Lake) -> None:
    with watching(lake, "--settled", "0"):
        for number in range(8):
            lake.put(f"{number}.jsonl", [visit(10 * number + n) for n in range(10)])
            lake.land()
        until(lambda: len(visits(lake)) == 80)
    assert sorted(visits(lake)) == sorted(f"V{n}" for n in range(80))
    assert sum(r["received"] for r in lake.receipts()) == 80
