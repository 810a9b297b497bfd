"""Regions of a snapshot: roots, one region with its path, children. Shared by the interface, the pages and the reports.

Each query asks for one indexed column (see `serving.publish`), so that a drill through 60,000 grids takes milliseconds.
"""

from __future__ import annotations

from typing import Any

from serving.snapshots import Snapshot

Row = dict[str, Any]

NUMBERS = (
    "event_count", "event_count_7d", "event_count_previous_7d", "open_count", "overdue_count", "invalid_count", "closed_pct",
    "grid_count", "member_count",
)  # fmt: skip
# Province to micro-grid is seven; a tree that is deeper has a circle.
_DEEPEST = 12


class UnknownRegion(LookupError):
    """No region of that code, or regions of that code in several systems (`systems` lists them)."""

    def __init__(self, code: str, systems: list[str]) -> None:
        super().__init__(f"region {code!r}: {'in systems ' + ', '.join(systems) if systems else 'unknown'}")
        self.code, self.systems = code, systems


def roots(snapshot: Snapshot) -> list[Row]:
    """The top regions of every region system, with their numbers; systems that sent nothing come last."""
    found = snapshot.rows("select * from mart.region where parent_code is null order by region_system, region_code")
    numbers = snapshot.rows("select * from mart.region_overview where parent_code is null")
    return sorted(_numbered(found, numbers), key=lambda r: r["event_count"] == 0)


def find(snapshot: Snapshot, code: str, system: str | None = None) -> Row:
    """One region with its numbers; raises UnknownRegion."""
    found = snapshot.rows("select * from mart.region where region_code = $code order by region_system", {"code": code})
    found = [r for r in found if system is None or r["region_system"] == system]
    if len(found) != 1:
        raise UnknownRegion(code, [r["region_system"] for r in found])
    return _numbered(found, snapshot.rows("select * from mart.region_overview where region_code = $code", {"code": code}))[0]


def children(snapshot: Snapshot, region: Row) -> list[Row]:
    """The regions directly below, with their numbers, in order of their codes."""
    above = {"code": region["region_code"]}
    found = snapshot.rows("select * from mart.region where parent_code = $code order by region_code", above)
    found = [r for r in found if r["region_system"] == region["region_system"]]
    return _numbered(found, snapshot.rows("select * from mart.region_overview where parent_code = $code", above))


def path(snapshot: Snapshot, region: Row) -> list[Row]:
    """From the root down to the region itself."""
    found = [region]
    while found[0]["parent_code"] is not None and len(found) < _DEEPEST:
        above = snapshot.rows("select * from mart.region where region_code = $code", {"code": found[0]["parent_code"]})
        above = [r for r in above if r["region_system"] == region["region_system"]]
        if not above:
            break
        found.insert(0, above[0])
    return found


def _numbered(found: list[Row], overviews: list[Row]) -> list[Row]:
    # A region nothing happened in has no row of its own among the overviews.
    numbers = {(o["region_system"], o["region_code"]): {n: o[n] for n in NUMBERS} for o in overviews}
    none = dict.fromkeys(NUMBERS, 0) | {"closed_pct": None}
    merged = [{**r, **numbers.get((r["region_system"], r["region_code"]), none)} for r in found]
    return [r | {"closed_pct": None if r["closed_pct"] is None else round(r["closed_pct"], 2)} for r in merged]
