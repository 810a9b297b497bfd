"""GET /regions …: every region's numbers, drill down by children, up by path."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from serving import regions
from serving.api.answers import EXAMPLE_SNAPSHOT, Answer, Reading, answered, stamped
from serving.api.problems import Problem
from serving.snapshots import Snapshot

router = APIRouter(tags=["regions"])

_PROVINCE: JsonDict = {"region_system": "cn", "region_code": "330000000000", "region_name": "浙江省", "region_level": 1, "parent_code": None}
_CITY: JsonDict = {"region_system": "cn", "region_code": "330100000000", "region_name": "杭州市", "region_level": 2, "parent_code": "330000000000"}
_NUMBERS: JsonDict = {
    "event_count": 1000, "event_count_7d": 21, "event_count_previous_7d": 20, "open_count": 40, "overdue_count": 12,
    "invalid_count": 9, "closed_pct": 96.0, "grid_count": 800, "member_count": 4200,
}  # fmt: skip


class RegionName(BaseModel):
    """A region and its place in the tree."""

    region_system: str = Field(description="cn, or a foreign feed's own")
    region_code: str = Field(description="the code within its system; 12 digits in cn")
    region_name: str = Field(description="the name")
    region_level: int = Field(description="1 province, 2 city, 3 county, 4 township, 5 village, 6 grid, 7 micro-grid")
    parent_code: str | None = Field(description="the region above; null for a root")


class RegionNumbers(RegionName):
    """A region with the numbers of everything below it."""

    event_count: int = Field(description="events of all time")
    event_count_7d: int = Field(description="events reported in the last 7 complete days")
    event_count_previous_7d: int = Field(description="events reported in the 7 days before those")
    open_count: int = Field(description="events not closed at as_of")
    overdue_count: int = Field(description="events closed after their deadline or open past it")
    invalid_count: int = Field(description="events found suspect by the invalid-event model")
    closed_pct: float | None = Field(description="closed of all events, percent; null where there is none")
    grid_count: int = Field(description="grids")
    member_count: int = Field(description="grid members")


class Roots(Answer):
    """The top of every region system."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "regions": [{**_PROVINCE, **_NUMBERS}]}]})

    regions: list[RegionNumbers] = Field(description="one root per region system; systems with events first")


class RegionOverview(Answer):
    """One region: its numbers, the way up and the regions below."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{**EXAMPLE_SNAPSHOT, "region": {**_PROVINCE, **_NUMBERS}, "path": [_PROVINCE], "children": [{**_CITY, **_NUMBERS}]}]
        }
    )

    region: RegionNumbers = Field(description="the region asked for")
    path: list[RegionName] = Field(description="from the root down to the region itself")
    children: list[RegionNumbers] = Field(description="the regions directly below, by code")


class RegionChildren(Answer):
    """The regions directly below one."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "region": _PROVINCE, "children": [{**_CITY, **_NUMBERS}]}]})

    region: RegionName = Field(description="the region asked for")
    children: list[RegionNumbers] = Field(description="the regions directly below, by code")


RegionCode = Annotated[str, Path(description="a region's code", min_length=1, max_length=64, examples=["330100000000"])]
SystemName = Annotated[str | None, Query(description="the region system, where a code stands in several", max_length=32, examples=["cn"])]


def known_region(snapshot: Snapshot, code: str, system: str | None) -> dict[str, Any]:
    """The region of that code, or the problem to answer with."""
    try:
        return regions.find(snapshot, code, system)
    except regions.UnknownRegion as error:
        if error.systems:
            raise Problem(422, f"one region; {code} stands in {', '.join(error.systems)}", code, "name one with ?system=") from None
        raise Problem(404, f"a region of snapshot {snapshot.id}", code, "start from GET /regions and follow children") from None


@router.get("/regions", summary="Roots of every region system", responses=answered("The roots with their numbers."))
def read_roots(snapshot: Reading) -> Roots:
    """Where a drill begins: the top region of each region system, with its numbers."""
    return Roots.model_validate({**stamped(snapshot), "regions": regions.roots(snapshot)})


# Codes of foreign systems hold slashes (BTDT/Back Bay), so a code is a path; the longer route stands first.
@router.get("/regions/{code:path}/children", summary="The regions directly below", responses=answered("The children with their numbers."))
def read_children(snapshot: Reading, code: RegionCode, system: SystemName = None) -> RegionChildren:
    """The numbers of the regions directly below one."""
    region = known_region(snapshot, code, system)
    return RegionChildren.model_validate({**stamped(snapshot), "region": region, "children": regions.children(snapshot, region)})


@router.get("/regions/{code:path}", summary="One region with its way up and down", responses=answered("The region, its path and its children."))
def read_region(snapshot: Reading, code: RegionCode, system: SystemName = None) -> RegionOverview:
    """A region's numbers, its path from the root, and the numbers of the regions directly below it."""
    region = known_region(snapshot, code, system)
    found = {"region": region, "path": regions.path(snapshot, region), "children": regions.children(snapshot, region)}
    return RegionOverview.model_validate({**stamped(snapshot), **found})
