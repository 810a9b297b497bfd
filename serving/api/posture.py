"""GET /posture: a region in a period, against the period before."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from serving import posture
from serving.api.answers import EXAMPLE_SNAPSHOT, Answer, Counts, Reading, answered, stamped
from serving.api.problems import Problem
from serving.api.regions import RegionName, SystemName, known_region
from serving.posture import Period
from serving.snapshots import Snapshot

router = APIRouter(tags=["posture"])

DEFAULT_DAYS = 28
# Three years and a day: enough for a year against the year before, too little to ask for a table by accident.
MOST_DAYS = 1097
_EARLIEST = date(1990, 1, 1)

_COUNTS: JsonDict = {
    "event_count": 20,
    "closed_count": 18,
    "closed_pct": 90.0,
    "overdue_count": 2,
    "invalid_count": 1,
    "average_handling_minutes": 812.5,
}
_REGION: JsonDict = {"region_system": "cn", "region_code": "330100000000", "region_name": "杭州市", "region_level": 2, "parent_code": "330000000000"}


class DayCounts(Counts):
    """One day."""

    business_date: date = Field(description="the date in the region's zone")


class ClassCounts(Counts):
    """One event class."""

    class_code: str = Field(description="code of the event class")
    class_name: str = Field(description="its name")
    previous_event_count: int = Field(description="events of the period before")


class ChildCounts(Counts, RegionName):
    """One region directly below."""

    previous_event_count: int = Field(description="events of the period before")


class Change(BaseModel):
    """A count against the period before."""

    difference: int = Field(description="this period less the one before")
    pct: float | None = Field(description="difference in percent of the period before; null where that had none")


class Posture(Answer):
    """What happened in a region in a period."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_SNAPSHOT, "region": _REGION, "from": "2026-02-23", "to": "2026-03-01", "previous_from": "2026-02-16",
                    "previous_to": "2026-02-22", "totals": _COUNTS, "previous_totals": _COUNTS, "change": {"difference": 0, "pct": 0.0},
                    "days": [{**_COUNTS, "business_date": "2026-02-23"}],
                    "classes": [{**_COUNTS, "class_code": "0101", "class_name": "邻里纠纷", "previous_event_count": 20}],
                    "children": [{**_REGION, **_COUNTS, "region_code": "330106000000", "region_name": "西湖区", "region_level": 3,
                                  "parent_code": "330100000000", "previous_event_count": 20}],
                }
            ]
        },
        populate_by_name=True,
    )  # fmt: skip

    region: RegionName = Field(description="the region asked for")
    first: date = Field(alias="from", description="first day")
    last: date = Field(alias="to", description="last day")
    previous_from: date = Field(description="first day of the equally long period directly before")
    previous_to: date = Field(description="last day of it")
    totals: Counts = Field(description="the whole period")
    previous_totals: Counts = Field(description="the whole period before")
    change: Change = Field(description="events reported, against the period before")
    days: list[DayCounts] = Field(description="every day of the period, days without events included")
    classes: list[ClassCounts] = Field(description="event classes, most events first")
    children: list[ChildCounts] = Field(description="regions directly below, most events first, those without events included")


@router.get("/posture", summary="A region in a period", responses=answered("Totals, days, classes and regions below."))
def read_posture(
    snapshot: Reading,
    region: Annotated[str, Query(description="a region's code", min_length=1, max_length=64, examples=["330100000000"])],
    first: Annotated[date | None, Query(alias="from", description=f"first day; default {DEFAULT_DAYS} days before the end")] = None,
    last: Annotated[date | None, Query(alias="to", description="last day; default the last complete day before as_of")] = None,
    system: SystemName = None,
) -> Posture:
    """Events reported in the period by day, class and region below, and the totals against the equally long period before."""
    found = known_region(snapshot, region, system)
    period = _period(snapshot, found["region_system"], first, last)
    totals, before = posture.totals(snapshot, found, period), posture.totals(snapshot, found, period.previous)
    difference, reference = totals["event_count"] - before["event_count"], before["event_count"]
    return Posture.model_validate(
        {
            **stamped(snapshot),
            "region": found,
            "from": period.first,
            "to": period.last,
            "previous_from": period.previous.first,
            "previous_to": period.previous.last,
            "totals": totals,
            "previous_totals": before,
            "change": {"difference": difference, "pct": round(100 * difference / reference, 2) if reference else None},
            "days": posture.by_day(snapshot, found, period),
            "classes": posture.by_class(snapshot, found, period),
            "children": posture.by_child(snapshot, found, period),
        }
    )


def _period(snapshot: Snapshot, region_system: str, first: date | None, last: date | None) -> Period:
    newest = posture.latest(snapshot, region_system, 1).last
    end = last or newest
    if not _EARLIEST <= end <= newest:
        raise Problem(422, f"to: a complete day of this snapshot, {_EARLIEST} to {newest}", end, "ask for an earlier period or a newer snapshot")
    begin = first or posture.Period(end, end).first.fromordinal(end.toordinal() - DEFAULT_DAYS + 1)
    if not _EARLIEST <= begin <= end:
        raise Problem(422, f"from: a day from {_EARLIEST} to {end}", begin, "let from be no later than to")
    period = Period(begin, end)
    if period.days > MOST_DAYS:
        raise Problem(422, f"a period of at most {MOST_DAYS} days", f"{period.days} days", "ask for it in parts")
    return period
