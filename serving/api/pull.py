"""GET /pull/findings: what a sender takes home, line by line, under its own signature (RFC 9421)."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import StreamingResponse

from gridlake import senders
from gridlake.credentials import Secrets
from gridlake.senders import Sender
from gridlake.settings import Settings
from gridlake.signatures import CLOCK_SKEW_S, Message, SignatureRefused, claim
from serving import pulled
from serving.api.answers import answered, snapshots_of
from serving.api.problems import SNAPSHOT_HEADER, UNSIGNED, Problem
from serving.snapshots import NoSnapshot, Snapshots

router = APIRouter(tags=["pull"])
MEDIA_TYPE = "application/x-ndjson"
_LINES_AT_A_TIME = 500


class PullDesk:
    """Who may pull: the senders' files and keys as they are now, and the nonces of the last minutes.

    Nonces are remembered by this process: after a restart a request of the last minutes could be made once more, and would be answered with
    what its sender was told already.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings, self._secrets = settings, Secrets(settings.secrets)
        self._nonces: dict[tuple[str, str], float] = {}
        self._lock = threading.Lock()

    def known(self, message: Message, now: datetime) -> Sender:
        """The sender whose key signed the request; raises SignatureRefused."""
        said = claim(message)
        sender = senders.load_all(self._settings).get(said.keyid)
        said.verify(self._secrets.valid(sender.http_secret, now) if sender and sender.http_secret else [], now.timestamp())
        if sender is None:
            raise ValueError("a signature was verified without a key")
        with self._lock:
            # A request may be created `skew` ahead of our clock and is believed until `skew` after that.
            self._nonces = {nonce: seen for nonce, seen in self._nonces.items() if seen > now.timestamp() - 2 * CLOCK_SKEW_S}
            if (sender.code, said.nonce) in self._nonces:
                raise SignatureRefused("nonce_repeated", "this nonce was used before; sign the request anew, with a nonce of its own")
            self._nonces[sender.code, said.nonce] = now.timestamp()
        return sender


def signed_by(request: Request) -> Sender:
    """The sender of a request, or the problem to answer with."""
    try:
        sender: Sender = request.app.state.desk.known(Message.of_request(request.scope), datetime.now(UTC))
    except SignatureRefused as refused:
        raise Problem(401, "a request signed by its sender (RFC 9421)", str(refused), "sign as docs/how-to/push-over-http.md shows") from None
    return sender


@router.get(
    "/pull/findings",
    summary="A sender's findings, receipts and codes",
    response_class=StreamingResponse,
    responses={200: {**answered("One JSON document a line, the last one of kind `end`.")[200], "content": {MEDIA_TYPE: {}}}, **UNSIGNED},
)
def pull_findings(
    request: Request,
    sender: Annotated[Sender, Depends(signed_by)],
    snapshots: Annotated[Snapshots, Depends(snapshots_of)],
    since: Annotated[
        str | None,
        Query(
            description="the snapshot of the last pull, or a day; without it everything",
            max_length=64,
            examples=["20260302-0f3a9c1d2b4e"],
        ),
    ] = None,
) -> StreamingResponse:
    """The sender's own: findings in its regions, receipts of its deliveries, codes assigned to its grids.

    The first line names the snapshot, which is the next pull's `since`; a pull that does not end in a line of kind `end` was cut off.
    """
    snapshot = snapshots.open()
    lines = pulled.lines(request.app.state.home, snapshot, sender, _since(snapshots, since))
    return StreamingResponse(_written(lines), media_type=MEDIA_TYPE, headers={SNAPSHOT_HEADER: snapshot.id})


def _since(snapshots: Snapshots, given: str | None) -> pulled.Since:
    if given is None:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError:
        pass
    try:
        return snapshots.open(given)
    except NoSnapshot:
        raise Problem(
            404, "a day, or a snapshot that is still kept", given, "pull without since, once, and go on from the snapshot it names"
        ) from None


def _written(lines: Iterator[dict[str, Any]]) -> Iterator[bytes]:
    waiting: list[str] = []
    for line in lines:
        waiting.append(json.dumps(line, ensure_ascii=False, default=_text))
        if len(waiting) == _LINES_AT_A_TIME:
            yield ("\n".join(waiting) + "\n").encode()
            waiting.clear()
    if waiting:
        yield ("\n".join(waiting) + "\n").encode()


def _text(value: Any) -> str:
    return value.isoformat() if isinstance(value, date | datetime) else str(value)
