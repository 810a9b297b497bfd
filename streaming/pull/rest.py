"""Pages of rows by GET: a cursor or a page number, retries with back-off. The last page of a round is the first of the next, without what it had."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx
import msgspec

from gridlake.contracts.pulls import RestPull
from streaming.pull.pages import Page, Place, PullError, Seen

# A page of 10,000 rows of 6 KiB.
LARGEST_ANSWER = 64 << 20
_TIMEOUT = httpx.Timeout(60, connect=10)
_TRIES, _FIRST_PAUSE_S, _LONGEST_PAUSE_S = 6, 0.5, 30.0
_WORTH_TRYING_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


class RestSource:
    """One declared server of type api."""

    def __init__(self, pull: RestPull, token: str | None, secret: bytes, sleep: Callable[[float], None] = time.sleep) -> None:
        self._pull, self._secret, self._sleep = pull, secret, sleep
        headers = {"accept": "application/json"}
        if token is not None:
            headers[pull.header] = f"{pull.scheme} {token}".strip()
        self._client = httpx.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=False)

    def pages(self, place: Place) -> Iterator[Page]:
        """Pages from a place on, until one has no rows or names no next one."""
        pull, cursor = self._pull, place.get("cursor")
        if cursor is None and pull.page is not None:
            cursor = pull.page.first
        seen = Seen(self._secret, set(place.get("seen", ())))
        while True:
            rows, following = self._page(cursor)
            if pull.page is not None and rows:
                following = int(cursor or 0) + 1
            digests = [seen.digest(row) for row in rows]
            new = seen.new(digests)
            is_last = not rows or following is None or following == cursor
            # A numbered page may have been the last one for now, and grow: only the answer to the next number tells.
            stays = is_last or pull.page is not None
            place = {"cursor": cursor, "seen": digests} if stays else {"cursor": following, "seen": []}
            content = b"[" + b",".join(rows[at] for at in new) + b"]"
            if rows or not is_last:
                yield Page("json", content, len(new), len(rows), place)
            if is_last:
                return
            cursor, seen.digests = following, set()

    def _page(self, cursor: Any) -> tuple[list[bytes], Any]:
        """(the rows in the bytes that came, what the next page is asked for with; None where there is none)."""
        pull = self._pull
        parameters: dict[str, str] = dict(pull.parameters)
        if pull.size.parameter:
            parameters[pull.size.parameter] = str(pull.size.rows)
        way = pull.cursor or pull.page
        if cursor is not None and way is not None:
            parameters[way.parameter] = str(cursor)
        body = self._get(parameters)
        try:
            rows = msgspec.json.decode(_at(body, pull.rows), type=list[msgspec.Raw])
        except (msgspec.DecodeError, KeyError) as error:
            raise PullError(
                f"{self._named()}: expected an array of rows at {pull.rows or 'the top'} of the answer ({error}); check rows in the contract"
            ) from None
        following = None
        if pull.cursor is not None:
            try:
                following = msgspec.json.decode(_at(body, pull.cursor.path))
            except (msgspec.DecodeError, KeyError):
                following = None
            if isinstance(following, dict | list | bool):
                raise PullError(
                    f"{self._named()}: expected a text or number at {pull.cursor.path}, came {type(following).__name__}; check cursor.path"
                )
        return [bytes(row) for row in rows], None if following == "" else following

    def _get(self, parameters: Mapping[str, str]) -> bytes:
        pause, why = _FIRST_PAUSE_S, ""
        for attempt in range(_TRIES):
            if attempt:
                self._sleep(min(pause, _LONGEST_PAUSE_S) * random.uniform(0.75, 1.25))  # noqa: S311 - spreads tries, keeps no secret
                pause *= 2
            try:
                status, wait, body = self._ask(parameters)
            except httpx.TransportError as error:
                why = type(error).__name__
                continue
            if status == httpx.codes.OK:
                return body
            why = f"status {status}"
            if status not in _WORTH_TRYING_AGAIN:
                raise PullError(f"{self._named()}: expected status 200, came {status}; check location, secret and parameters in the contract")
            pause = max(pause, wait)
        raise PullError(f"{self._named()}: no answer in {_TRIES} tries, at last {why}; what was pulled is kept, pull again later")

    def _ask(self, parameters: Mapping[str, str]) -> tuple[int, float, bytes]:
        """(status, seconds that the source asks to wait, body)."""
        with self._client.stream("GET", self._pull.url, params=parameters) as answer:
            pieces, size = [], 0
            for piece in answer.iter_bytes():
                size += len(piece)
                if size > LARGEST_ANSWER:
                    raise PullError(f"{self._named()}: more than {LARGEST_ANSWER >> 20} MiB in one page; ask for fewer rows with size")
                pieces.append(piece)
            wait = answer.headers.get("retry-after", "")
            return answer.status_code, min(float(wait), _LONGEST_PAUSE_S) if wait.isdecimal() else 0.0, b"".join(pieces)

    def _named(self) -> str:
        return f"server {self._pull.server} ({httpx.URL(self._pull.url).copy_with(query=None)})"


def _at(body: bytes, path: str) -> bytes:
    """The bytes of the value at a path; KeyError where an object on the way has no such name."""
    found = body
    for name in path.split(".") if path else ():
        found = bytes(msgspec.json.decode(found, type=dict[str, msgspec.Raw])[name])
    return found
