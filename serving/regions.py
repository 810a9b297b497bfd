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


def roots(snapshot: Snapshot) -> list[Row]:
    """The top regions of every region system, with their numbers; systems that sent nothing come last."""
    return snapshot.rows("select * from mart.region_overview where parent_code is null order by event_count = 0, region_system, region_code")


def find(snapshot: Snapshot, code: str, system: str | None = None) -> Row:
    """One region with its numbers; raises UnknownRegion."""
    found = snapshot.rows(
        "select * from mart.region_overview where region_code = $code and ($system is null or region_system = $system) order by region_system",
        {"code": code, "system": system},
    )
    if len(found) != 1:
        raise UnknownRegion(code, [r["region_system"] for r in found])
    return found[0]


def children(snapshot: Snapshot, region: Row) -> list[Row]:
    """The regions directly below, with their numbers, in order of their codes."""
    return snapshot.rows(
        "select * from mart.region_overview where region_system = $system and parent_code = $code order by region_code",
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
