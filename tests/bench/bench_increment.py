"""One day on histories of growing length: seconds, processor seconds and peak memory of its run, whole and by step.

    python -m tests.bench.bench_increment [--events 1000000 --events 10000000 --events 50000000] [--folder DIR]

A province of 12,500 events a day, so the histories are 80, 800 and 4,000 days long and the day is alike on each: what has changed on the last
one, late rows and changes of old events among them. Peer is the day on the shortest history; `growth` is how many times as long the longest takes.
All of the history is landed just before the day, so the window in which a repeated row is a duplicate is a minute here: in three days, the default,
would lie years of rows instead of 0.2 million. Between the two lies `gridlake maintain`, as after every day's run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml

from gridlake.contracts.load import SUFFIX
from gridlake.settings import CHECKOUT
from tests.bench import result
from tests.bench.bench_run import GRIDLAKE

SIZES = (1_000_000, 10_000_000, 50_000_000)
EVENTS_A_DAY = 12_500
LAST_DAY = date(2026, 10, 31)
# Midnight in the province, as UTC.
DAY_BEGINS = datetime(2026, 10, 30, 16)


def main() -> None:
    """Measure once and write bench/results/increment.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, action="append", help=f"lengths of the history; default {', '.join(map(str, SIZES))}")
    parser.add_argument("--folder", type=Path, help="where inboxes and lakes are kept for a look afterwards; default: a temporary folder")
    asked = parser.parse_args()
    sizes = sorted(asked.events or SIZES)
    measured = {}
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as temporary:
        for events in sizes:
            measured[events] = day_on_history((asked.folder or Path(temporary)).absolute() / str(events), events)
            print(f"{events:,} events: {json.dumps(measured[events])}", file=sys.stderr)
    longest, shortest = measured[sizes[-1]], measured[sizes[0]]
    growth = round(longest["seconds"] / shortest["seconds"], 3)
    peer = {"name": f"the day on {sizes[0]:,} events", **shortest}
    more = {"sizes": {str(events): taken for events, taken in measured.items()}, "growth": growth}
    print(result.write("increment", rows=longest["rows"], ours=longest, peer=peer, **more).read_text(encoding="utf-8"))


def day_on_history(folder: Path, events: int) -> dict[str, Any]:
    """What the last day takes, on a lake that holds the days before."""
    days = events // EVENTS_A_DAY
    inbox, day = folder / "inbox", folder / "day"
    command = ["simulate", "--spine", "--format", "parquet", "--events", str(events), "--days", str(days), "--until", LAST_DAY.isoformat()]
    gridlake(*command, "--inbox", str(inbox))
    if not day.exists():
        take_out_last_day(inbox, day)
    os.environ["GRIDLAKE_PROJECT"] = str(of_short_window(folder / "project"))
    run = ["run", "--home", str(folder / "lake"), "--input"]
    history = gridlake(*run, str(inbox), "--as-of", f"{DAY_BEGINS.isoformat()}Z")
    gridlake("maintain", "--home", str(folder / "lake"))
    done = gridlake(*run, str(day), "--as-of", f"{(DAY_BEGINS + timedelta(days=1)).isoformat()}Z")
    return {"history": measured(history), **measured(done)}


def of_short_window(folder: Path) -> Path:
    """The checkout, with contracts by which a row is a repeat for a minute only."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for path in CHECKOUT.iterdir():
        if path.name != "expectations":
            (folder / path.name).symlink_to(path)
    shutil.copytree(CHECKOUT / "expectations", folder / "expectations")
    for path in (folder / "expectations" / "contracts").glob(f"*/*{SUFFIX}"):
        contract = yaml.safe_load(path.read_text(encoding="utf-8"))
        others = [p for p in contract.get("customProperties", []) if p["property"] != "gridlake.repeatWindow"]
        contract["customProperties"] = [*others, {"property": "gridlake.repeatWindow", "value": "1 minutes"}]
        path.write_text(yaml.safe_dump(contract, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return folder


def take_out_last_day(inbox: Path, day: Path) -> None:
    """Move the rows that have changed on the last day into files of their own."""
    for path in sorted(inbox.glob("*/*/*/*.parquet")):
        rows = pq.read_table(path)
        is_new = pc.fill_null(pc.greater_equal(rows.column("changed_at"), pa.scalar(DAY_BEGINS, rows.column("changed_at").type)), False)
        if not pc.any(is_new).as_py():
            continue
        target = day / path.relative_to(inbox)
        target.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(rows.filter(is_new), target.with_stem(f"{path.stem}-{LAST_DAY}"))
        pq.write_table(rows.filter(pc.invert(is_new)), path)


def measured(document: dict[str, Any]) -> dict[str, Any]:
    """Of a run's document what is compared."""
    steps = document["footprints"]
    return {
        "seconds": document["seconds"],
        "rows": sum(feed["received"] for feed in document["feeds"].values()),
        "cpu_seconds": round(sum(taken["cpu_seconds"] for taken in steps.values()), 1),
        "peak_rss_mb": document["peak_rss_mb"],
        "steps": {step: {"seconds": taken["seconds"], "cpu_seconds": taken["cpu_seconds"]} for step, taken in steps.items()},
    }


def gridlake(*command: str) -> dict[str, Any]:
    """A command's document."""
    done = subprocess.run([GRIDLAKE, *command, "--json"], env=os.environ, check=True, stdout=subprocess.PIPE, text=True)
    document: dict[str, Any] = json.loads(done.stdout)
    return document


if __name__ == "__main__":
    main()
