"""What the simulator says of its dirt is what the lander makes of it: no row more, no row fewer, and for no other reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from gridlake import contracts
from gridlake.runs import Run
from gridlake.settings import Settings
from streaming.landing import land
from streaming.simulator import simulate


@pytest.mark.parametrize("form", [{"format": "jsonl"}, {"format": "parquet", "spine": True}], ids=["jsonl", "parquet"])
def test_exactly_the_rows_that_the_truth_names_are_refused_each_for_its_reason(tmp_path: Path, form: dict[str, Any]) -> None:
    simulated = simulate(tmp_path / "inbox", days=45, events=2000, villages=20, **form)
    run = Run.start(Settings(home=tmp_path / "lake", inbox=tmp_path / "inbox"), quiet=True)
    landed = land(run)["feeds"]
    truth = pq.read_table(tmp_path / "inbox" / "_truth" / "dirt_truth.parquet").to_pylist()
    sources = {c.feed: c.source for c in contracts.load_all(Settings()).values()}
    for feed, rows in simulated["rows"].items():
        table = f"{sources[feed]}__{feed}"
        expected = {
            (f"files:{t['sender_code']}/{t['file_name']}", t["row_number"]): [(t["rule"], t["field"])]
            for t in truth
            if t["feed"] == feed and t["expected_state"] == "refused"
        }
        found = {}
        for row in run.tables.read(f"quarantine.{table}", columns=["_source_position", "reasons"]).to_pylist():
            delivery, _, number = row["_source_position"].rpartition("#")
            found[delivery.partition("@")[0], int(number)] = [(r["rule"], r["field"]) for r in row["reasons"]]
        assert found == expected, feed
        assert landed[table]["received"] == rows
        assert landed[table]["duplicate"] == sum(t["feed"] == feed and t["expected_state"] == "duplicate" for t in truth)
        assert landed[table]["accepted"] == rows - len(expected) - landed[table]["duplicate"]
