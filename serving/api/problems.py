"""Errors as the interface says them: what was expected, what came, what to do. Never a traceback, never a query."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from serving.snapshots import NoSnapshot

SNAPSHOT_HEADER = "X-Gridlake-Snapshot"
_log = logging.getLogger(__name__)


class ProblemBody(BaseModel):
    """What went wrong with a request."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "expected": "a region of snapshot 20260302-0f3a9c1d2b4e",
                    "came": "999",
                    "do": "start from GET /regions",
                    "snapshot": "20260302-0f3a9c1d2b4e",
                }
            ]
        }
    )

    expected: str = Field(description="what the interface expects at this place")
    came: str = Field(description="what the request brought")
    do: str = Field(description="what the caller can do about it")
    snapshot: str | None = Field(None, description="the snapshot that was being read, where one was")


class Problem(Exception):
    """A request that cannot be answered."""

    def __init__(self, status: int, expected: str, came: object, do: str) -> None:
        super().__init__(f"expected {expected}, came {came!r}; {do}")
        self.status, self.expected, self.came, self.do = status, expected, str(came), do


RESPONSES: dict[int | str, dict[str, Any]] = {
    404: {"model": ProblemBody, "description": "No such thing in this snapshot, or no such snapshot."},
    422: {"model": ProblemBody, "description": "A parameter that cannot be understood or that contradicts another."},
    503: {"model": ProblemBody, "description": "Nothing has been published yet."},
}
UNSIGNED: dict[int | str, dict[str, Any]] = {
    401: {"model": ProblemBody, "description": "The request is not shown to come from a sender; `came` says what is wrong with its signature."}
}


def install(app: FastAPI) -> None:
    """Answer every error of the application in one shape."""

    @app.exception_handler(Problem)
    def problem(request: Request, error: Problem) -> JSONResponse:
        return _answer(request, error.status, error.expected, error.came, error.do)

    @app.exception_handler(NoSnapshot)
    def no_snapshot(request: Request, error: NoSnapshot) -> JSONResponse:
        asked = request.query_params.get("snapshot") or request.path_params.get("snapshot_id")
        if asked:
            return _answer(request, 404, "the id of a published snapshot", asked, "GET /snapshots lists them")
        return _answer(request, 503, "a published snapshot", "none", "run `gridlake run` on this lake first")

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        place = " ".join(str(part) for part in first["loc"])
        return _answer(request, 422, f"{place}: {first['msg']}", str(first.get("input")), f"correct {place}; GET /openapi.json describes it")

    @app.exception_handler(HTTPException)
    def other(request: Request, error: HTTPException) -> JSONResponse:
        came = f"{request.method} {request.url.path}"
        return _answer(request, error.status_code, "a path and method of this interface", came, "GET /openapi.json lists them")

    @app.exception_handler(Exception)
    def unforeseen(request: Request, error: Exception) -> JSONResponse:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _answer(request, 500, "an answer", "a fault of this server", "repeat later; the server's log has the cause")


def _answer(request: Request, status: int, expected: str, came: str, do: str) -> JSONResponse:
    snapshot = getattr(request.state, "snapshot", None)
    body = ProblemBody(expected=expected, came=came[:200], do=do, snapshot=snapshot)
    return JSONResponse(body.model_dump(), status, headers={SNAPSHOT_HEADER: snapshot} if snapshot else None)
