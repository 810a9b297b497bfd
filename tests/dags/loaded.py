"""Prints the DAGs as Airflow loads them, as JSON; runs in Airflow's own environment, with the folder of DAGs as its argument."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import BundleDagBag
from airflow.sdk import Asset
from airflow.serialization.serialized_objects import DagSerialization


def task(found: Any) -> dict[str, Any]:
    """What is asked of a task; of a mapped one its arguments, one list each time it is mapped, where they are written in the file."""
    given = found.partial_kwargs if found.is_mapped else {}
    mapped = getattr(found, "expand_input", None)
    literal = mapped.value if mapped is not None and isinstance(mapped.value, list) else []
    arguments = [one["arguments"] for one in literal] or [getattr(found, "arguments", [])]
    return {
        "id": found.task_id,
        "title": found.task_display_name,
        "type": found.task_type,
        "arguments": arguments,
        "pool": found.pool,
        "owner": found.owner,
        "retries": found.retries,
        "backs_off": bool(found.retry_exponential_backoff),
        "tells": bool(given.get("on_failure_callback") if given else found.on_failure_callback),
        "when": str(getattr(found.trigger_rule, "value", found.trigger_rule)),
        "above": sorted(found.upstream_task_ids),
        "outlets": [o.uri for o in found.outlets if isinstance(o, Asset)],
    }


def awaited(condition: Any) -> set[str]:
    """The assets that a schedule names."""
    if hasattr(condition, "uri"):
        return {condition.uri}
    return {uri for part in getattr(condition, "objects", ()) for uri in awaited(part)}


def main(folder: Path) -> dict[str, Any]:
    """Every DAG, what could not be imported, and how long all of it took."""
    started = time.monotonic()
    bag = BundleDagBag(folder, bundle_path=folder, bundle_name="dags-folder")
    seconds = time.monotonic() - started
    dags = {}
    for dag in bag.dags.values():
        # As the scheduler reads it.
        DagSerialization.from_dict(DagSerialization.to_dict(dag))
        dags[dag.dag_id] = {
            "title": dag.dag_display_name,
            "doc": dag.doc_md or "",
            "deadlines": len(dag.deadline or []),
            "most_runs": dag.max_active_runs,
            "awaits": sorted(awaited(getattr(dag.timetable, "asset_condition", None))),
            "timetable": type(dag.timetable).__name__,
            "tasks": {t.task_id: task(t) for t in dag.tasks},
        }
    return {"seconds": seconds, "errors": bag.import_errors, "dags": dags}


if __name__ == "__main__":
    with contextlib.redirect_stdout(sys.stderr):
        document = main(Path(sys.argv[1]))
    print(json.dumps(document, ensure_ascii=False))
