"""The web server of pushes: routes and the shape of answers.

Pushes themselves are answered by `Door`, plain ASGI: at 500 a second half of the processor's time went into the framework around them.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import Response
from prometheus_client import generate_latest
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

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


class Door:
    """The application over an open reception: pushes here, everything else by `described`."""

    def __init__(self, reception: Reception) -> None:
        self._reception = reception
        self._others: ASGIApp = described(reception)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        parts = scope["path"].split("/") if scope["type"] == "http" and scope["method"] == "POST" else []
        if len(parts) != 4 or parts[1] != "feeds":
            await self._others(scope, receive, send)
            return
        try:
            answer = _told(await self._reception.push(Message.of_request(scope), parts[2], parts[3], _body(receive)))
        except Refused as refused:
            answer = _refused(refused)
        except ClientDisconnect:
            return
        except Exception as error:  # noqa: BLE001 - answered without its text, logged with it
            answer = _fault(scope, error)
        await answer(scope, receive, send)


def described(reception: Reception) -> FastAPI:
    """Receipts, health, metrics, and the description of all."""
    app = FastAPI(title="gridlake push", version=__version__, description=DESCRIPTION, docs_url=None, redoc_url=None)
    content = {"content": {name: {} for name in KINDS}, "required": True, "description": "rows; Content-Encoding gzip or none"}

    @app.post("/feeds/{source}/{feed}", summary="Push rows", openapi_extra={"requestBody": content})
    async def push(source: str, feed: str) -> Response:
        raise NotImplementedError("answered by Door")

    @app.get("/feeds/{source}/{feed}/receipts/{key}", summary="The receipt of a push, again")
    async def receipt(request: Request, source: str, feed: str, key: str) -> Response:
        return _told(await reception.receipt(Message.of_request(request.scope), source, feed, key))

    @app.get("/health", summary="Whether pushes are taken")
    async def health() -> Response:
        found = reception.health()
        return Response(msgspec.json.encode(found), 200 if found["state"] == "ok" else 503, media_type=_JSON)

    @app.get("/metrics", summary="Counters for Prometheus")
    async def metrics() -> Response:
        return Response(generate_latest(reception.registry), media_type="text/plain; version=0.0.4")

    @app.exception_handler(Refused)
    async def refused(_: Request, error: Refused) -> Response:
        return _refused(error)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        came = f"{request.method} {request.url.path}"[:200]
        return _problem(error.status_code, "no_such_path", "a path and method of this interface", came, "GET /openapi.json lists them")

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> Response:
        return _fault(request.scope, error)

    return app


async def _body(receive: Receive) -> AsyncIterator[bytes]:
    """The pieces of a request's body as they arrive."""
    more = True
    while more:
        message: dict[str, Any] = dict(await receive())
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        yield message.get("body", b"")
        more = message.get("more_body", False)


def _told(told: Told) -> Response:
    headers = {"Idempotent-Replayed": "true"} if told.was_told_before else {}
    if told.status == 202:
        headers["Retry-After"] = "2"
    return Response(told.body, told.status, headers, _JSON)


def _refused(refused: Refused) -> Response:
    headers = {"Retry-After": str(refused.retry_after_s)} if refused.retry_after_s else {}
    if refused.status == 401:
        headers["WWW-Authenticate"] = 'Signature realm="gridlake"'
    return _problem(refused.status, refused.code, refused.expected, refused.came, refused.do, headers)


def _fault(scope: Scope, error: Exception) -> Response:
    _log.error("%s %s failed", scope["method"], scope["path"], exc_info=error)
    return _problem(500, "fault", "an answer", "a fault of this server", "send it again later under the same key")


def _problem(status: int, code: str, expected: str, came: str, do: str, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode({"code": code, "expected": expected, "came": came, "do": do}), status, headers, _JSON)
