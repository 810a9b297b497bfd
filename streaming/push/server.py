"""The web server of pushes: routes and the shape of answers."""

from __future__ import annotations

import logging

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from gridlake import __version__
from gridlake.signatures import Message
from streaming.push.bodies import KINDS
from streaming.push.reception import Reception, Refused, Told

DESCRIPTION = """\
Rows of a feed, pushed by their sender; the answer is the receipt, given when they are on the disk.

Requests are signed (RFC 9421, hmac-sha256; docs/how-to/push-over-http.md). Errors say `code`, `expected`, `came` and `do`.
"""
_JSON = "application/json"
_log = logging.getLogger(__name__)


def create_app(reception: Reception) -> FastAPI:
    """The application over an open reception."""
    app = FastAPI(title="gridlake push", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None)
    content = {"content": {name: {} for name in KINDS}, "required": True, "description": "rows; Content-Encoding gzip or none"}

    @app.post("/feeds/{source}/{feed}", summary="Push rows", openapi_extra={"requestBody": content})
    async def push(request: Request, source: str, feed: str) -> Response:
        return _told(await reception.push(_message(request), source, feed, request.stream()))

    @app.get("/feeds/{source}/{feed}/receipts/{key}", summary="The receipt of a push, again")
    async def receipt(request: Request, source: str, feed: str, key: str) -> Response:
        return _told(await reception.receipt(_message(request), source, feed, key))

    @app.get("/health", summary="Whether pushes are taken")
    async def health() -> Response:
        found = reception.health()
        return Response(msgspec.json.encode(found), 200 if found["state"] == "ok" else 503, media_type=_JSON)

    @app.get("/metrics", summary="Counters for Prometheus")
    async def metrics() -> Response:
        return Response(generate_latest(reception.registry), media_type="text/plain; version=0.0.4")

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        body = {"code": error.code, "expected": error.expected, "came": error.came, "do": error.do}
        headers = {"Retry-After": str(error.retry_after_s)} if error.retry_after_s else {}
        if error.status == 401:
            headers["WWW-Authenticate"] = 'Signature realm="gridlake"'
        return Response(msgspec.json.encode(body), error.status, headers, _JSON)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        body = {"code": "no_such_path", "expected": "a path and method of this interface", "came": f"{request.method} {request.url.path}"[:200]}
        return Response(msgspec.json.encode(body | {"do": "GET /openapi.json lists them"}), error.status_code, error.headers, _JSON)

    @app.exception_handler(ClientDisconnect)
    async def gone(_: Request, __: ClientDisconnect) -> Response:
        return Response(status_code=400)

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        body = {"code": "fault", "expected": "an answer", "came": "a fault of this server", "do": "send it again later under the same key"}
        return Response(msgspec.json.encode(body), 500, media_type=_JSON)

    return app


def _message(request: Request) -> Message:
    headers: dict[str, str] = {}
    for name, value in request.scope["headers"]:
        text = value.decode("latin-1")
        # Values of one name are one value (RFC 9421, section 2.1).
        headers[name.decode("latin-1")] = f"{headers[n]}, {text}" if (n := name.decode("latin-1")) in headers else text
    path = request.scope.get("raw_path") or request.scope["path"].encode()
    return Message(request.method, path.decode("latin-1"), request.scope["query_string"].decode("latin-1"), headers)


def _told(told: Told) -> Response:
    headers = {"Idempotent-Replayed": "true"} if told.was_told_before else {}
    if told.status == 202:
        headers["Retry-After"] = "2"
    return Response(told.body, told.status, headers, _JSON)
