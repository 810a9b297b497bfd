"""A lake with two small feeds (declarations/), its inbox, and what landing left in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gridlake.privacy import Keys
from gridlake.runs import Run
from gridlake.settings import Settings
from gridlake.tables import Tables
from streaming import landing
from tests.streaming.broker import KafkaLanding, TestBroker

DECLARATIONS = Path(__file__).parent / "declarations"
NOW = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
# Filled by the process that lands, so not part of "the same tables".
WHEN = {"_received_at", "received_at"}


def visit(number: int = 1, /, **values: Any) -> dict[str, Any]:
    """A row that the contract accepts from sender north; a value of ... leaves the column out."""
    row = {"visit_id": f"V{number}", "region_code": "1001", "started_at": "2026-05-01 09:00:00", "source_version": 1} | values
    return {name: value for name, value in row.items() if value is not ...}


def lines(*rows: Mapping[str, Any]) -> bytes:
    """Rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


class Lake:
    """A lake in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.inbox, self.home = folder, folder / "inbox", folder / "lake"
        self.inbox.mkdir(parents=True, exist_ok=True)

    @property
    def settings(self) -> Settings:
        return Settings(project=DECLARATIONS, home=self.home, inbox=self.inbox)

    @property
    def tables(self) -> Tables:
        return Tables(self.settings.tables)

    @property
    def keys(self) -> Keys:
        return Keys.load(self.settings.keys)

    def put(self, name: str, content: bytes | Iterable[Mapping[str, Any]], *, sender: str = "north", feed: str = "office/visit") -> Path:
        """Lay a file into the inbox; rows become JSON lines."""
        path = self.inbox / feed / sender / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else lines(*content))
        return path

    def land(self, received_at: datetime = NOW) -> dict[str, Any]:
        """One run's landing, in this process."""
        run = Run.start(self.settings, quiet=True)
        run.received_at = received_at
        return landing.land(run)

    def land_in_a_process(self, chunk_rows: int = landing.CHUNK_ROWS, **environment: str) -> subprocess.CompletedProcess[str]:
        """One run's landing, in a process that may be killed; its last line on stdout is its peak memory in MB."""
        program = (
            "from datetime import datetime; from pathlib import Path\n"
            "from gridlake.runs import Run; from gridlake.settings import Settings; from streaming import landing\n"
            f"landing.CHUNK_ROWS = {chunk_rows}\n"
            f"run = Run.start(Settings(project=Path({str(DECLARATIONS)!r}), home=Path({str(self.home)!r}), inbox=Path({str(self.inbox)!r})))\n"
            f"run.received_at = datetime.fromisoformat({NOW.isoformat()!r})\n"
            "print(landing.land(run))\n"
            # Not getrusage: its peak begins with that of the process that forked this one.
            "print(int(Path('/proc/self/status').read_text().partition('VmHWM:')[2].split()[0]) // 1024)"
        )
        return subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False)

    def bronze(self, feed: str = "office__visit") -> list[dict[str, Any]]:
        return self._rows(f"bronze.{feed}", "_source_position")

    def quarantine(self, feed: str = "office__visit") -> list[dict[str, Any]]:
        return self._rows(f"quarantine.{feed}", "_source_position")

    def receipts(self) -> list[dict[str, Any]]:
        return self._rows("ops.receipt", "_delivery_id")

    def refusals(self, feed: str = "office__visit") -> list[list[tuple[str, str | None]]]:
        """(rule, field) of every reason of every refused row."""
        return [[(r["rule"], r["field"]) for r in row["reasons"]] for row in self.quarantine(feed)]

    def payload(self, row: Mapping[str, Any]) -> bytes:
        """What a quarantine row keeps, opened."""
        if row["payload_ref"]:
            target = self.folder / "opened"
            with (self.home / row["payload_ref"]).open("rb") as sealed, target.open("wb") as plain:
                self.keys.open_stream(sealed, plain)
            return target.read_bytes()
        return self.keys.open_bytes(row["payload_sealed"])

    def content(self) -> dict[str, list[dict[str, Any]]]:
        """Every table, sorted, without when it was landed: what two lakes with the same keys can be compared by."""
        found = {}
        for name in self.tables.names():
            rows = self.tables.read(name)
            kept = [{k: v for k, v in row.items() if k not in WHEN} for row in rows.to_pylist()]
            found[name] = sorted(kept, key=lambda row: json.dumps(row, sort_keys=True, default=str))
        return found

    def _rows(self, table: str, order: str) -> list[dict[str, Any]]:
        rows: pa.Table = self.tables.read(table)
        return list(rows.sort_by(order).to_pylist())


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


@pytest.fixture
def topic(broker: TestBroker) -> Iterator[str]:
    """The topic of sender north's visits, of two partitions; gone after the test."""
    name = "office.visit.north"
    broker.topic(name, partitions=2)
    yield name
    broker.delete_all("office.")


@pytest.fixture(name="landing")
def kafka_landing(lake: Lake, broker: TestBroker) -> KafkaLanding:
    return KafkaLanding(lake, broker)
