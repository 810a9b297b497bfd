"""What a running lander knows of itself, by feed and sender and by log, and the same numbers for Prometheus."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from streaming.receipts import Receipt
from streaming.rows import Delivery

# A rate is that of the last minute.
_WINDOW_SECONDS = 60.0
_STATES = ("accepted", "refused", "duplicate", "waiting")
_BY = ("feed", "sender")


@dataclass
class _Flow:
    """Rows of one feed and sender since this process began."""

    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(_STATES, 0))
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    newest: datetime | None = None

    def rate(self, now: float) -> float:
        while self.recent and self.recent[0][0] < now - _WINDOW_SECONDS:
            self.recent.popleft()
        return sum(rows for _, rows in self.recent) / _WINDOW_SECONDS


class Watch:
    """Counts what is landed; may be asked from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began = time.monotonic()
        self._flows: dict[tuple[str, str], _Flow] = {}
        self._landed: dict[Delivery, int] = {}
        self._ends: dict[Delivery, int] = {}
        self._stopped: set[Delivery] = set()

    def reach(self, ends: Mapping[Delivery, int]) -> None:
        """How far the logs go: the offset after the last record."""
        with self._lock:
            self._ends = dict(ends)

    def landed_to(self, log: Delivery, row: int) -> None:
        """How far a log is landed."""
        with self._lock:
            self._landed[log] = row

    def landed(self, receipt: Receipt) -> None:
        """A chunk is landed."""
        sent = receipt.chunk.delivery
        with self._lock:
            flow = self._flows.setdefault((sent.feed, sent.sender_code), _Flow())
            for state in _STATES:
                flow.rows[state] += getattr(receipt, state)
            flow.recent.append((time.monotonic(), receipt.received))
            if receipt.accepted:
                flow.newest = max(receipt.received_at, flow.newest or receipt.received_at)
            if sent.is_log:
                self._landed[sent] = receipt.chunk.last_row

    def stopped(self, log: Delivery) -> None:
        """A log of which records are missing is not landed any further."""
        with self._lock:
            self._stopped.add(log)

    def feeds(self) -> list[dict[str, Any]]:
        """For each feed and sender its rows by state, rate (rows/s over the last minute), refused share, and seconds since a row was accepted."""
        now = datetime.now(UTC)
        with self._lock:
            return [
                {
                    "feed": feed,
                    "sender": sender,
                    "received": sum(flow.rows.values()),
                    **flow.rows,
                    "rate": flow.rate(time.monotonic()),
                    "refused_share": flow.rows["refused"] / max(sum(flow.rows.values()), 1),
                    "freshness_seconds": (now - flow.newest).total_seconds() if flow.newest else None,
                }
                for (feed, sender), flow in sorted(self._flows.items())
            ]

    def logs(self) -> list[dict[str, Any]]:
        """For each log how far it is landed, where it ends, and the lag between them in records."""
        with self._lock:
            found = []
            for log in sorted(self._landed.keys() | self._ends.keys() | self._stopped, key=lambda d: d.id):
                landed, end = self._landed.get(log), self._ends.get(log)
                lag = max(end - 1 - landed, 0) if end is not None and landed is not None else None
                entry = {"log": log.id, "feed": log.feed, "sender": log.sender_code, "landed": landed, "end": end, "lag": lag}
                found.append(entry | {"is_stopped": log in self._stopped})
            return found

    def serve(self, port: int, address: str) -> tuple[Any, int]:
        """Answer /metrics at a port (0: any that is free); gives the server and the port."""
        registry = CollectorRegistry()
        registry.register(_Metrics(self))
        server, _ = start_http_server(port, address, registry)
        return server, int(server.server_port)


class _Metrics(Collector):
    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def collect(self) -> Iterable[Metric]:
        feeds, logs = self._watch.feeds(), self._watch.logs()
        rows = CounterMetricFamily("gridlake_landed_rows", "Rows received since the lander began, by what became of them.", labels=(*_BY, "state"))
        for entry in feeds:
            for state in _STATES:
                rows.add_metric([entry["feed"], entry["sender"], state], entry[state])
        yield rows
        yield from (
            _gauge(name, meaning, feeds, _BY, key)
            for name, meaning, key in (
                ("gridlake_landed_rows_per_second", "Rows received a second, over the last minute.", "rate"),
                ("gridlake_refused_share", "Refused rows of all received since the lander began.", "refused_share"),
                ("gridlake_freshness_seconds", "Seconds since the newest accepted row was received.", "freshness_seconds"),
            )
        )
        yield from (
            _gauge(name, meaning, logs, (*_BY, "log"), key)
            for name, meaning, key in (
                ("gridlake_log_lag_records", "Records of the log that are not landed yet.", "lag"),
                ("gridlake_log_landed_offset", "The last landed record's number.", "landed"),
                ("gridlake_log_stopped", "1 where records are missing and a person has to look.", "is_stopped"),
            )
        )


def _gauge(name: str, meaning: str, entries: Iterable[Mapping[str, Any]], labels: tuple[str, ...], key: str) -> Metric:
    gauge = GaugeMetricFamily(name, meaning, labels=labels)
    for entry in entries:
        if entry[key] is not None:
            gauge.add_metric([str(entry[label]) for label in labels], float(entry[key]))
    return gauge
