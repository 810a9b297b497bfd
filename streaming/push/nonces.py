"""Nonces of signed requests, remembered as long as a signature may be believed, across restarts.

Files of one minute's nonces each, named by the minute; what is in them is a digest, 16 bytes a nonce. A nonce is durable before the
request that brought it is answered.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import BinaryIO

from gridlake.signatures import CLOCK_SKEW_S
from gridlake.tables import fsync, make_folder

_DIGEST_BYTES = 16
_MINUTE = 60
# A request may be created `skew` ahead of our clock and is believed until `skew` after that.
_KEPT_MINUTES = -(-2 * CLOCK_SKEW_S // _MINUTE) + 1


class Nonces:
    """The nonces of the last minutes. Safe for many threads; one process at a time."""

    def __init__(self, folder: Path, now: float) -> None:
        self._folder, self._lock = folder, threading.Lock()
        make_folder(folder)
        self._by_minute: dict[int, set[bytes]] = {}
        self._file: BinaryIO | None = None
        self._minute = -1
        self._waiting: list[bytes] = []
        for path in sorted(folder.glob("*.nonces")):
            content = path.read_bytes()
            whole = len(content) - len(content) % _DIGEST_BYTES
            self._by_minute[int(path.stem)] = {content[at : at + _DIGEST_BYTES] for at in range(0, whole, _DIGEST_BYTES)}
        self._forget(int(now) // _MINUTE)

    def is_new(self, sender: str, nonce: str) -> bool:
        """Whether the sender has not used it; from now on it has. Durable with the next `sync`."""
        digest = hashlib.sha256(f"{sender}\n{nonce}".encode()).digest()[:_DIGEST_BYTES]
        with self._lock:
            if any(digest in seen for seen in self._by_minute.values()):
                return False
            self._by_minute.setdefault(max(self._minute, 0), set()).add(digest)
            self._waiting.append(digest)
            return True

    def sync(self, now: float) -> None:
        """Put the new ones on the disk. Raises OSError; they are tried again with the next call."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
        minute = int(now) // _MINUTE
        try:
            if minute != self._minute or self._file is None:
                self._turn(minute)
            if waiting and self._file is not None:
                self._file.write(b"".join(waiting))
                self._file.flush()
                os.fsync(self._file.fileno())
        except OSError:
            with self._lock:
                self._waiting = waiting + self._waiting
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _turn(self, minute: int) -> None:
        """Go on in the file of another minute; forget what is too old to be believed."""
        self.close()
        path = self._folder / f"{minute:012d}.nonces"
        self._file = path.open("ab")
        # What a power cut left of a digest is filled up, so that the next ones begin at a multiple of their size.
        self._file.write(bytes(-self._file.tell() % _DIGEST_BYTES))
        fsync(self._folder)
        with self._lock:
            self._by_minute.setdefault(minute, set())
            self._by_minute[minute] |= self._by_minute.pop(0, set())
            self._minute = minute
        self._forget(minute)

    def _forget(self, minute: int) -> None:
        with self._lock:
            for old in [m for m in self._by_minute if 0 < m < minute - _KEPT_MINUTES]:
                del self._by_minute[old]
                (self._folder / f"{old:012d}.nonces").unlink(missing_ok=True)
