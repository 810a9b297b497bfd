"""报告 (Airflow DAGs): a DAG for each report, started by a snapshot or by the day on which it is due; and the calendar that tells of that day.

Due is the first workday after the period, by the Chinese work calendar. A run of the lake makes the reports of the top region anew; these DAGs issue
those of all regions, or of all senders, for the period that was due last.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pendulum
from airflow.sdk import DAG, PartitionedAssetTimetable, TriggerRule, get_current_context, get_parsing_context, task
from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

# That of airflow.sdk 1.3.2 is written without what the scheduler reads it by (KeyError: '_summary').
from airflow.timetables.events import EventsTimetable
from gridlake_dags.alerts import REASONS, reports_stopped
from gridlake_dags.assets import SNAPSHOT, due
from gridlake_dags.command import LABEL, Gridlake, tell
from gridlake_dags.declarations import Report, reports
from gridlake_dags.policy import policy
from gridlake_dags.pools import LAKE_POOL
from gridlake_dags.workdays import due_moments, last_due

# Without it nothing is mailed. What else a mail needs is read by gridlake: docs/how-to/reports.md.
MAIL_SERVER = "GRIDLAKE_SMTP"
PERIODS = {"week": "每周", "month": "每月", "year": "每年"}
_wanted = get_parsing_context().dag_id


class MakeReport(Gridlake):
    """Makes one report of every region or sender. Which are stopped is told; none made, or a due period whose data have not come, is a failure."""

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """{"snapshot": id, "issues": [{folder, edition, …}], "stopped": [why]}."""
        answer = super().execute(context)
        if answer["stopped"]:
            reports_stopped(context, self.arguments[2], answer["stopped"])
        # A later one than is due yet, on a holiday, is a draft that is made again when it is due. Names of one kind of period sort by time.
        if earlier := sorted(period for issue in answer["issues"] if (period := Path(issue["folder"]).parts[-3]) < self.shown_as):
            raise AirflowFailException(f"{self.shown_as} 已到期，数据未到齐，只能出到 {earlier[-1]}；补齐数据后自动再出")
        return answer

    def accepts(self, answer: Mapping[str, Any]) -> bool:
        """A region without numbers does not hold up the others."""
        return bool(answer.get("issues"))

    def failure(self, answer: Mapping[str, Any], otherwise: str) -> Exception:
        """Data that begin within the period are no failure; that all were stopped is one."""
        if stopped := answer.get("stopped"):
            return AirflowFailException("；".join(stopped[:REASONS]))
        return AirflowSkipException("数据尚不足一个完整周期") if "issues" in answer else super().failure(answer, otherwise)


class SendReport(Gridlake):
    """Mails what is signed off of one report. What a server did not take for now is tried again; an address that it refuses has to be corrected."""

    def failure(self, answer: Mapping[str, Any], otherwise: str) -> Exception:
        """The server's words; of what was not taken only for now a failure that is tried again."""
        if "sent_before" not in answer:
            return super().failure(answer, otherwise)
        wrong = [
            f"{entry['subject_name']} {entry['recipient']}：{entry['code']} {entry['words']}" for entry in answer["deferred"] + answer["refused"]
        ]
        said = "；".join([*answer["stopped"], *wrong][:REASONS])
        return AirflowException(said) if answer["deferred"] else AirflowFailException(said)


def report_dag(report: Report) -> DAG:
    """The DAG of one report."""
    day = f"第 {report.days_after + 1} 日起的" if report.days_after else ""
    when = f"{PERIODS[report.period]}结束后{day}第一个工作日 {report.hour}:{report.minute:02}"
    meaning = f"{when}出具各地的报告；其后每有新快照再出一次，数字未变的不变。缺数、空查询或未完的周期不出报告，任务失败并说明原因。"
    is_mailed = bool(report.recipients and os.environ.get(MAIL_SERVER))
    if is_mailed:
        meaning += f"签发的寄送{'、'.join(report.recipients)}，一版一次。"
    with DAG(
        dag_id=f"report__{report.name}",
        dag_display_name=f"③ 报告 · {report.title}",
        description=f"{when}，或其后有新快照时",
        schedule=PartitionedAssetTimetable(assets=SNAPSHOT | due(report)),
        tags=["报告"],
        doc_md=f"### {report.title}\n\n{meaning}",
        **policy(hours=2),
    ) as dag:

        @task(task_id="due", task_display_name="到期的周期")
        def periods_due() -> list[dict[str, Any]]:
            # GRIDLAKE_AS_OF fixes 'now' here as it does for the run.
            fixed = os.environ.get("GRIDLAKE_AS_OF")
            _, periods = last_due(report, datetime.fromisoformat(fixed) if fixed else datetime.now(UTC))
            events: Any = get_current_context().get("triggering_asset_events") or {}
            published = [event.extra["snapshot"]["id"] for those in events.values() for event in those if "snapshot" in (event.extra or {})]
            snapshot = ["--snapshot", published[-1]] if published else []
            asked = ["report", "make", report.name, "--all", *snapshot]
            # Of the newest one the command says itself whether the data reach so far.
            named = [["--period", period] for period in periods[:-1]]
            return [{"arguments": [*asked, *which], "shown_as": period} for period, which in zip(periods, [*named, []], strict=True)]

        made = MakeReport.partial(task_id="make", task_display_name="出报告", pool=LAKE_POOL, map_index_template=LABEL).expand_kwargs(periods_due())
        if is_mailed:
            # Where there is no whole period yet, what was signed before is sent all the same.
            made >> SendReport(
                task_id="send",
                task_display_name=f"寄送{'、'.join(report.recipients)}",
                arguments=["report", "send", report.name],
                trigger_rule=TriggerRule.NONE_FAILED,
            )
    return dag


def calendar_dag() -> DAG:
    """The DAG that tells on which day which report is due."""
    moments = sorted({moment for report in reports() for moment in due_moments(report)})
    with DAG(
        dag_id="calendar",
        dag_display_name="⓪ 报告日历",
        description="到期日通知各报告；周末、节假日顺延到第一个工作日，调休上班的算工作日",
        schedule=EventsTimetable([pendulum.instance(moment) for moment in moments], presorted=True, description="各报告的到期日"),
        tags=["报告"],
        doc_md="工作日历见 `expectations/vocabularies/work_calendar.csv`，每年公布后补一年。手动触发则通知全部报告。",
        **policy(hours=1),
    ) as dag:
        for report in reports():

            @task(task_id=report.name, task_display_name=f"{report.title}到期", outlets=[due(report)])
            def remind(report: Report = report) -> str:
                context = get_current_context()
                moment = context["dag_run"].logical_date
                if moment is not None and moment not in due_moments(report):
                    raise AirflowSkipException(f"{report.title}不在 {moment} 到期")
                tell(context, due(report), {"report": report.name})
                return report.name

            remind()
    return dag


if _wanted in (None, "calendar"):
    calendar = calendar_dag()
for _report in reports():
    if _wanted in (None, f"report__{_report.name}"):
        globals()[f"report__{_report.name}"] = report_dag(_report)
