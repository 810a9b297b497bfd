"""Pushes over HTTP: single-row events, signed, at a fixed rate from another process; each is on the disk before it is answered.

Open loop: a push is due when the clock says so, whether earlier ones are answered or not, and its time counts from then, so a server that
stalls cannot hide it. Afterwards the lake is opened: every row that was answered must be there once.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import psutil
import pyarrow.compute as pc

from gridlake.credentials import Secrets
from gridlake.settings import Settings
from gridlake.signatures import sign
from gridlake.tables import Tables
from tests.bench import result

PATH = "/feeds/city_platform/event"
SENDERS = {"330100000000": "330106002051", "330200000000": "330203005001"}
GRIDLAKE = str(Path(sys.executable).parent / "gridlake")
CONNECTIONS = 64
BAD_SHARE = 0.02
# The goal of the issue.
RATE, SECONDS, P99_MS = 500, 60, 500


class Connection:
    """One kept-alive connection; as little of HTTP as the benchmark needs, so that the client leaves the processor to the server."""

    def __init__(self, host: str, port: int) -> None:
        self._where = host, port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def post(self, headers: dict[str, str], body: bytes) -> tuple[int, bytes]:
        """(status, body) of the answer."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._where)
        reader, writer = self._streams
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST {PATH} HTTP/1.1\r\nhost: {self._where[0]}\r\ncontent-length: {len(body)}\r\n{lines}\r\n".encode() + body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(head.partition("content-length: ")[2].partition("\r\n")[0])
        return int(head.split(" ", 2)[1]), await reader.readexactly(length)


def row(number: int, region: str) -> bytes:
    """An event of about 450 bytes; some have a level that no code list has."""
    is_bad = number % round(1 / BAD_SHARE) == 0
    event = {
        "event_id": f"B{number}", "class_code": "0904", "level_code": "X" if is_bad else "1",
        "description": f"巡查发现楼道堆放杂物，已告知住户限期清理，第 {number} 次登记", "region_code": region,
        "address": f"某某街道某某小区 {number} 号楼", "longitude": 120.1, "latitude": 30.3,
        "occurred_at": "2026-03-01 09:00:00", "reported_at": "2026-03-01 09:05:00", "state_code": "reported", "channel_code": "grid",
        "source_version": 1, "changed_at": "2026-03-01 09:05:00",
    }  # fmt: skip
    return json.dumps(event, ensure_ascii=False).encode() + b"\n"


async def push_all(url: str, keys: dict[str, str], rate: int, seconds: float) -> dict[str, object]:
    """Push at that rate; gives milliseconds from due to answered for each push, and what was answered."""
    parts = urlsplit(url)
    free: asyncio.Queue[Connection] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(Connection(parts.hostname or "", parts.port or 0))
    senders = list(SENDERS)
    took: list[float] = []
    answers: dict[str, int] = {}

    async def one(number: int, due: float) -> None:
        sender = senders[number % len(senders)]
        body = row(number, SENDERS[sender])
        given = {"content-type": "application/x-ndjson", "idempotency-key": f"bench-{number}"}
        connection = await free.get()
        try:
            status, said = await connection.post(sign("POST", url + PATH, keys[sender], sender, body=body, headers=given), body)
        finally:
            free.put_nowait(connection)
        took.append((time.monotonic() - due) * 1000)
        outcome = json.loads(said)["rows"][0]["state"] if status == 200 else str(status)
        answers[outcome] = answers.get(outcome, 0) + 1

    started, tasks = time.monotonic() + 0.2, set()
    for number in range(int(rate * seconds)):
        due = started + number / rate
        if (wait := due - time.monotonic()) > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(one(number, due))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    while tasks:
        await asyncio.wait(tasks)
    return {"milliseconds": took, "answers": answers, "seconds": time.monotonic() - started}


@contextmanager
def serving(home: Path) -> Iterator[tuple[str, psutil.Process]]:
    """A server of a new lake: its address and its process."""
    with (home.parent / "server.log").open("w") as log:
        process = subprocess.Popen([GRIDLAKE, "land", "http", "--port", "0", "--home", home, "--json"], stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())["url"], psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(timeout=60)


def main(rate: int, seconds: float) -> int:
    """Measure, compare with the lake, write the result; gives 1 where the goal is missed at its rate."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("GRIDLAKE_BENCH_TMP")) as folder:
        home = Path(folder) / "lake"
        kept = Secrets(Settings(home=home).secrets)
        keys = {sender: kept.make(f"sender_{sender}", datetime.now(UTC), timedelta(0)) for sender in SENDERS}
        with serving(home) as (url, server):
            client = subprocess.Popen(
                [sys.executable, "-m", "tests.bench.bench_push", "--client", url, json.dumps(keys), str(rate), str(seconds)],
                stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            before = server.cpu_times()
            said, _ = client.communicate()
            after, peak = server.cpu_times(), server.memory_info().rss
        told = json.loads(said)
        took, answers = np.array(told["milliseconds"]), told["answers"]
        tables = Tables(home / "tables")
        landed = tables.read("bronze.city_platform__event", columns=["event_id"]).column(0)
        refused = tables.row_count("quarantine.city_platform__event")
        assert len(landed) == len(pc.unique(landed)) == answers.get("accepted", 0), (len(landed), answers)
        assert refused == answers.get("refused", 0), (refused, answers)
    p50, p95, p99, worst = (round(float(np.percentile(took, share)), 1) for share in (50, 95, 99, 100))
    cpu = after.user + after.system - before.user - before.system
    ours = {
        "seconds": round(told["seconds"], 2), "pushes_per_second": round(len(took) / told["seconds"], 1), "p50_ms": p50, "p95_ms": p95, "p99_ms": p99,
        "max_ms": worst, "cpu_seconds": round(cpu, 1), "rss_mb": peak >> 20,
    }  # fmt: skip
    path = result.write("push", rows=len(took), ours=ours, peer={}, answers=answers, goal={"rate": RATE, "seconds": SECONDS, "p99_ms": P99_MS})
    print(path.read_text(encoding="utf-8"))
    is_missed = rate >= RATE and (p99 > P99_MS or set(answers) - {"accepted", "refused"})
    print(f"{len(took):,} pushes at {rate}/s, each durable: p50 {p50} ms, p99 {p99} ms, longest {worst} ms" + (" — goal missed" if is_missed else ""))
    return int(bool(is_missed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--client"]:
        _, _, address, given, per_second, long = sys.argv
        print(json.dumps(asyncio.run(push_all(address, json.loads(given), int(per_second), float(long)))))
        sys.exit(0)
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else RATE, float(sys.argv[2]) if len(sys.argv) > 2 else SECONDS))
