"""The whole run at growing sizes, per step: seconds, processor seconds, peak memory, bytes written. The peer is Apache Spark on the first size.

    python -m tests.bench.bench_run [--events 1000000 --events 10000000] [--no-peer] [--folder DIR]

Both engines run the same command on the same inbox, one after the other, with the same keys and clock; the peer gets its best settings. After it
the tables of both lakes are compared. What is the same code for both, landing, is in both times.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.bench import result
from tests.lakes import content, differing

GRIDLAKE = str(Path(sys.executable).parent / "gridlake")
SERVER = [sys.executable, str(result.CHECKOUT / "infra" / "spark" / "server.py")]
# One clock for every run that is compared with another.
NOW = "2026-11-01T00:00:00Z"
SIZES = (1_000_000, 10_000_000)


def main() -> None:
    """Measure once and write bench/results/run.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, action="append", help=f"sizes; default {' and '.join(map(str, SIZES))}")
    parser.add_argument("--no-peer", action="store_true", help="leave Apache Spark out (needs Java 17 and Maven)")
    parser.add_argument("--folder", type=Path, help="where inboxes and the smallest lake are kept for a look afterwards; default: a temporary folder")
    asked = parser.parse_args()
    sizes = sorted(asked.events or SIZES)
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as temporary:
        folder = (asked.folder or Path(temporary)).absolute()
        measured = {}
        for events in sizes:
            measured[events] = run(simulated(folder, events), folder / f"embedded-{events}", "embedded")
            print(f"{events:,} events: {json.dumps(measured[events])}", file=sys.stderr)
            if events != sizes[0]:
                # Ten million events take 30 GB; only the smallest lake is compared.
                shutil.rmtree(folder / f"embedded-{events}")
        peer: dict[str, Any] = {"name": "none"} if asked.no_peer else beside(folder, sizes[0])
    ours = measured[sizes[0]]
    more = {"sizes": {str(events): taken for events, taken in measured.items()}, "time_per_doubling": per_doubling(measured)}
    print(result.write("run", rows=ours["rows"], ours=ours, peer=peer, **more).read_text(encoding="utf-8"))


def simulated(folder: Path, events: int) -> Path:
    """An inbox of the feeds whose size is that of the events."""
    inbox = folder / f"inbox-{events}"
    command = [GRIDLAKE, "simulate", "--spine", "--cities", "all", "--format", "parquet", "--events", str(events), "--inbox", str(inbox)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return inbox


def run(inbox: Path, home: Path, engine: str) -> dict[str, Any]:
    """`gridlake run` as a process of its own; what it took, whole and by step."""
    environment = {**os.environ, "GRIDLAKE_ENGINE": engine}
    command = [GRIDLAKE, "run", "--input", str(inbox), "--home", str(home), "--as-of", NOW, "--json"]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    document = json.loads(done.stdout)
    steps = document["footprints"]
    return {
        "seconds": document["seconds"],
        "rows": sum(feed["received"] for feed in document["feeds"].values()),
        "peak_rss_mb": document["peak_rss_mb"],
        "cpu_seconds": round(sum(taken["cpu_seconds"] for taken in steps.values()), 1),
        "written_mb": round(sum(taken["written_mb"] for taken in steps.values())),
        "steps": steps,
    }


def beside(folder: Path, events: int) -> dict[str, Any]:
    """Apache Spark on the inbox that the embedded engine has run on, and which of their tables differ."""
    home, other = folder / f"embedded-{events}", folder / f"spark-{events}"
    shutil.copy(home.with_name(f"{home.name}.keys.json"), other.with_name(f"{other.name}.keys.json"))
    url = subprocess.run([*SERVER, "start", "--best"], check=True, stdout=subprocess.PIPE, text=True).stdout.split()[-1]
    try:
        taken = run(folder / f"inbox-{events}", other, url)
    finally:
        subprocess.run([*SERVER, "stop"], check=True, stdout=subprocess.DEVNULL)
    # The server's processor seconds and memory are not this process's.
    steps = {step: of["seconds"] for step, of in taken["steps"].items()}
    unequal = differing(content(home), content(other))
    return {"name": "Apache Spark, local[2], best settings", "seconds": taken["seconds"], "steps": steps, "differing_tables": unequal}


def per_doubling(measured: dict[int, dict[str, Any]]) -> float | None:
    """How many times the seconds each doubling of the events takes, from the smallest size to the largest."""
    small, large = min(measured), max(measured)
    if small == large:
        return None
    times = measured[large]["seconds"] / measured[small]["seconds"]
    return float(round(times ** (1 / math.log2(large / small)), 3))


if __name__ == "__main__":
    main()
