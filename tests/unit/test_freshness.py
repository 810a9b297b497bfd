"""A feed later than its contract promises is told with its days; corrections of receipts and feeds that never came are not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from gridlake import contracts, freshness
from gridlake.contracts.compile import RECEIPT_SCHEMA
from gridlake.freshness import Freshness
from gridlake.runs import Run
from gridlake.settings import Settings

EVENT, GRID = "city_platform__event", "city_platform__grid"
NOW = datetime(2026, 3, 10, tzinfo=UTC)


def measured(home: Path, receipts: list[tuple[str, str, float, str]]) -> dict[str, Freshness]:
    """By feed what is found, given receipts as (feed, sender, days before now, state)."""
    run = Run.start(Settings(home=home, contracts=None, as_of=NOW), quiet=True)
    rows = [
        {**dict.fromkeys(RECEIPT_SCHEMA.names), "feed": feed, "sender_code": sender, "received_at": NOW - timedelta(days=days), "state": state}
        for feed, sender, days, state in receipts
    ]
    run.tables.overwrite("ops.receipt", pa.Table.from_pylist(rows, RECEIPT_SCHEMA))
    run.take_cut()
    return {found.feed: found for found in freshness.measure(run)}


def test_a_feed_beyond_frequency_and_latency_is_late_by_days(tmp_path: Path) -> None:
    found = measured(
        tmp_path / "lake", [(EVENT, "330100000000", 1.5, "landed"), (EVENT, "330200000000", 4.5, "landed"), (EVENT, "330200000000", 9, "landed")]
    )
    late = found[EVENT]
    assert late.promised == timedelta(days=2)
    assert (late.sender_code, late.late_count, late.sender_count) == ("330200000000", 1, 2)
    assert late.days_late == pytest.approx(2.5)


def test_a_monthly_feed_has_its_month(tmp_path: Path) -> None:
    found = measured(tmp_path / "lake", [(GRID, "330100000000", 20, "landed")])
    assert found.keys() == {GRID}
    assert found[GRID].days_late < 0


def test_an_empty_file_is_a_delivery_and_a_correction_is_none(tmp_path: Path) -> None:
    assert measured(tmp_path / "a" / "lake", [(EVENT, "330100000000", 0.5, "empty")])[EVENT].days_late < 0
    found = measured(tmp_path / "b" / "lake", [(EVENT, "330100000000", 8, "landed"), (EVENT, "330100000000", 0.5, "replayed")])
    assert found[EVENT].days_late == pytest.approx(6)


def test_a_contract_without_a_frequency_promises_nothing() -> None:
    event = contracts.load_all(Settings(contracts=None))[EVENT]
    assert freshness.promised(replace(event, sla=({"property": "latency", "value": 1, "unit": "d"},))) is None


def test_every_contract_promises_in_units_that_are_known() -> None:
    feeds = contracts.load_all(Settings(contracts=None))
    assert [c.id for c in feeds.values() if freshness.promised(c) is None] == []
