"""Regions of a snapshot: roots, one region with its path, children. Shared by the interface, the pages and the reports."""

from __future__ import annotations

from typing import Any

from serving.snapshots import Snapshot

Row = dict[str, Any]


class UnknownRegion(LookupError):
    """No region of that code, or regions of that code in several systems (`systems` lists them)."""

    def __init__(self, code: str, systems: list[str]) -> None:
        super().__init__(f"region {code!r}: {'in systems ' + ', '.join(systems) if systems else 'unknown'}")
        self.code, self.systems = code, systems


# A region nothing happened in has no row of its own among the overviews.
_NUMBERED = """
    select r.region_system, r.region_code, r.region_name, r.region_level, r.parent_code,
           coalesce(o.event_count, 0) as event_count, coalesce(o.event_count_7d, 0) as event_count_7d,
           coalesce(o.event_count_previous_7d, 0) as event_count_previous_7d, coalesce(o.open_count, 0) as open_count,
           coalesce(o.overdue_count, 0) as overdue_count, coalesce(o.invalid_count, 0) as invalid_count,
           round(o.closed_pct, 2) as closed_pct, coalesce(o.grid_count, 0) as grid_count, coalesce(o.member_count, 0) as member_count
    from mart.region as r left join mart.region_overview as o on o.region_system = r.region_system and o.region_code = r.region_code
"""


def roots(snapshot: Snapshot) -> list[Row]:
    """The top regions of every region system, with their numbers; systems that sent nothing come last."""
    return snapshot.rows(f"{_NUMBERED} where r.parent_code is null order by coalesce(o.event_count, 0) = 0, r.region_system, r.region_code")


def find(snapshot: Snapshot, code: str, system: str | None = None) -> Row:
    """One region with its numbers; raises UnknownRegion."""
    found = snapshot.rows(
        f"{_NUMBERED} where r.region_code = $code and ($system is null or r.region_system = $system) order by r.region_system",
        {"code": code, "system": system},
    )
    if len(found) != 1:
        raise UnknownRegion(code, [r["region_system"] for r in found])
    return found[0]


def children(snapshot: Snapshot, region: Row) -> list[Row]:
    """The regions directly below, with their numbers, in order of their codes."""
    return snapshot.rows(
        f"{_NUMBERED} where r.region_system = $system and r.parent_code = $code order by r.region_code",
        {"system": region["region_system"], "code": region["region_code"]},
    )


def path(snapshot: Snapshot, region: Row) -> list[Row]:
    """From the root down to the region itself."""
    return snapshot.rows(
        """
        select r.* from mart.region_closure as c
        join mart.region as r on r.region_system = c.region_system and r.region_code = c.ancestor_code
        where c.region_system = $system and c.region_code = $code order by c.distance desc
        """,
        {"system": region["region_system"], "code": region["region_code"]},
    )
