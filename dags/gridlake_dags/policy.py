"""What all DAGs share: who owns them, how often a task is tried again, when somebody is told, who may write."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.sdk import DeadlineAlert, DeadlineReference, SyncCallback

from gridlake_dags.alerts import deadline_missed, task_failed

OWNER = "基层治理数据平台"


def policy(owner: str = OWNER, *, hours: int) -> dict[str, Any]:
    """Arguments of a DAG. A step may be killed and repeated: what it has done is not done again."""
    return {
        "catchup": False,
        "max_active_runs": 1,
        "default_args": {
            "owner": owner,
            "retries": 3,
            "retry_delay": timedelta(seconds=20),
            "retry_exponential_backoff": 2.0,
            "max_retry_delay": timedelta(minutes=30),
            "execution_timeout": timedelta(hours=hours),
            "on_failure_callback": task_failed,
        },
        "deadline": DeadlineAlert(
            reference=DeadlineReference.DAGRUN_QUEUED_AT,
            interval=timedelta(hours=hours),
            callback=SyncCallback(deadline_missed, kwargs={"hours": hours}),
        ),
    }
