"""The inbox as a stream: every row once, in the order in which it came, at its time by a clock that the test turns."""

from __future__ import annotations

import base64
import io
import json
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from streaming.simulator import simulate
from streaming.simulator.command import simulate as command
from streaming.simulator.replay import Sent, between, deliver, paced, print_out, replay


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stream") / "inbox"
    simulate(folder, days=21, events=600, villages=10, spine=True)
    return folder


def sent(clock: str, feed: str = "event", line: bytes = b"{}") -> Sent:
    return Sent(datetime.fromisoformat(clock), "city_platform", feed, "330100000000", line)


def test_every_row_of_a_stream_comes_once_and_none_before_another_of_its_sender(inbox: Path) -> None:
    rows = list(replay(inbox))
    counts = pd.Series([row.feed for row in rows]).value_counts().to_dict()
    lines = sum(len(p.read_bytes().removesuffix(b"\n").split(b"\n")) for p in inbox.glob("city_platform/*/*/*.jsonl"))
    typed = {p: pq.read_metadata(p).num_rows for p in inbox.glob("city_platform/*/*/*.parquet")}
    assert sum(counts.values()) == lines + sum(typed.values())
    assert set(counts) == {"event", "event_step", "region"}
    clocks = [row.clock for row in rows]
    assert clocks == sorted(clocks)
    files = b"".join(p.read_bytes() for p in sorted(inbox.glob("city_platform/event/330100000000/*.jsonl")))
    streamed = [row.line for row in rows if (row.feed, row.sender) == ("event", "330100000000")]
    assert b"\n".join(streamed).replace(b"\n", b"") == files.replace(b"\n", b"")


def test_an_envelope_names_the_place_and_holds_the_row_or_its_bytes() -> None:
    good, bad = sent("2026-01-01 08:00:00", line='{"event_id":"甲"}'.encode()), sent("2026-01-01 08:00:00", line="楼道".encode("gb18030"))
    assert json.loads(good.document) == {"source": "city_platform", "feed": "event", "sender": "330100000000", "row": {"event_id": "甲"}}
    assert base64.b64decode(json.loads(bad.document)["raw"]) == bad.line


def test_rows_are_held_back_until_their_clock_has_come() -> None:
    clock, waits = [1000.0], []

    def wait(seconds: float) -> None:
        waits.append(seconds)
        clock[0] += seconds

    rows = [sent("2026-01-01 08:00:00"), sent("2026-01-01 08:00:50"), sent("2026-01-01 08:00:50"), sent("2026-01-01 08:10:00")]
    came = []
    for row in paced(rows, 50, now=lambda: clock[0], wait=wait):
        came.append((row.clock.isoformat(), clock[0] - 1000))
        clock[0] += 0.25
    assert came == [("2026-01-01T08:00:00", 0.0), ("2026-01-01T08:00:50", 1.0), ("2026-01-01T08:00:50", 1.25), ("2026-01-01T08:10:00", 12.0)]
    assert waits == [0.75, 10.5], "whoever takes rows slowly is waited for once"
    assert list(paced(rows, None, wait=lambda _: pytest.fail("waited without a pace"))) == rows


def test_a_part_of_the_stream_begins_and_ends_at_a_day() -> None:
    rows = [sent(f"2026-01-0{day} {hour}") for day in (1, 2, 3) for hour in ("00:00:00", "23:59:59")]
    second, third = datetime(2026, 1, 2), datetime(2026, 1, 3)
    assert list(between(rows, second, third)) == rows[2:4]
    assert list(between(rows, second, None)) + list(between(rows, None, second)) == rows[2:] + rows[:2]
    assert list(between(iter(rows), None, None)) == rows


def test_a_delivered_day_is_whole_when_its_marker_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "city_platform" / "event" / "330100000000"
    seen = []

    def rows() -> list[Sent]:
        yield sent("2026-01-01 08:00:00", line=b'{"n":1}')
        seen.append({p.name for p in folder.iterdir()})
        yield sent("2026-01-01 09:00:00", line=b'{"n":2}')
        yield sent("2026-01-02 09:00:00", line=b'{"n":3}')
        seen.append({p.name for p in folder.iterdir()})

    assert deliver(rows(), tmp_path) == 3
    assert seen == [
        {".event-2026-01-01.jsonl.partial"},
        {"event-2026-01-01.jsonl", ".event-2026-01-01.jsonl.done", ".event-2026-01-02.jsonl.partial"},
    ]
    assert (folder / "event-2026-01-01.jsonl").read_bytes() == b'{"n":1}\n{"n":2}\n'
    assert {p.name for p in folder.glob("[!.]*")} == {"event-2026-01-01.jsonl", "event-2026-01-02.jsonl"}


def test_printed_rows_are_json_lines() -> None:
    output = io.StringIO()
    assert print_out([sent("2026-01-01 08:00:00", line=b'{"n":1}'), sent("2026-01-01 08:00:00", "event_step")], output) == 2
    assert [json.loads(line)["feed"] for line in output.getvalue().splitlines()] == ["event", "event_step"]


def test_the_command_streams_what_it_simulated(tmp_path: Path) -> None:
    options = ["--days", "14", "--events", "300", "--villages", "6", "--spine", "--inbox", str(tmp_path / "in")]
    done = CliRunner().invoke(command, [*options, "--stream"])
    assert done.exit_code == 0, done.output
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) == len(list(replay(tmp_path / "in")))
    refused = CliRunner().invoke(command, [*options, "--pace", "50"])
    assert refused.exit_code == 2
    assert "add --stream" in refused.output
