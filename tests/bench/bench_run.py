"""The whole run on the default province, per step; the peer is the machine's bound for the same rows: DuckDB reading the inbox and counting.

The bound says how far we are from what two cores could do with no contract, no checks, no history and no report.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb

from tests.bench import result

GRIDLAKE = str(Path(sys.executable).parent / "gridlake")


def main() -> None:
    """Measure once and write bench/results/run.json."""
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as folder:
        inbox, home = Path(folder) / "inbox", Path(folder) / "lake"
        subprocess.run([GRIDLAKE, "simulate", "--inbox", str(inbox)], check=True, stdout=subprocess.DEVNULL)
        started = time.monotonic()
        done = subprocess.run([GRIDLAKE, "run", "--input", str(inbox), "--home", str(home), "--json"], check=True, capture_output=True, text=True)
        seconds = time.monotonic() - started
        document = json.loads(done.stdout)
        rows = sum(feed["received"] for feed in document["feeds"].values())
        started = time.monotonic()
        counted = duckdb.sql(
            f"select region_code, strftime(try_cast(reported_at as timestamp), '%Y-%m-%d') as day, count(*) as n "
            f"from read_json('{inbox}/city_platform/event/*/*', ignore_errors = true, format = 'newline_delimited', "
            "columns = {region_code: 'varchar', reported_at: 'varchar'}) group by all"
        ).fetchall()
        bound = time.monotonic() - started
        path = result.write(
            "run",
            rows=rows,
            ours={
                "seconds": round(seconds, 1),
                "rows_per_second": round(rows / seconds),
                "peak_rss_mb": document["peak_rss_mb"],
                "steps": document["step_seconds"],
            },
            peer={"name": "DuckDB counts the event files only", "seconds": round(bound, 2), "groups": len(counted)},
        )
        print(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
