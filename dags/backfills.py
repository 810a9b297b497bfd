"""补数 (Airflow DAGs): a DAG for each approved file of `backfills/`, which lands the days of its range and lets the lake be built again.

A day that was landed is passed over, so a run that was cut short is finished by another try.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import DAG, get_current_context, get_parsing_context, task
from gridlake_dags.assets import CORRECTED
from gridlake_dags.command import LABEL, SUMMARY, Gridlake, summary
from gridlake_dags.declarations import Backfill, DeclarationError, feeds
from gridlake_dags.declarations import backfills as approved
from gridlake_dags.policy import OWNER, policy
from gridlake_dags.pools import pool_of

# `@once` asks for one; any moment past will do.
STARTED = datetime(2026, 1, 1, tzinfo=UTC)
_wanted = get_parsing_context().dag_id


def backfill_dag(backfill: Backfill) -> DAG:
    """The DAG of one backfill; it starts by itself, once."""
    feed = next((f for f in feeds().values() if f.asked == backfill.feed), None)
    if feed is None:
        raise DeclarationError(f"backfills/{backfill.name}.yml: feed: expected <source>.<feed> of a contract, came {backfill.feed}; correct it")
    expected = [] if backfill.days_may_lack else ["--expect"]
    with DAG(
        dag_id=f"backfill__{backfill.name}",
        dag_display_name=f"补数 · {feed.title} {backfill.first} 至 {backfill.last}",
        description=backfill.reason,
        schedule="@once",
        start_date=STARTED,
        tags=["补数", feed.source],
        doc_md=f"### {feed.title} 补数\n\n{backfill.reason}\n\n申请：{backfill.asked_by}；批准：{backfill.approved_by}\n\n文件：`{backfill.folder}`",
        **policy(OWNER, hours=12),
    ) as dag:
        land = Gridlake.partial(task_id="land", task_display_name="逐日落地", pool=pool_of(feed), map_index_template=LABEL).expand_kwargs(
            [
                {
                    "arguments": ["land", "feed", feed.asked, "--inbox", backfill.folder, "--files", backfill.files.format(date=day), *expected],
                    "shown_as": f"{day}",
                }
                for day in backfill.days
            ]
        )

        @task(task_id="landed", task_display_name="汇总", outlets=[CORRECTED])
        def landed(answers: Any) -> dict[str, Any]:
            found = list(answers)
            total = {name: sum(a[name] for a in found) for name in ("received", "accepted", "refused", "duplicate", "waiting")}
            context = get_current_context()
            context["outlet_events"][CORRECTED].extra = {"backfill": backfill.name, **total}
            context["ti"].xcom_push(key=SUMMARY, value=summary(total))
            return total

        landed(land.output)
    return dag


for _backfill in approved():
    if _wanted in (None, f"backfill__{_backfill.name}"):
        globals()[f"backfill__{_backfill.name}"] = backfill_dag(_backfill)
