"""What DAGs hand to each other: an inbox that was looked through, a feed's bronze table, a snapshot. The only way in which one starts another.

A look through the inbox begins a round, whose name is the partition of every event that follows from it: a DAG that awaits several assets starts
when all of them are there of one round, and a feed that is late in one round is not taken for early in the next.
"""

from __future__ import annotations

from airflow.sdk import Asset

from gridlake_dags.declarations import Feed, Report

# Somebody has looked what lies in the inbox; the event's extra says it: {"pending": {feed: {sender: files}}}.
INBOX = Asset(name="收件箱已清点", uri="gridlake://lake/inbox", group="落地")
# Rows have come to bronze outside of a round: a backfill, a replay.
CORRECTED = Asset(name="补数或重新判定已落地", uri="gridlake://lake/corrected", group="落地")
# {"snapshot": id, "run_id": id}
SNAPSHOT = Asset(name="已发布快照", uri="gridlake://lake/snapshot", group="发布")


def due(report: Report) -> Asset:
    """The day on which a report is due has come; the partition is the moment."""
    return Asset(name=f"到期 {report.title}", uri=f"gridlake://calendar/{report.name}", group="报告")


def bronze(feed: Feed) -> Asset:
    """A feed that was landed; the extra has its counts."""
    return Asset(name=f"已落地 {feed.title}", uri=f"gridlake://lake/bronze/{feed.id}", group="落地")
