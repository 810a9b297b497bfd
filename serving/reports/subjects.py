"""Whom a report is of: a region, or a sender."""

from __future__ import annotations

import re
from dataclasses import dataclass

from gridlake.regions import LEVELS
from serving import regions
from serving.reports.declaration import Report, ReportStopped
from serving.snapshots import Snapshot

# Which regions are directly below, where their system has no names for its levels.
_BELOW = "下级区域"


@dataclass(frozen=True)
class Subject:
    """One region, or one sender with the region that it answers for (None: every region of the system)."""

    kind: str
    system: str
    code: str
    name: str
    level: int | None = None
    region_code: str | None = None
    sender_code: str | None = None

    @property
    def key(self) -> str:
        """What its rows carry in the column `subject`."""
        return self.code

    @property
    def file_name(self) -> str:
        """Its code as a file is named; equal names need equal codes."""
        # A code of a foreign system may hold slashes and spaces.
        return re.sub(r"[^A-Za-z0-9._-]", lambda sign: f"~{sign[0].encode().hex()}", self.code)

    @property
    def below(self) -> str:
        """What the regions directly below are called."""
        return LEVELS.get((self.level or 0) + 1, _BELOW) if self.system == "cn" else _BELOW


def roots(snapshot: Snapshot, system: str) -> list[Subject]:
    """The top regions of a region system."""
    return [_region(row) for row in regions.roots(snapshot) if row["region_system"] == system]


def every(snapshot: Snapshot, report: Report, system: str) -> list[Subject]:
    """Every subject of a report in a region system: the regions of its levels, or the senders that have sent something."""
    if report.per == "sender":
        return _senders(snapshot, system)
    levels = ", ".join(str(level) for level in report.levels)
    rows = snapshot.rows(
        f"select * from mart.region where region_system = $system and region_level in ({levels}) order by region_level, region_code",
        {"system": system},
    )
    return [_region(row) for row in rows]


def find(snapshot: Snapshot, report: Report, code: str) -> Subject:
    """The subject of that code; raises ReportStopped where the snapshot has none."""
    if report.per == "sender":
        found = [s for system in snapshot.manifest.region_systems for s in _senders(snapshot, system) if s.code == code]
        if len(found) == 1:
            return found[0]
        raise ReportStopped(
            f"{report.name}: expected a sender of snapshot {snapshot.id} that has sent something, came {code}; `gridlake sender list`"
        )
    try:
        return _region(regions.find(snapshot, code))
    except regions.UnknownRegion as error:
        raise ReportStopped(f"{report.name}: expected a region of snapshot {snapshot.id}: {error}") from None


def _region(row: regions.Row) -> Subject:
    return Subject("region", row["region_system"], row["region_code"], row["region_name"], row["region_level"], row["region_code"])


def _senders(snapshot: Snapshot, system: str) -> list[Subject]:
    feeds = [name for name, feed in snapshot.dictionary["feeds"].items() if feed["region_system"] == system]
    rows = snapshot.rows(
        """
        select sender_code, min(s.sender_name) as sender_name, min(nullif(s.region_code, '*')) as region_code
        from mart.sender as s
        where sender_code in (select sender_code from mart.feed_quality where feed in (select unnest($feeds)))
        group by sender_code
        order by sender_code
        """,
        {"feeds": feeds},
    )
    return [Subject("sender", system, r["sender_code"], r["sender_name"], None, r["region_code"], r["sender_code"]) for r in rows]
