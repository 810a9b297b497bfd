"""All 102 regions' weekly reports, docx and html, over a snapshot of as many events as are named; and one report alone.

    python -m tests.bench.bench_reports [--events-a-day 20000] [--home LAKE]

The peer is the same code asked for one region after the other, as a report by report template would be: its queries run once for each region.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from serving.publish import publish
from serving.reports import last_complete, subjects
from serving.reports.declaration import FOLDER, load
from serving.reports.making import make
from serving.snapshots import Snapshot, Snapshots
from tests.bench import result
from tests.serving import province

_REGIONS = 102


def main() -> None:
    """Measure once and write bench/results/reports.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events-a-day", type=int, default=20_000, help="rows of mart.event_daily on each of 63 days; default 20,000")
    parser.add_argument("--home", type=Path, help="measure over this lake's current snapshot instead")
    parser.add_argument("--no-peer", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as temporary:
        home = asked.home or _published(Path(temporary) / "lake", asked.events_a_day)
        snapshot = Snapshots(home).open()
        rows = snapshot.row("select count(*) as n from mart.event_daily")
        assert rows is not None
        one = _measure(Path(temporary) / "one", snapshot, at_a_time=1, count=1)
        ours = _measure(Path(temporary) / "all", snapshot, at_a_time=_REGIONS, count=_REGIONS)
        peer: dict[str, Any] = {"name": "none"}
        if not asked.no_peer:
            peer = {"name": "one region after the other", **_measure(Path(temporary) / "each", snapshot, at_a_time=1, count=_REGIONS)}
    print(result.write("reports", rows=rows["n"], ours=ours, peer=peer, one_report=one).read_text(encoding="utf-8"))


def _published(home: Path, a_day: int) -> Path:
    run = province.run_over(home, province.marts(a_day=a_day, silent=()))
    publish(run)
    return home


def _measure(folder: Path, snapshot: Snapshot, *, at_a_time: int, count: int) -> dict[str, Any]:
    report = load(FOLDER / "weekly")
    chosen = subjects.every(snapshot, report, "cn")[:count]
    period = last_complete(snapshot, report, "cn")
    own, children = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.monotonic()
    made = stopped = 0
    for start in range(0, len(chosen), at_a_time):
        found = make(folder, snapshot, report, chosen[start : start + at_a_time], period, ("docx", "html"))
        made, stopped = made + len(found.issues), stopped + len(found.stopped)
    seconds = time.monotonic() - started
    used = [(after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) for before, after in (
        (own, resource.getrusage(resource.RUSAGE_SELF)), (children, resource.getrusage(resource.RUSAGE_CHILDREN)),
    )]  # fmt: skip
    return {"seconds": round(seconds, 2), "cpu_seconds": round(sum(used), 2), "issues": made, "stopped": stopped}


if __name__ == "__main__":
    main()
