"""The journal of one feed and sender: what was pushed, in order, durable before it is answered, until bronze has it.

Rows are numbered from 1 over the journal's whole life; a record holds the rows of one push, its content sealed. A folder holds
segments named by the number of their first row. What a power cut leaves half-written at the end was never answered and is cut off;
a damaged record that had been answered is an error, never skipped.
"""

from __future__ import annotations

import fcntl
import io
import os
import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from gridlake.barriers import barrier
from gridlake.privacy import Keys
from gridlake.tables import fsync, make_folder, write_file

Kind = Literal["ndjson", "json", "csv", "arrow"]

# A segment of this size is closed at the next chance, so that it can be removed while the next one is written.
SEGMENT_BYTES = 8 << 20
_MAGIC = b"GLJ1"
# magic, bytes of head and of sealed content, first row, rows, the row from which on nothing was durable yet; then CRC-32 of these and of what follows
_FRAME = struct.Struct(">4sIIQIQI")
_NUMBERS = struct.Struct(">4sIIQIQ")
_ID = "id"


class JournalDamaged(Exception):
    """A journal whose answered records cannot all be read; the message names the file and the runbook."""


@dataclass(frozen=True)
class Push:
    """One push as it came: `content` is the body, unpacked; `digest` is that of the content behind a secret (never a bare one)."""

    key: str
    kind: Kind
    received_at: datetime
    digest: str
    rows: int
    content: bytes


@dataclass(frozen=True)
class Record:
    """A push in its place: its rows are first_row … last_row."""

    push: Push
    first_row: int

    @property
    def last_row(self) -> int:
        """The number of its last row."""
        return self.first_row + self.push.rows - 1


class _Head(msgspec.Struct):
    key: str
    kind: Kind
    received_at: datetime
    digest: str


class JournalsHeld(Exception):
    """Another process writes the journals."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Be the only process that writes the journals below a folder; a killed one lets go by itself. Raises JournalsHeld."""
    make_folder(folder.absolute())
    with (folder / "lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            handle.seek(0)
            holder = handle.read().strip() or "unknown"
            raise JournalsHeld(f"{folder}: process {holder} writes these journals already; stop it first") from None
        handle.truncate(0)
        handle.write(str(os.getpid()))
        handle.flush()
        yield


class Journal:
    """Appends by one process at a time, which holds `only_writer`."""

    def __init__(self, folder: Path, keys: Keys) -> None:
        self.folder, self._keys = folder, keys
        make_folder(folder)
        self.id = self._identity()
        self._written: BinaryIO | None = None
        segments = self._segments()
        if not segments:
            self._begin(1)
            segments = self._segments()
        self.first_row = _first_row(segments[0])
        self.next_row = self._scan(segments)
        self._durable = self.next_row
        self._segment = segments[-1]
        self._open_end()

    def append(self, pushes: Sequence[Push]) -> list[Record]:
        """Write pushes at the end, not yet durable. Raises OSError with nothing written where the disk does not take them."""
        records, frames, row = [], [], self.next_row
        for push in pushes:
            records.append(Record(push, row))
            frames.append(self._frame(records[-1]))
            row += push.rows
        end = self._end.tell()
        try:
            self._end.write(b"".join(frames))
            self._end.flush()
        except OSError:
            self._open_end(truncate_at=end)
            raise
        self.next_row = row
        return records

    def sync(self) -> None:
        """Make what was appended durable. After an error the file's content is in doubt (Linux drops dirty pages): open the journal anew."""
        barrier("journal.before_sync", self._segment.name)
        os.fsync(self._end.fileno())
        self._durable = self.next_row
        barrier("journal.after_sync", self._segment.name)

    def records(self, first_row: int) -> Iterator[Record]:
        """The durable pushes that hold `first_row` or a later row."""
        for segment, following in zip(segments := self._segments(), [*segments[1:], None], strict=True):
            if following is None or _first_row(following) > first_row:
                for record in self._read(segment):
                    if record.last_row >= first_row and record.last_row < self._durable:
                        yield record

    def release(self, landed: int) -> None:
        """Remove the segments whose rows bronze has, `landed` being the last; a segment grown large, or landed whole, is closed first."""
        is_landed = landed + 1 >= self.next_row
        if self._end.tell() and (is_landed or self._end.tell() >= SEGMENT_BYTES):
            self._begin(self.next_row)
        segments = self._segments()
        for segment, following in pairwise(segments):
            if _first_row(following) > landed + 1:
                break
            barrier("journal.before_unlink", segment.name)
            segment.unlink()
            self.first_row = _first_row(following)
        fsync(self.folder)

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return sum(segment.stat().st_size for segment in self._segments())

    def close(self) -> None:
        """Let go of the file."""
        self._end.close()

    @property
    def _end(self) -> BinaryIO:
        if self._written is None:
            raise ValueError(f"{self.folder}: the journal is closed")
        return self._written

    def _identity(self) -> str:
        path = self.folder / _ID
        if not path.exists():
            if any(self.folder.glob("*.log")):
                raise JournalDamaged(f"{path}: expected the journal's id beside its segments; {_see_runbook(self.folder)}")
            write_file(path, uuid.uuid4().hex.encode())
        return path.read_text(encoding="ascii").strip()

    def _segments(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _begin(self, row: int) -> None:
        if self._written is not None:
            self._written.close()
        self._segment = self.folder / f"{row:020d}.log"
        self._segment.touch()
        fsync(self._segment)
        fsync(self.folder)
        self._open_end()

    def _open_end(self, truncate_at: int | None = None) -> None:
        if self._written is not None:
            self._written.close()
        if truncate_at is not None:
            os.truncate(self._segment, truncate_at)
        self._written = self._segment.open("ab")

    def _frame(self, record: Record) -> bytes:
        push = record.push
        head = msgspec.json.encode(_Head(push.key, push.kind, push.received_at, push.digest))
        sealed = io.BytesIO()
        self._keys.seal_stream(io.BytesIO(push.content), sealed)
        content = sealed.getvalue()
        numbers = _NUMBERS.pack(_MAGIC, len(head), len(content), record.first_row, push.rows, self._durable)
        return numbers + zlib.crc32(numbers + head + content).to_bytes(4, "big") + head + content

    def _scan(self, segments: Sequence[Path]) -> int:
        """The number that the next row gets; a torn end of the last segment is cut off."""
        row = _first_row(segments[0])
        for segment in segments:
            if _first_row(segment) != row:
                raise JournalDamaged(f"{segment}: expected a segment that begins with row {row}; {_see_runbook(self.folder)}")
            content = segment.read_bytes()
            end = 0
            for frame in _frames(content):
                if frame.first_row != row:
                    raise JournalDamaged(f"{segment}: expected row {row} at byte {end}, found {frame.first_row}; {_see_runbook(self.folder)}")
                row, end = row + frame.rows, frame.end
            if end < len(content):
                if segment != segments[-1] or _was_answered(content[end:], row):
                    raise JournalDamaged(f"{segment}: row {row} at byte {end} cannot be read and had been answered; {_see_runbook(self.folder)}")
                os.truncate(segment, end)
                fsync(segment)
        return row

    def _read(self, segment: Path) -> Iterator[Record]:
        for frame in _frames(segment.read_bytes()):
            head = msgspec.json.decode(frame.head, type=_Head)
            plain = io.BytesIO()
            self._keys.open_stream(io.BytesIO(frame.content), plain)
            push = Push(head.key, head.kind, head.received_at, head.digest, frame.rows, plain.getvalue())
            yield Record(push, frame.first_row)


@dataclass(frozen=True)
class _Frame:
    head: bytes
    content: bytes
    first_row: int
    rows: int
    durable: int
    end: int


def _frames(content: bytes, start: int = 0) -> Iterator[_Frame]:
    """Whole frames from `start` on, until one is not whole."""
    while start + _FRAME.size <= len(content):
        magic, head_size, size, first_row, rows, durable, checksum = _FRAME.unpack_from(content, start)
        body = start + _FRAME.size
        end = body + head_size + size
        if magic != _MAGIC or end > len(content):
            return
        if zlib.crc32(content[body:end], zlib.crc32(content[start : start + _NUMBERS.size])) != checksum:
            return
        yield _Frame(content[body : body + head_size], content[body + head_size : end], first_row, rows, durable, end)
        start = end


def _was_answered(rest: bytes, row: int) -> bool:
    """Whether a whole frame behind the damage says that `row` was durable when it was written."""
    place = rest.find(_MAGIC)
    while place >= 0:
        frame = next(_frames(rest, place), None)
        if frame is not None and frame.durable > row:
            return True
        place = rest.find(_MAGIC, place + 1)
    return False


def _first_row(segment: Path) -> int:
    return int(segment.stem)


def _see_runbook(folder: Path) -> str:
    return f"see infra/runbooks/push-journal.md (the folder is {folder})"
