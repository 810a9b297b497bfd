"""报告 (Airflow DAGs): a DAG for each report, started by a snapshot or by the day on which the report is due, whichever comes last.

Due is the first workday after the period, by the Chinese work calendar.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pendulum
from airflow.sdk import DAG, get_parsing_context, task

# Those of airflow.sdk 1.3.2 write an EventsTimetable that the scheduler cannot read within another (KeyError: '_summary').
from airflow.timetables.assets import AssetOrTimeSchedule
from airflow.timetables.events import EventsTimetable
from gridlake_dags.assets import SNAPSHOT
from gridlake_dags.command import Gridlake
from gridlake_dags.declarations import Report, reports
from gridlake_dags.policy import policy
from gridlake_dags.pools import LAKE_POOL
from gridlake_dags.workdays import due_moments, last_due

PERIODS = {"week": "每周", "month": "每月", "quarter": "每季", "year": "每年"}
_wanted = get_parsing_context().dag_id


class Render(Gridlake):
    """Renders from the snapshot that started this run; from the current one where the clock or somebody did."""

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The paths of what was rendered."""
        events = context.get("triggering_asset_events") or {}
        published = [event.extra["run_id"] for those in events.values() for event in those if "run_id" in (event.extra or {})]
        if published:
            self.arguments = [*self.arguments, "--run-id", published[-1]]
        return super().execute(context)


def report_dag(report: Report) -> DAG:
    """The DAG of one report."""
    when = f"{PERIODS[report.period]}结束后第一个工作日 {report.hour}:{report.minute:02}"
    moments = [pendulum.instance(moment) for moment in due_moments(report)]
    with DAG(
        dag_id=f"report__{report.name}",
        dag_display_name=f"③ 报告 · {report.title}",
        description=f"{when}，或其后有新快照时",
        schedule=AssetOrTimeSchedule(assets=[SNAPSHOT], timetable=EventsTimetable(moments, description=when)),
        tags=["报告"],
        doc_md=f"### {report.title}\n\n{when}出具；未到期的快照不出。缺数、空查询或未完的周期不出报告，任务失败并说明原因。",
        **policy(hours=2),
    ) as dag:

        @task.short_circuit(task_id="due", task_display_name="是否到期")
        def due() -> bool:
            # GRIDLAKE_AS_OF fixes 'now' here as it does for the run.
            fixed = os.environ.get("GRIDLAKE_AS_OF")
            now = datetime.fromisoformat(fixed) if fixed else datetime.now(UTC)
            _, moment = last_due(report, now)
            return now >= moment

        render = Render(task_id="render", task_display_name="出报告", arguments=["report"], pool=LAKE_POOL)
        due() >> render
    return dag


for _report in reports():
    if _wanted in (None, f"report__{_report.name}"):
        globals()[f"report__{_report.name}"] = report_dag(_report)
