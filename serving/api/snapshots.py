"""GET /snapshots …: what was published when, from which input and code."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.config import JsonDict

from serving.api.answers import EXAMPLE_SNAPSHOT, Answer, answered, name_snapshot, snapshots_of, stamped
from serving.snapshots import Snapshots

router = APIRouter(tags=["snapshots"])

_SHORT: JsonDict = {
    "snapshot_id": "20260302-0f3a9c1d2b4e", "run_id": "20260303T010203Z-a1b2", "created_at": "2026-03-03T01:05:00Z",
    "as_of": "2026-03-02T16:00:00Z", "is_current": True,
}  # fmt: skip


class SnapshotName(BaseModel):
    """A published snapshot."""

    snapshot_id: str = Field(description="<as-of date>-<digest of its content>")
    run_id: str = Field(description="the run that published it first")
    created_at: datetime = Field(description="when, UTC")
    as_of: datetime = Field(description="the moment its numbers hold for, UTC")
    is_current: bool = Field(description="whether it is read where no snapshot is named")


class TableVersion(BaseModel):
    """A table as the snapshot has it."""

    version: int = Field(description="Delta version")
    rows: int = Field(description="rows in that version")


class RegionClock(BaseModel):
    """How far a region system's days are complete."""

    time_zone: str = Field(description="the zone of its business dates")
    open_date: date = Field(description="the first day that is not complete")


class SnapshotList(Answer):
    """Every published snapshot."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "snapshots": [_SHORT]}]})

    snapshots: list[SnapshotName] = Field(description="newest as-of first")


class SnapshotDetail(Answer, SnapshotName):
    """Everything needed to make a snapshot again."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    **EXAMPLE_SNAPSHOT, **_SHORT, "cut": {"bronze.city_platform__event": 12},
                    "tables": {"mart.event_daily": {"version": 3, "rows": 150}},
                    "contracts": {"city_platform__event": "1.0.0"}, "models": {"invalid_event": "1.0.0"}, "code_digest": "9f86d081884c7d65",
                    "checks": {"passed": 120, "failed": 0}, "files": {"marts.duckdb": "60303ae22b998861"},
                    "region_systems": {"cn": {"time_zone": "Asia/Shanghai", "open_date": "2026-03-03"}},
                }
            ]
        }
    )  # fmt: skip

    cut: dict[str, int] = Field(description="the Delta version of each landed table that was read")
    tables: dict[str, TableVersion] = Field(description="every table built or read")
    contracts: dict[str, str] = Field(description="contract versions")
    models: dict[str, str] = Field(description="model versions")
    code_digest: str = Field(description="digest of sources, dbt project and declarations")
    checks: dict[str, int] = Field(description="checks passed and failed; a failed critical one would have stopped publication")
    files: dict[str, str] = Field(description="SHA-256 of each file of the snapshot")
    region_systems: dict[str, RegionClock] = Field(description="each region system's zone and first incomplete day")


@router.get("/snapshots", summary="Every published snapshot", responses=answered("The snapshots, newest first."))
def read_snapshots(request: Request, response: Response, snapshots: Annotated[Snapshots, Depends(snapshots_of)]) -> SnapshotList:
    """What was published; any of them can be named by ?snapshot= elsewhere."""
    current = name_snapshot(request, response, snapshots.open())
    found = [{**vars(manifest), "is_current": manifest.snapshot_id == current.id} for manifest in snapshots.manifests()]
    return SnapshotList.model_validate({**stamped(current), "snapshots": found})


@router.get("/snapshots/{snapshot_id}", summary="One snapshot's manifest", responses=answered("The manifest."))
def read_one(
    request: Request,
    response: Response,
    snapshots: Annotated[Snapshots, Depends(snapshots_of)],
    snapshot_id: Annotated[str, Path(description="a snapshot's id", min_length=1, max_length=64, examples=["20260302-0f3a9c1d2b4e"])],
) -> SnapshotDetail:
    """What it was made of: input versions, table versions, contract and model versions, code digest."""
    opened = name_snapshot(request, response, snapshots.open(snapshot_id))
    manifest = vars(opened.manifest) | {"region_systems": {name: vars(s) for name, s in opened.manifest.region_systems.items()}}
    return SnapshotDetail.model_validate({**stamped(opened), **manifest, "is_current": opened.id == snapshots.current()})
