"""GET /metrics tells Prometheus what the published run's checks found."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from gridlake import quality
from gridlake.runs import Run
from serving.api import create_app
from serving.publish import publish
from tests.serving import province


def result(run: Run, suite: str, table: str, *, success: bool, unexpected: int, run_id: str | None = None) -> dict[str, object]:
    named = {"run_id": run_id or run.run_id, "suite": suite, "table_name": table, "success": success, "unexpected_count": unexpected}
    return {**named, "expectation": "x", "column_name": None, "severity": "warning", "observed": "", "checked_at": datetime(2026, 3, 3, tzinfo=UTC)}


@pytest.fixture
def metrics(marts: dict[str, pa.Table], tmp_path: Path) -> dict[str, dict[tuple[str, ...], float]]:
    run = province.run_over(tmp_path / "lake", {name: table.slice(0, 50) for name, table in marts.items()})
    rows = [
        result(run, "freshness.city_platform__event", "bronze.city_platform__event", success=False, unexpected=3),
        result(run, "freshness.city_platform__grid", "bronze.city_platform__grid", success=True, unexpected=0),
        result(run, "set.refusals_are_few", "mart.feed_quality", success=False, unexpected=1),
        result(run, "set.refusals_are_few", "mart.feed_quality", success=False, unexpected=1, run_id="an earlier one"),
    ]
    run.tables.overwrite(quality.TABLE, pa.Table.from_pylist(rows, quality.SCHEMA))
    publish(run)
    answer = TestClient(create_app(run.settings)).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {f.name: {tuple(sorted(s.labels.values())): s.value for s in f.samples} for f in families}


def test_metrics_tell_late_feeds_failed_checks_and_the_clock_of_the_published_run(metrics: dict[str, dict[tuple[str, ...], float]]) -> None:
    assert metrics["gridlake_feed_late_senders"] == {("city_platform__event",): 3, ("city_platform__grid",): 0}
    assert metrics["gridlake_check_failed"] == {("bronze.city_platform__event", "warning"): 1, ("mart.feed_quality", "warning"): 1}
    assert metrics["gridlake_checks"] == {("passed",): 12, ("failed",): 1}
    assert metrics["gridlake_snapshot_as_of_seconds"] == {(): province.AS_OF.timestamp()}
