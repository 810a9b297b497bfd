"""A landing killed (-9) between its commits and repeated ends in the same tables, whatever has arrived or passed in between."""

from __future__ import annotations

import shutil
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from streaming import landing
from tests.streaming.conftest import NOW, Lake, visit

MOMENTS = ["landing.after_quarantine", "landing.after_receipt", "landing.after_bronze"]


def filled(folder: Path) -> Lake:
    """An inbox with everything that takes its own way through the commits: good, refused, repeated, empty, refused whole, two chunks."""
    lake = Lake(folder)
    lake.put("1.jsonl", [visit(n, source_version="x" if n % 7 == 0 else 1) for n in range(1, 40)])
    lake.put("2.jsonl", b"")
    lake.put("3.jsonl", [visit(n) for n in range(30, 50)])
    lake.put("4.jsonl", [visit(n, note="" if n == 290 else "同") for n in range(200, 300)])
    lake.put("5.jsonl", [visit(1, region_code="2001")])
    lake.put("1.jsonl", [visit(n, region_code="2001") for n in range(5)], sender="south")
    lake.put("1.jsonl", [visit(1)], sender="nobody")
    lake.put("1.jsonl", [visit(1)], feed="office/unheard_of")
    return lake


CHUNK = 80  # rows: file 4 is two chunks, and the small files fill three batches


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landing, "CHUNK_ROWS", CHUNK)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    lake = filled(tmp_path_factory.mktemp("undisturbed"))
    done = lake.land_in_a_process(CHUNK)
    assert done.returncode == 0, done.stderr
    return lake


@pytest.mark.parametrize("moment", [f"{m}:{n}" for m in MOMENTS for n in (1, 2)])
def test_a_killed_landing_repeated_ends_in_the_same_tables(undisturbed: Lake, tmp_path: Path, moment: str) -> None:
    lake = filled(tmp_path)
    shutil.copy(undisturbed.settings.keys, lake.settings.keys)
    killed = lake.land_in_a_process(CHUNK, GRIDLAKE_KILL_AT=moment)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    lake.land()
    assert lake.content() == undisturbed.content()


def test_killed_at_every_moment_in_turn_it_still_ends_in_the_same_tables(undisturbed: Lake, tmp_path: Path) -> None:
    lake = filled(tmp_path)
    shutil.copy(undisturbed.settings.keys, lake.settings.keys)
    for moment in MOMENTS:
        assert lake.land_in_a_process(CHUNK, GRIDLAKE_KILL_AT=moment).returncode == -signal.SIGKILL
    lake.land()
    assert lake.content() == undisturbed.content()


@pytest.mark.parametrize("moment", MOMENTS[:2])
def test_what_was_begun_is_finished_as_begun_even_if_older_names_and_a_later_clock_come_between(tmp_path: Path, moment: str) -> None:
    lake = Lake(tmp_path)
    # Refused only for being more than a day ahead of the first landing; accepted if it were judged by the clock of the second.
    ahead = (NOW + timedelta(days=2)).strftime("%Y-%m-%d %H:%M:%S")
    lake.put("b.jsonl", [visit(1), visit(2, started_at=ahead)])
    assert lake.land_in_a_process(CHUNK, GRIDLAKE_KILL_AT=moment).returncode == -signal.SIGKILL
    lake.put("a.jsonl", [visit(1)])
    lake.land(NOW + timedelta(days=2))
    told = {r["file_name"]: (r["accepted"], r["refused"], r["duplicate"]) for r in lake.receipts()}
    assert told == {"b.jsonl": (1, 1, 0), "a.jsonl": (0, 0, 1)}
    assert [(row["visit_id"], row["_received_at"]) for row in lake.bronze()] == [("V1", NOW)]
    assert len(lake.quarantine()) == 1
