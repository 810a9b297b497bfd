"""A push server in a process of its own, and a sender that signs."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from gridlake.credentials import Secrets
from gridlake.settings import Settings
from gridlake.signatures import sign
from tests.streaming.conftest import DECLARATIONS, Lake

NDJSON, JSON, CSV = "application/x-ndjson", "application/json", "text/csv"
PATH = "/feeds/office/visit"
# One for all tests: each client of httpx reads the certificates of all authorities first.
CLIENT = httpx.Client(timeout=30)
# On the disk and not judged yet; too many at one time.
LATER = (202, 503)
_ANSWERED_WITHIN_S = 60
_GRIDLAKE = [sys.executable, "-c", "from gridlake.cli import main; main()"]


class NotStarted(Exception):
    """The server ended before it listened."""


@dataclass
class Server:
    """A running `gridlake land http`."""

    process: subprocess.Popen[str]
    url: str

    def kill(self) -> None:
        """End it at once (-9) and wait until it is gone."""
        self.process.kill()
        self.process.wait(timeout=30)

    @property
    def is_gone(self) -> bool:
        """Whether it has ended."""
        return self.process.poll() is not None

    def is_gone_within(self, seconds: float) -> bool:
        """Whether it ends within that time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def key_of(settings: Settings, sender: str) -> str:
    """A sender's key, made when it is asked for first."""
    kept, now = Secrets(settings.secrets), datetime.now(UTC)
    return (kept.valid(f"sender_{sender}", now) or [kept.make(f"sender_{sender}", now, timedelta(0))])[0]


@contextmanager
def serving(lake: Lake, **environment: str) -> Iterator[Server]:
    """A server of the lake on a free port of loopback, stopped in the end unless it is gone."""
    given = {"GRIDLAKE_PROJECT": str(DECLARATIONS), "GRIDLAKE_HOME": str(lake.home), "GRIDLAKE_INBOX": str(lake.inbox)}
    log = (lake.folder / "server.log").open("a+", encoding="utf-8")
    process = subprocess.Popen(
        [*_GRIDLAKE, "land", "http", "--port", "0", "--json"],
        env={**os.environ, **given, **environment},
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line or "url" not in (said := json.loads(line)):
            process.wait(timeout=30)
            log.seek(0)
            raise NotStarted(f"exit code {process.returncode}: {log.read()[-3000:]}")
        yield Server(process, said["url"])
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=60)
        log.close()


@dataclass
class Pusher:
    """A sender with its key."""

    url: str
    sender: str
    key: str

    @classmethod
    def of(cls, lake: Lake, server: Server, sender: str = "north") -> Pusher:
        return cls(server.url, sender, key_of(lake.settings, sender))

    def signed(self, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None, **how: Any) -> dict[str, str]:
        """The headers of a signed request."""
        return sign(method, self.url + path, self.key, self.sender, body=body, headers=headers, **how)

    def push(
        self, body: bytes, kind: str = NDJSON, *, path: str = PATH, key: str | None = None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Push a body; again under the same key where a slow machine says so, as a sender does."""
        given = {"content-type": kind, "idempotency-key": key or secrets.token_hex(8)} | dict(headers or {})
        deadline = time.monotonic() + _ANSWERED_WITHIN_S
        while True:
            answer = CLIENT.post(self.url + path, content=body, headers=self.signed("POST", path, body, given))
            if answer.status_code not in LATER or time.monotonic() > deadline:
                return answer
            time.sleep(0.2)

    def receipt(self, key: str, path: str = PATH) -> httpx.Response:
        """Ask for a receipt again."""
        where = f"{path}/receipts/{key}"
        return CLIENT.get(self.url + where, headers=self.signed("GET", where))


def counts(receipt: Mapping[str, Any]) -> tuple[int, int, int, int]:
    """(received, accepted, refused, duplicate) of a receipt."""
    return receipt["received"], receipt["accepted"], receipt["refused"], receipt["duplicate"]
