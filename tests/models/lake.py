"""Library tables of a few crafted rows, in the columns that the seams page gives, written where a run finds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from gridlake.runs import Run
from gridlake.settings import Settings
from gridlake.tables import Tables

FEED = "city_platform__event"
_TEXT, _LONG, _DOUBLE, _TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", "UTC")

EVENT = pa.schema(
    [
        *((name, _TEXT) for name in ("event_id", "local_id", "sender_code", "feed", "region_system", "region_code", "grid_id", "grid_code")),
        *((name, _TEXT) for name in ("class_code", "level_code", "state_code", "channel_code", "organisation_name", "description", "closing_note")),
        *((name, _DOUBLE) for name in ("longitude", "latitude", "longitude_original", "latitude_original")),
        *((name, _TIME) for name in ("occurred_at", "reported_at", "deadline_at", "closed_at", "changed_at")),
        ("business_date", pa.date32()),
        ("step_count", _LONG),
        ("handling_step_count", _LONG),
        ("first_response_minutes", _LONG),
        ("handling_minutes", _LONG),
        ("is_closed", pa.bool_()),
        ("is_overdue", pa.bool_()),
        ("reporter_member_id", _TEXT),
    ]
)
STG_GRID = pa.schema([("grid_id", _TEXT), ("feed", _TEXT), ("region_system", _TEXT), ("region_code", _TEXT), ("boundary", _TEXT)])
STEP = pa.schema([("step_id", _TEXT), ("event_id", _TEXT), ("sender_code", _TEXT), ("action_code", _TEXT), ("happened_at", _TIME)])
# Those of the code list `step_action` that are marked is_handling.
HANDLING = ("transfer", "handle", "submit")
FEEDS = pa.schema([("feed", _TEXT), ("time_zone", _TEXT)])

NOON = datetime(2026, 3, 2, 4, 0, tzinfo=UTC)  # a Monday, 12:00 in Shanghai


def event(event_id: str, **given: Any) -> dict[str, Any]:
    """An ordinary event at noon; columns not given have ordinary values."""
    reported_at = given.get("reported_at", NOON)
    return {
        "event_id": event_id,
        "local_id": event_id.partition("-")[2],
        "sender_code": event_id.partition("-")[0],
        "feed": FEED,
        "region_system": "cn",
        "region_code": "330106002051",
        "class_code": "0101",
        "level_code": "1",
        "state_code": "reported",
        "channel_code": "citizen",
        "description": f"{event_id} 一事一述",
        "occurred_at": reported_at,
        "reported_at": reported_at,
        "changed_at": reported_at,
        "business_date": date(2026, 3, 2),
        "is_closed": given.get("closed_at") is not None,
        **given,
    }


def write_lake(
    root: Path,
    events: Iterable[Mapping[str, Any]],
    *,
    grids: Mapping[str, str] | None = None,
    steps: Iterable[tuple[str, str]] = (),
    contracts: Path | None = None,
    feeds: Mapping[str, str] | None = None,
) -> Run:
    """A run over a lake with these events, grids (id → WKT as sent) and steps (event, action), as the library would hold them."""
    event_rows = [{name: row.get(name) for name in EVENT.names} for row in events]
    grid_rows = [{"grid_id": g, "feed": "city_platform__grid", "region_system": "cn", "boundary": wkt} for g, wkt in (grids or {}).items()]
    step_rows = [
        {"step_id": f"{e}-{n}", "event_id": e, "sender_code": e.partition("-")[0], "action_code": a, "happened_at": NOON}
        for n, (e, a) in enumerate(steps)
    ]
    return write_frames(
        root,
        pa.Table.from_pylist(event_rows, EVENT),
        pa.Table.from_pylist(grid_rows, STG_GRID),
        pa.Table.from_pylist(step_rows, STEP),
        contracts=contracts,
        feeds=feeds,
    )


def write_frames(
    root: Path, events: pa.Table, grids: pa.Table, steps: pa.Table, *, contracts: Path | None = None, feeds: Mapping[str, str] | None = None
) -> Run:
    """`write_lake` for rows that are tables already, in the schemas EVENT, STG_GRID and STEP; positions are taken as sent."""
    settings = Settings(home=root / "lake", inbox=root / "inbox", contracts=contracts)
    tables = Tables(settings.tables)
    zones = feeds or {FEED: "Asia/Shanghai"}
    tables.overwrite("business.event", _stepped(events, steps))
    tables.overwrite("staging.stg_grid", grids)
    tables.overwrite("business.event_step", steps)
    tables.overwrite("staging.feed", pa.table({"feed": list(zones), "time_zone": list(zones.values())}, FEEDS))
    return Run.start(settings, quiet=True)


def _stepped(events: pa.Table, steps: pa.Table) -> pa.Table:
    """The events with their steps counted and their positions as sent, as business.event has them."""
    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        connection.register("events", events)
        connection.register("steps", steps)
        counted = f"""
            select events.* replace (
                coalesce(step.total, 0) as step_count,
                coalesce(step.handling, 0) as handling_step_count,
                longitude as longitude_original,
                latitude as latitude_original
            )
            from events
            left join (
                select event_id, count(*) as total, count(*) filter (action_code in {HANDLING}) as handling from steps group by event_id
            ) as step using (event_id)
        """
        return connection.sql(counted).to_arrow_table().select(EVENT.names).cast(EVENT)
