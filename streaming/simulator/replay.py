"""Sends a simulated inbox again as a stream: row by row, in the order in which rows came, paced by their clock.

What comes as tables (CSV, XLSX) is no stream and stays where it is.
"""

from __future__ import annotations

import base64
import heapq
import json
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import dropwhile, takewhile
from pathlib import Path
from typing import IO

import pyarrow.parquet as pq

from streaming.simulator.parcels import json_lines

_CHANGED_AT = re.compile(rb'"changed_at": ?"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)"')
_CLOCK = "%Y-%m-%d %H:%M:%S"


@dataclass(frozen=True)
class Sent:
    """One row on its way: when it comes (the sender's clock), whose it is, and its bytes as a JSON line without its end."""

    clock: datetime
    source: str
    feed: str
    sender: str
    line: bytes

    @property
    def document(self) -> str:
        """The row in an envelope, as one line of JSON; a row that is no JSON in UTF-8 goes as `raw`, in base64."""
        place = f'"source":"{self.source}","feed":"{self.feed}","sender":"{self.sender}"'
        try:
            json.loads(self.line)
        except ValueError:
            return f'{{{place},"raw":"{base64.b64encode(self.line).decode()}"}}'
        return f'{{{place},"row":{self.line.decode()}}}'


def replay(inbox: Path) -> Iterator[Sent]:
    """All rows of the inbox's JSONL and Parquet files by their clock.

    A row comes when it was changed, and never before one that its sender sent earlier: late rows stay late, as they are in the files.
    """
    folders = sorted(p for p in inbox.glob("[!._]*/*/*") if p.is_dir())
    return heapq.merge(*(_of_sender(folder) for folder in folders), key=lambda sent: sent.clock)


def _of_sender(folder: Path) -> Iterator[Sent]:
    source, feed, sender = folder.parts[-3:]
    clock = b""
    for path in sorted(p for p in folder.iterdir() if p.suffix in {".jsonl", ".parquet"} and not p.name.startswith((".", "_"))):
        for line in _lines(path):
            found = _CHANGED_AT.search(line)
            clock = max(clock, found[1]) if found else clock
            if clock:
                yield Sent(datetime.strptime(clock.decode(), _CLOCK), source, feed, sender, line)


def _lines(path: Path) -> Iterable[bytes]:
    if path.suffix == ".jsonl":
        with path.open("rb") as file:
            yield from (line.removesuffix(b"\n") for line in file)
        return
    for batch in pq.ParquetFile(path).iter_batches(50_000):
        rows = batch.to_pandas()
        yield from json_lines(rows, list(rows.columns))


def between(rows: Iterable[Sent], since: datetime | None, before: datetime | None) -> Iterator[Sent]:
    """The rows whose clock is not before `since` and is before `before`, of rows in the order of their clock."""
    left = dropwhile(lambda row: since is not None and row.clock < since, rows)
    return takewhile(lambda row: before is None or row.clock < before, left)


def paced(
    rows: Iterable[Sent], pace: float | None, *, now: Callable[[], float] = time.monotonic, wait: Callable[[float], None] = time.sleep
) -> Iterator[Sent]:
    """The rows, each when its time has come: `pace` seconds of the senders' clocks go by in one of ours; None waits for nothing."""
    began: tuple[datetime, float] | None = None
    for row in rows:
        if pace is not None:
            began = began or (row.clock, now())
            ahead = (row.clock - began[0]).total_seconds() / pace - (now() - began[1])
            if ahead > 0:
                wait(ahead)
        yield row


def print_out(rows: Iterable[Sent], output: IO[str]) -> int:
    """One JSON line a row: source, feed, sender, row. Gives their number."""
    count = 0
    for row in rows:
        output.write(row.document + "\n")
        output.flush()
        count += 1
    return count


def deliver(rows: Iterable[Sent], inbox: Path) -> int:
    """Append the rows to a file a day and feed in another inbox; gives their number.

    A file grows under a name that begins with a dot. Once its day is over it gets its own, and `.<name>.done` beside it says that it is whole.
    """
    count = 0
    day: str | None = None
    growing: dict[Path, IO[bytes]] = {}
    for row in rows:
        if (today := f"{row.clock:%Y-%m-%d}") != day:
            _finish(growing)
            day = today
        path = inbox / row.source / row.feed / row.sender / f"{row.feed}-{day}.jsonl"
        if path not in growing:
            path.parent.mkdir(parents=True, exist_ok=True)
            growing[path] = path.with_name(f".{path.name}.partial").open("wb")
        growing[path].write(row.line + b"\n")
        growing[path].flush()
        count += 1
    _finish(growing)
    return count


def _finish(growing: dict[Path, IO[bytes]]) -> None:
    for path, file in growing.items():
        file.close()
        Path(file.name).replace(path)
        path.with_name(f".{path.name}.done").touch()
    growing.clear()
