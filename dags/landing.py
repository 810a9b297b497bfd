"""收件与落地 (Airflow DAGs): the inbox is looked through by the clock or by hand; that starts a DAG for each feed, which lands what lies there.

A feed of the cities is landed by a task for each city that has sent something. A feed whose rows wait for another's starts after that one.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import reduce
from operator import and_
from typing import Any

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable, PartitionedAssetTimetable, get_current_context, get_parsing_context, task
from gridlake_dags.assets import CORRECTED, INBOX, bronze
from gridlake_dags.command import LABEL, SUMMARY, Gridlake, summary, tell
from gridlake_dags.declarations import PROJECT, Feed, feeds
from gridlake_dags.policy import policy
from gridlake_dags.pools import pool_of

# After midnight, when the day's deliveries are complete.
CLOCK = os.environ.get("GRIDLAKE_INBOX_CRON") or "0 2 * * *"
_COUNTS = ("received", "accepted", "refused", "duplicate", "waiting", "released", "deliveries", "already_landed")
_wanted = get_parsing_context().dag_id


class LookThrough(Gridlake):
    """Says what lies in the inbox."""

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """{"files": how many, "pending": {feed: {sender: files}}}."""
        pending = self.call(self.arguments)
        answer = {"files": sum(files for senders in pending.values() for files in senders.values()), "pending": pending}
        tell(context, INBOX, answer)
        return answer


class LandFeed(Gridlake):
    """Lands a feed of one sender; starts nothing where the inbox has nothing of it."""

    def __init__(self, *, feed: str, **given: Any) -> None:
        super().__init__(**given)
        self.feed = feed

    def execute(self, context: Mapping[str, Any]) -> dict[str, Any]:
        """The counts of this landing."""
        lying = _pending(context)
        if lying is None or lying.get(self.feed):
            return super().execute(context)
        answer: dict[str, Any] = {"feed": self.feed, **dict.fromkeys(_COUNTS, 0), "refused_pct": None}
        for outlet in self.outlets:
            tell(context, outlet, answer)
        return answer


def _pending(context: Mapping[str, Any]) -> dict[str, dict[str, int]] | None:
    """What the events that started this run say lies in the inbox; None where it was started by hand."""
    events = context.get("triggering_asset_events") or {}
    found = [event.extra["pending"] for asset, those in events.items() for event in those if "pending" in (event.extra or {})]
    if not found:
        return None
    return {feed: {sender: n for one in found for sender, n in one.get(feed, {}).items()} for feed in {f for one in found for f in one}}


def landing_dag(feed: Feed) -> DAG:
    """The DAG of one feed."""
    with DAG(
        dag_id=f"land__{feed.id}",
        dag_display_name=f"落地 · {feed.title}",
        description=feed.purpose,
        schedule=PartitionedAssetTimetable(assets=reduce(and_, (bronze(feeds()[above]) for above in feed.waits_for), INBOX)),
        tags=["落地", feed.source],
        doc_md=_page(feed),
        **policy(feed.owner, hours=2),
    ) as dag:
        if not feed.is_per_city:
            arguments = ["land", "feed", feed.asked]
            LandFeed(task_id="land", task_display_name="落地", feed=feed.id, arguments=arguments, outlets=[bronze(feed)], pool=pool_of(feed))
            return dag

        @task(task_id="senders", task_display_name="有来件的单位")
        def senders() -> list[dict[str, Any]]:
            lying = _pending(get_current_context())
            codes = feed.senders if lying is None else lying.get(feed.id, {})
            # '' lies in nobody's folder: the province's run takes it.
            return [{"arguments": ["land", "feed", feed.asked, "--sender", code], "shown_as": feed.senders.get(code, code)} for code in codes if code]

        @task(task_id="landed", task_display_name="汇总", outlets=[bronze(feed)], trigger_rule="none_failed")
        def landed(answers: Any) -> dict[str, Any]:
            found = list(answers or ())
            total: dict[str, Any] = {"feed": feed.id, **{name: sum(a[name] for a in found) for name in _COUNTS}}
            total["refused_pct"] = round(100 * total["refused"] / total["received"], 2) if total["received"] else None
            context = get_current_context()
            tell(context, bronze(feed), total)
            context["ti"].xcom_push(key=SUMMARY, value=summary(total))
            return {**total, "refusals": _added(a["refusals"] for a in found)}

        land = Gridlake.partial(task_id="land", task_display_name="逐市落地", pool=pool_of(feed), map_index_template=LABEL).expand_kwargs(senders())
        landed(land.output)
    return dag


def _added(counts: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for one in counts:
        for reason, rows in one.items():
            total[reason] = total.get(reason, 0) + rows
    return total


def _page(feed: Feed) -> str:
    senders = "、".join(f"{name}（{code}）" for code, name in feed.senders.items())
    above = "、".join(feeds()[other].title for other in feed.waits_for)
    return f"""### {feed.title} `{feed.asked}`

{feed.purpose}

| | |
|---|---|
| 责任单位 | {feed.owner} |
| 报送频次 | {feed.every} |
| 报送单位 | {senders or "尚无"} |
| 先落地 | {above or "无"} |
| 数据契约 | `{feed.path.relative_to(PROJECT) if feed.path.is_relative_to(PROJECT) else feed.path}` |

接收 = 采用 + 拒收 + 重复 + 待关联；各项行数和拒收比例见任务的 XCom，拒收原因见 `gridlake quarantine list --feed {feed.asked}`。
"""


if _wanted in (None, "inbox"):
    with DAG(
        dag_id="inbox",
        dag_display_name="① 清点收件箱",
        description="清点收件箱，逐项启动落地；其后各步由数据资产依次触发",
        schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable(CLOCK, timezone="Asia/Shanghai"), assets=[CORRECTED]),
        tags=["落地"],
        doc_md="每日一次（`GRIDLAKE_INBOX_CRON`），也可手动触发；补数、重新判定之后自行开始。各项数据随之落地，同一轮齐了即建库。",
        **policy(hours=1),
    ) as inbox:
        LookThrough(task_id="look", task_display_name="清点", arguments=["land", "pending"], outlets=[INBOX])

for _feed in feeds().values():
    if _wanted in (None, f"land__{_feed.id}"):
        globals()[f"land__{_feed.id}"] = landing_dag(_feed)
