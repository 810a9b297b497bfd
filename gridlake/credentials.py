"""Secrets by name: senders' keys, passwords of what is pulled. Declarations hold the names; the values lie in the environment or beside the lake.

GRIDLAKE_SECRET_<NAME> (capitals; what is no letter or digit becomes _) has the first word. Then the file `<home>.secrets.json`, which is
made with mode 0600 and is not read when others may read it.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from gridlake.tables import make_folder, write_file

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,99}")
_VARIABLE = "GRIDLAKE_SECRET_"
_KEY_BYTES = 32  # as long as the digest of HMAC-SHA256 (RFC 2104, section 3)
_NOT_THE_OWNERS = stat.S_IRWXG | stat.S_IRWXO


class CredentialError(Exception):
    """A secret that is not there or not kept as it has to be; the message names it and never holds its value."""


@dataclass(frozen=True)
class Secret:
    """One value of a name and until when it is valid (UTC); None: until another takes its place."""

    value: str
    made_at: datetime | None
    until: datetime | None = None

    def is_valid(self, at: datetime) -> bool:
        """Whether it may be used at that time."""
        return self.until is None or at < self.until


class Secrets:
    """The secrets of one lake. A change of the file is seen at the next question, so a new key needs no restart."""

    def __init__(self, path: Path, environment: Mapping[str, str] = os.environ) -> None:
        self._path, self._environment = path, environment
        self._seen: tuple[int, int] | None = None
        self._kept: dict[str, list[Secret]] = {}

    def valid(self, name: str, at: datetime) -> list[str]:
        """The values of a name that hold at that time, the newest first; none where there is no such secret."""
        given = self._environment.get(variable(name))
        if given:
            return [given]
        return [secret.value for secret in self._read().get(name, []) if secret.is_valid(at)]

    def one(self, name: str, at: datetime) -> str:
        """The newest value; raises CredentialError where there is none."""
        values = self.valid(name, at)
        if not values:
            raise CredentialError(f"no secret {name!r}; set {variable(name)}, or put it into {self._path} with `gridlake secret put {name}`")
        return values[0]

    def names(self) -> dict[str, list[Secret]]:
        """What the file holds, the newest first."""
        return dict(sorted(self._read().items()))

    def make(self, name: str, at: datetime, overlap: timedelta) -> str:
        """A new random key of that name; older ones stay valid for `overlap` and no longer."""
        value = secrets.token_urlsafe(_KEY_BYTES)
        self.put(name, value, at, overlap)
        return value

    def put(self, name: str, value: str, at: datetime, overlap: timedelta = timedelta(0)) -> None:
        """Keep a value under a name as the newest; older ones stay valid for `overlap`."""
        if not _NAME.fullmatch(name):
            raise CredentialError(f"secret {name!r}: expected 1 to 100 letters, digits and _ . -, the first a letter or digit")
        with self._alone():
            kept = self._read()
            older = [Secret(s.value, s.made_at, min(at + overlap, s.until or at + overlap)) for s in kept.get(name, [])]
            kept[name] = [Secret(value, at), *(s for s in older if s.is_valid(at))]
            self._write(kept)

    def remove(self, name: str) -> bool:
        """Forget every value of a name; whether there was one."""
        with self._alone():
            kept = self._read()
            was_there = kept.pop(name, None) is not None
            self._write(kept)
        return was_there

    @contextmanager
    def _alone(self) -> Iterator[None]:
        make_folder(self._path.parent.absolute())
        lock = self._path.with_name(f".{self._path.name}.lock")
        with os.fdopen(os.open(lock, os.O_RDWR | os.O_CREAT, 0o600), "w") as handle:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield

    def _read(self) -> dict[str, list[Secret]]:
        try:
            state = self._path.stat()
        except FileNotFoundError:
            self._kept, self._seen = {}, None
            return {}
        refuse_others(self._path, state)
        if self._seen != (state.st_mtime_ns, state.st_ino):
            document = json.loads(self._path.read_text(encoding="utf-8"))
            self._kept = {name: [_secret(entry) for entry in entries] for name, entries in document.items()}
            self._seen = state.st_mtime_ns, state.st_ino
        return dict(self._kept)

    def _write(self, kept: Mapping[str, list[Secret]]) -> None:
        document = {name: [_entry(secret) for secret in found] for name, found in sorted(kept.items())}
        previous = os.umask(0o077)
        try:
            write_file(self._path, json.dumps(document, indent=1).encode())
        finally:
            os.umask(previous)
        self._seen = None


def variable(name: str) -> str:
    """The environment variable that may hold a secret."""
    return _VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())


def refuse_others(path: Path, state: os.stat_result) -> None:
    """Raises CredentialError where a file may be read by others than its owner."""
    if state.st_mode & _NOT_THE_OWNERS:
        raise CredentialError(f"{path}: others may read it (mode {stat.S_IMODE(state.st_mode):o}); do: chmod 600 {path}")


def _secret(entry: Mapping[str, Any]) -> Secret:
    made_at, until = (datetime.fromisoformat(entry[k]) if entry.get(k) else None for k in ("made_at", "until"))
    return Secret(entry["value"], made_at, until)


def _entry(secret: Secret) -> dict[str, str]:
    moments = {"made_at": secret.made_at, "until": secret.until}
    return {"value": secret.value} | {name: at.isoformat() for name, at in moments.items() if at}
