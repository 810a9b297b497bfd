"""GET /health: whether there is something to read."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import ConfigDict, Field

from gridlake import __version__
from serving.api.answers import EXAMPLE_SNAPSHOT, Answer, Reading, answered, stamped

router = APIRouter(tags=["health"])


class Health(Answer):
    """The server reads its snapshot."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_SNAPSHOT, "status": "ok", "version": "0.1.0", "marts": 10}]})

    status: Literal["ok"] = Field(description="ok; a server that cannot read answers 503 instead")
    version: str = Field(description="version of gridlake")
    marts: int = Field(description="tables in the snapshot")


@router.get("/health", summary="Whether there is something to read", responses=answered("The snapshot is open and readable."))
def read_health(snapshot: Reading) -> Health:
    """Opens the snapshot and lists its tables; 503 where nothing was published."""
    return Health.model_validate({**stamped(snapshot), "status": "ok", "version": __version__, "marts": len(snapshot.tables)})
