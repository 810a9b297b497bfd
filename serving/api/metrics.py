"""GET /metrics: how the published run's checks came out and how fresh its feeds were, for Prometheus."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pyarrow.dataset as ds
from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gridlake.settings import Settings
from gridlake.tables import Tables
from serving.api.answers import Reading
from serving.snapshots import Snapshot

router = APIRouter()

_RESULTS = "ops.check_result"
_FRESHNESS = "freshness."


@router.get("/metrics")
def read_metrics(request: Request, snapshot: Reading) -> Response:
    """The metrics of the current snapshot and of the run that published it, as text."""
    registry = CollectorRegistry()
    registry.register(_Published(Tables(Settings(home=request.app.state.home).tables), snapshot))
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


class _Published(Collector):
    def __init__(self, tables: Tables, snapshot: Snapshot) -> None:
        self._tables, self._snapshot = tables, snapshot

    def collect(self) -> Iterator[Metric]:
        """What is known, gauge by gauge; of checks nothing where the run's results are gone."""
        manifest = self._snapshot.manifest
        yield GaugeMetricFamily("gridlake_snapshot_as_of_seconds", "The moment that its numbers hold for", value=manifest.as_of.timestamp())
        yield GaugeMetricFamily("gridlake_snapshot_created_seconds", "When the snapshot was published", value=manifest.created_at.timestamp())
        checks = GaugeMetricFamily("gridlake_checks", "Checks of the published run by outcome, dbt's tests among them", labels=["outcome"])
        for outcome, count in sorted(manifest.checks.items()):
            checks.add_metric([outcome], count)
        yield checks
        rows = self._tables.read(_RESULTS, where=ds.field("run_id") == manifest.run_id).to_pylist() if self._tables.exists(_RESULTS) else []
        failed = GaugeMetricFamily("gridlake_check_failed", "Expectations that do not hold, by table and severity", labels=["table", "severity"])
        for (table, severity), count in sorted(Counter((r["table_name"], r["severity"]) for r in rows if not r["success"]).items()):
            failed.add_metric([table, severity], count)
        yield failed
        late = GaugeMetricFamily("gridlake_feed_late_senders", "Senders silent for longer than the feed's contract promises", labels=["feed"])
        for row in sorted(rows, key=lambda r: str(r["suite"])):
            if row["suite"].startswith(_FRESHNESS):
                late.add_metric([row["suite"].removeprefix(_FRESHNESS)], row["unexpected_count"] or 0)
        yield late
