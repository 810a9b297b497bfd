"""Who is told when a task has failed for good or a run is late: a line of JSON in the file GRIDLAKE_ALERTS, and a POST to GRIDLAKE_ALERT_URL.

An alert names DAG, run and task and repeats what gridlake said, which holds no value of a row.
"""

from __future__ import annotations

import json
import logging
import os
import urllib.request
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

_SECONDS = 10
# How many of the reasons for which reports were stopped, or not sent, an alert or a failure repeats.
REASONS = 5
_log = logging.getLogger(__name__)


def task_failed(context: dict[str, Any]) -> None:
    """A task has failed, its retries are used up."""
    instance = context["ti"]
    _tell("task_failed", instance.dag_id, instance.run_id, task=instance.task_id, map_index=instance.map_index, said=str(context.get("exception")))


def reports_stopped(context: Mapping[str, Any], report: str, why: Sequence[str]) -> None:
    """Some reports were made and others not."""
    instance = context["ti"]
    _tell("reports_stopped", instance.dag_id, instance.run_id, report=report, stopped=len(why), said=list(why[:REASONS]))


def deadline_missed(**given: Any) -> None:
    """A run of a DAG has not ended in time."""
    run = (given.get("context") or {}).get("dag_run") or {}
    _tell("deadline_missed", str(run.get("dag_id")), str(run.get("dag_run_id") or run.get("run_id")), hours=given.get("hours"))


def _tell(kind: str, dag: str, run: str, **about: Any) -> None:
    alert = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "alert": kind, "dag": dag, "run": run, **about}
    _log.error("告警 %s", json.dumps(alert, ensure_ascii=False))
    if path := os.environ.get("GRIDLAKE_ALERTS"):
        with Path(path).open("a", encoding="utf-8") as alerts:
            alerts.write(json.dumps(alert, ensure_ascii=False) + "\n")
    if url := os.environ.get("GRIDLAKE_ALERT_URL"):
        request = urllib.request.Request(url, json.dumps(alert).encode(), {"Content-Type": "application/json"})  # noqa: S310 - whoever installs it says where
        try:
            urllib.request.urlopen(request, timeout=_SECONDS).close()  # noqa: S310 - as above
        except OSError as error:
            _log.error("告警未送达 %s: %s", url, error)
