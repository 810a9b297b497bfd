"""What every answer has in common: the snapshot it was read from, and counts in one shape."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Query, Request, Response
from pydantic import BaseModel, Field
from pydantic.config import JsonDict

from serving.api.problems import SNAPSHOT_HEADER
from serving.snapshots import Snapshot, Snapshots

EXAMPLE_SNAPSHOT: JsonDict = {"snapshot": "20260302-0f3a9c1d2b4e", "as_of": "2026-03-02T16:00:00Z"}


class Answer(BaseModel):
    """An answer read from one snapshot."""

    snapshot: str = Field(description="id of the snapshot that was read")
    as_of: datetime = Field(description="the moment the numbers hold for, UTC")


class Counts(BaseModel):
    """Events reported in a period, and what had become of them at `as_of`."""

    event_count: int = Field(description="events reported in the period")
    closed_count: int = Field(description="of these, closed by as_of")
    closed_pct: float | None = Field(description="closed of reported, percent; null where none was reported")
    overdue_count: int = Field(description="of these, closed after their deadline or open past it")
    invalid_count: int = Field(description="of these, found suspect by the invalid-event model")
    average_handling_minutes: float | None = Field(description="mean minutes from report to closing; null where none was closed")


def snapshots_of(request: Request) -> Snapshots:
    """The lake's snapshots."""
    found: Snapshots = request.app.state.snapshots
    return found


def read_snapshot(
    request: Request,
    response: Response,
    snapshots: Annotated[Snapshots, Depends(snapshots_of)],
    snapshot: Annotated[
        str | None, Query(description="read this snapshot instead of the current one", max_length=64, examples=["20260302-0f3a9c1d2b4e"])
    ] = None,
) -> Snapshot:
    """The snapshot a request reads, from its first query to its last."""
    return name_snapshot(request, response, snapshots.open(snapshot))


def name_snapshot(request: Request, response: Response, opened: Snapshot) -> Snapshot:
    """Put the snapshot's name on the answer, whether it becomes a result or a problem."""
    request.state.snapshot = opened.id
    response.headers[SNAPSHOT_HEADER] = opened.id
    return opened


Reading = Annotated[Snapshot, Depends(read_snapshot)]


def stamped(snapshot: Snapshot) -> dict[str, Any]:
    """The fields of `Answer`."""
    return {"snapshot": snapshot.id, "as_of": snapshot.manifest.as_of}


def answered(description: str) -> dict[int | str, dict[str, Any]]:
    """The documentation of a good answer with its header."""
    header = {"description": "id of the snapshot that was read", "schema": {"type": "string"}}
    return {200: {"description": description, "headers": {SNAPSHOT_HEADER: header}}}
