"""The body of a push, unpacked within bounds and read into rows as the inbox reads its files."""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable

import msgspec
import pyarrow as pa

from streaming.push.journal import Kind
from streaming.rows import LARGEST_ROW_BYTES, Block, Columns, Lines, Readable, RefusedWhole, Unreadable
from streaming.text_files import read_csv, read_json_lines

KINDS: dict[str, Kind] = {
    "application/x-ndjson": "ndjson",
    "application/jsonl": "ndjson",
    "application/json": "json",
    "text/csv": "csv",
}
# Bytes of a body as sent, and unpacked. More belongs into several pushes, or into a file.
LARGEST_BODY, LARGEST_UNPACKED = 16 << 20, 64 << 20
_GZIP = 16 + zlib.MAX_WBITS
_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
Keep = Callable[[Readable], str]


class BodyRefused(Exception):
    """A body of which no row can be taken in; nothing of it is kept. `status` is HTTP's."""

    def __init__(self, status: int, code: str, expected: str) -> None:
        super().__init__(f"{code}: {expected}")
        self.status, self.code, self.expected = status, code, expected


def kind_of(content_type: str) -> Kind:
    """The notation that a Content-Type names; raises BodyRefused (415)."""
    name = content_type.partition(";")[0].strip().lower()
    if name not in KINDS:
        raise BodyRefused(415, "content_type", f"Content-Type one of {', '.join(KINDS)}")
    return KINDS[name]


def unpack(body: bytes, content_encoding: str) -> bytes:
    """The body without its Content-Encoding (gzip, identity or none), in bounded memory; raises BodyRefused."""
    encoding = content_encoding.strip().lower()
    if encoding in {"", "identity"}:
        return body
    if encoding not in {"gzip", "x-gzip"}:
        raise BodyRefused(415, "content_encoding", "Content-Encoding gzip, or none")
    pieces, room, rest = [], LARGEST_UNPACKED, body
    try:
        # A gzip file may have several members (RFC 1952, section 2.2).
        while rest:
            member = zlib.decompressobj(_GZIP)
            pieces.append(member.decompress(rest, room + 1))
            room -= len(pieces[-1])
            if room < 0:
                raise BodyRefused(413, "unpacked_too_large", f"a body that unpacks to at most {LARGEST_UNPACKED >> 20} MiB; send it in parts")
            if not member.eof:
                raise BodyRefused(400, "gzip", "a whole gzip body; this one is cut off: send it again")
            rest = member.unused_data
    except zlib.error:
        raise BodyRefused(400, "gzip", "a gzip body, as Content-Encoding says; this one is damaged or none: send it again") from None
    return b"".join(pieces)


def blocks(kind: Kind, content: bytes, known: frozenset[str], keep: Keep) -> list[Block]:
    """The rows of a body; the same content gives the same rows again. What cannot be read at all is one row that will be refused."""
    try:
        if kind == "ndjson":
            return list(read_json_lines(io.BytesIO(content), keep))
        if kind == "csv":
            return list(read_csv(lambda: io.BytesIO(content), keep, known))
        if kind == "arrow":
            return [Columns(pa.ipc.open_stream(content).read_all())]
        return _json(content, keep)
    except RefusedWhole as broken:
        return [_whole(content, broken.refusal.rule, broken.refusal.detail, keep)]


def _json(content: bytes, keep: Keep) -> list[Block]:
    """One value, or the values of an array, each in the bytes that were sent."""
    text = content.strip(b" \t\r\n")
    if not text:
        return []
    if not text.startswith(b"["):
        return _bounded([text], keep)
    try:
        return _bounded([bytes(value) for value in _ARRAY.decode(text)], keep)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return [_whole(content, "json", "not one whole JSON array", keep)]


def _bounded(values: list[bytes], keep: Keep) -> list[Block]:
    if max(map(len, values), default=0) <= LARGEST_ROW_BYTES:
        return [Lines(values)] if values else []
    found: list[Block] = []
    for value in values:
        if len(value) > LARGEST_ROW_BYTES:
            found.append(Unreadable("row_too_large", f"more than {LARGEST_ROW_BYTES} bytes in one row", reference=keep(io.BytesIO(value))))
        elif found and isinstance(found[-1], Lines):
            found[-1].raw.append(value)
        else:
            found.append(Lines([value]))
    return found


def _whole(content: bytes, rule: str, detail: str, keep: Keep) -> Unreadable:
    if len(content) > LARGEST_ROW_BYTES:
        return Unreadable(rule, detail, reference=keep(io.BytesIO(content)))
    return Unreadable(rule, detail, content)
