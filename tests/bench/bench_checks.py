"""Decoding and checking rows, each broken rule with its row; the peer is pandas and Great Expectations on the same rows and rules.

Both begin with JSON lines in memory, on one core. Great Expectations is asked for the places of the rows that break an expectation, since that is
what refusing a row takes; its pandas engine is its fastest for rows in memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import duckdb

from tests.bench import bench_landing, result

ROWS = int(os.environ.get("GRIDLAKE_BENCH_ROWS", "200000"))
_TIMES = ("occurred_at", "reported_at", "deadline_at", "closed_at", "changed_at")


def main() -> None:
    """Measure once and write bench/results/checks.json."""
    bench_landing.ROWS = ROWS
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as name:
        bench_landing.generate(Path(name), ROWS)
        ours, peer = _measured("ours", name), _measured("peer", name)
    if ours.pop("refused") != peer.pop("refused"):
        raise SystemExit("the two do not refuse the same rows")
    more = {"name": "pandas and Great Expectations"}
    print(result.write("checks", rows=ROWS, ours=ours, peer=more | peer, cores=1).read_text(encoding="utf-8"))


def _measured(side: str, folder: str) -> dict[str, Any]:
    done = subprocess.run([sys.executable, "-m", "tests.bench.bench_checks", side, folder], check=True, stdout=subprocess.PIPE, text=True)
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measured


def _lines(folder: Path) -> list[bytes]:
    return [line for path in sorted(folder.rglob("*.jsonl")) for line in path.read_bytes().splitlines()]


def _ours(folder: Path) -> dict[str, Any]:
    import numpy as np

    from gridlake.regions import RegionTree
    from gridlake.runs import Run
    from gridlake.settings import Settings
    from streaming.checks import Checks
    from streaming.decoder import Decoder

    run = Run.start(Settings(home=folder / "lake"), quiet=True)
    contract = run.contracts["city_platform__event"]
    decoder, checks = Decoder(contract), Checks(contract, run.vocabularies, RegionTree(run.vocabularies.regions))
    raw, sender = _lines(folder), [run.senders[bench_landing.SENDER]]

    def work() -> list[int]:
        refused = []
        for start in range(0, len(raw), 100_000):
            decoded = decoder.lines(raw[start : start + 100_000])
            reasons, _ = checks.check(decoded, sender, np.zeros(len(decoded), np.int64), run.received_at)
            refused += (np.flatnonzero(decoded.unread | reasons.mask(len(decoded))) + start).tolist()
        return refused

    refused, cost = bench_landing.timed(work)
    return cost | {"refused": refused}


def _peer(folder: Path) -> dict[str, Any]:
    os.environ["GX_ANALYTICS_ENABLED"] = "False"
    import great_expectations as gx
    import great_expectations.expectations as gxe
    import pandas as pd
    from great_expectations.data_context.types.base import ProgressBarsConfig

    vocabularies = result.CHECKOUT / "expectations" / "vocabularies"

    def codes(name: str, column: str = "code", where: str = "true") -> list[str]:
        query = f"select {column} from read_csv('{vocabularies}/{name}.csv', all_varchar = true) where {where}"
        return [row[0] for row in duckdb.sql(query).fetchall()]

    expectations = [
        *(gxe.ExpectColumnValuesToNotBeNull(column=c) for c in ("event_id", "class_code", "level_code", "region_code", "state_code")),
        *(gxe.ExpectColumnValuesToNotBeNull(column=c) for c in ("occurred_at", "reported_at")),
        gxe.ExpectColumnValuesToBeOfType(column="source_version", type_="int"),
        gxe.ExpectColumnValuesToBeInSet(column="class_code", value_set=codes("event_class")),
        gxe.ExpectColumnValuesToBeInSet(column="level_code", value_set=codes("event_level")),
        gxe.ExpectColumnValuesToBeInSet(column="state_code", value_set=codes("event_state")),
        gxe.ExpectColumnValuesToBeInSet(column="channel_code", value_set=codes("event_channel")),
        gxe.ExpectColumnValuesToBeInSet(column="region_code", value_set=codes("regions_cn", "region_code", "region_code like '3301%'")),
        gxe.ExpectColumnValuesToMatchRegex(column="event_id", regex=r"^[A-Za-z0-9_\-]+$"),
        gxe.ExpectColumnValuesToBeBetween(column="longitude", min_value=73, max_value=136),
        gxe.ExpectColumnValuesToBeBetween(column="latitude", min_value=3, max_value=54),
        *(
            gxe.ExpectColumnPairValuesAToBeGreaterThanB(column_A=a, column_B=b, or_equal=True, ignore_row_if="either_value_is_missing")
            for a, b in (("reported_at", "occurred_at"), ("closed_at", "reported_at"), ("deadline_at", "reported_at"))
        ),
    ]
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    asset = context.data_sources.add_pandas("memory").add_dataframe_asset("rows")
    batches = asset.add_batch_definition_whole_dataframe("rows")
    raw = _lines(folder)

    def work() -> list[int]:
        frame = pd.DataFrame.from_records(map(json.loads, raw)).astype({"source_version": object})
        for name in _TIMES:
            frame[name] = pd.to_datetime(frame[name], format="%Y-%m-%d %H:%M:%S", errors="coerce")
        found = batches.get_batch({"dataframe": frame}).validate(gx.ExpectationSuite("event", expectations=expectations), result_format="COMPLETE")
        return sorted({row for each in found.results for row in each.result.get("unexpected_index_list") or []})

    refused, cost = bench_landing.timed(work)
    return cost | {"refused": refused}


if __name__ == "__main__":
    bench_landing.ROWS = ROWS
    if len(sys.argv) == 1:
        main()
    else:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps({"ours": _ours, "peer": _peer}[sys.argv[1]](Path(sys.argv[2]))))
