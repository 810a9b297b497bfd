"""The simulator: a million events (or as many as are named) with their steps, regions, grids and teams; without a peer, no other tool makes them."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.bench import result

GRIDLAKE = str(Path(sys.executable).parent / "gridlake")


def main(events: int) -> None:
    """One process a format, so that each has its own peak."""
    measured = {}
    for event_format in ("jsonl", "parquet"):
        with tempfile.TemporaryDirectory(dir=os.environ.get("GRIDLAKE_BENCH_TMP")) as folder:
            before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
            command = [GRIDLAKE, "simulate", "--spine", "--events", str(events), "--format", event_format, "--inbox", f"{folder}/inbox"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            measured[event_format] = {
                "seconds": round(time.monotonic() - started, 2),
                "cpu_seconds": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
                # Of the largest process; three work at a time.
                "peak_rss_mb": after.ru_maxrss // 1024,
                "bytes": sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file()),
            }
    path = result.write("simulator", rows=events, ours=measured["jsonl"], peer={}, parquet=measured["parquet"])
    print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
