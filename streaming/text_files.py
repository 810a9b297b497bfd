"""Rows of text files: JSON lines and CSV, plain or gzipped, in bounded memory however long a line is."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import IO

from streaming.rows import LARGEST_ROW_BYTES, Block, Cells, Lines, Readable, RefusedWhole, Unreadable

BLOCK_BYTES = 4 << 20
# Text compresses to a tenth or a thirtieth. Two hundred to one beyond 100 MiB is made to fill a disk.
_HARMLESS_BYTES, _LARGEST_RATIO = 100 << 20, 200
# Lines with other than ASCII that are enough to tell UTF-8 from GB18030, and how far to look for them.
_TELLING_LINES, _TELLING_BYTES = 2000, 64 << 20
UTF8, GB18030 = "utf-8", "gb18030"


Keep = Callable[[Readable], str]


class Unpacked(io.RawIOBase):
    """The content of a gzip file. Raises RefusedWhole where it is damaged, cut off or out of all proportion."""

    def __init__(self, packed: IO[bytes], packed_size: int) -> None:
        super().__init__()
        self._source = gzip.GzipFile(fileobj=packed)
        self._most = max(_HARMLESS_BYTES, _LARGEST_RATIO * packed_size)
        self._total, self._is_damaged = 0, False

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes; where the file ends too soon, all that was whole before."""
        pieces, wanted = [], size if size >= 0 else self._most + 1
        try:
            while not self._is_damaged and wanted > 0 and (piece := self._source.read1(wanted)):
                pieces.append(piece)
                wanted -= len(piece)
        except (gzip.BadGzipFile, EOFError, zlib.error):
            self._is_damaged = True
        if self._is_damaged and not pieces:
            raise RefusedWhole("format", "the gzip file is damaged or cut off; send it again")
        content = b"".join(pieces)
        self._total += len(content)
        if self._total > self._most:
            raise RefusedWhole("archive_too_large", f"unpacks to more than {self._most >> 20} MiB, {_LARGEST_RATIO} times its size")
        return content


def read_json_lines(source: Readable, keep: Keep) -> Iterator[Block]:
    """One JSON object a line; blank lines are no rows."""
    for found in lines(source, keep):
        if isinstance(found, Unreadable):
            yield found
        elif full := [line for line in found if line and not line.isspace()]:
            yield Lines(full)


def read_csv(reopen: Callable[[], IO[bytes]], keep: Keep, known: frozenset[str]) -> Iterator[Block]:
    """Records of a comma-separated file below a header that names at least one known column; UTF-8 or GB18030."""
    with reopen() as source:
        encoding = encoding_of(source)
    with reopen() as source:
        yield from _CsvReader(encoding, known, keep).read(source)


def read_record(payload: bytes, encoding: str, known: frozenset[str]) -> Cells | None:
    """A CSV record below its header, as a payload holds it; None where it is no record."""

    def keep(_: Readable) -> str:
        raise RefusedWhole("row_too_large", "a payload holds no row of so many bytes")

    try:
        found = list(_CsvReader(encoding, known, keep).read(io.BytesIO(payload)))
    except RefusedWhole:
        return None
    only = found[0] if len(found) == 1 else None
    return only if isinstance(only, Cells) and len(only) == 1 else None


def lines(source: Readable, keep: Keep) -> Iterator[list[bytes] | Unreadable]:
    """Lines without their newline, a block's worth at a time. A line of more than a row's bytes is sealed as it streams by."""
    rest, is_first = b"", True
    while True:
        block = source.read(BLOCK_BYTES)
        if is_first:
            block = _without_mark(block)
            is_first = False
        *found, rest = (rest + block).split(b"\n")
        yield from _bounded(found, keep)
        if not block:
            yield from _bounded([rest] if rest else [], keep)
            return
        if len(rest) > LARGEST_ROW_BYTES:
            line = _LineOnTheWay(rest, source)
            yield _too_large(keep(line))
            rest = line.following


def encoding_of(source: Readable) -> str:
    """utf-8 or gb18030, by whether most lines with other than ASCII are valid in it."""
    valid = {UTF8: 0, GB18030: 0}
    telling = looked_at = 0
    rest = _without_mark(source.read(3))
    while telling < _TELLING_LINES and looked_at < _TELLING_BYTES and (block := source.read(1 << 20)):
        looked_at += len(block)
        *found, rest = (rest[-LARGEST_ROW_BYTES:] + block).split(b"\n")
        for line in found:
            telling += _count_valid(line, valid)
    if telling < _TELLING_LINES:
        telling += _count_valid(rest, valid)
    return GB18030 if valid[GB18030] > valid[UTF8] and valid[UTF8] * 2 < telling else UTF8


class _LineOnTheWay(io.RawIOBase):
    """A line whose end has not been read yet, as a stream; afterwards `following` is what was read past its end."""

    def __init__(self, begun: bytes, source: Readable) -> None:
        super().__init__()
        self._begun, self._source, self._ended = begun, source, False
        self.following = b""

    def readable(self) -> bool:
        """It is."""
        return True

    def read(self, size: int = -1) -> bytes:
        """The next bytes of the line."""
        if self._begun:
            content, self._begun = self._begun, b""
            return content
        if self._ended:
            return b""
        content = self._source.read(BLOCK_BYTES)
        content, newline, self.following = content.partition(b"\n")
        self._ended = bool(newline) or not content
        return content


class _CsvReader:
    def __init__(self, encoding: str, known: frozenset[str], keep: Keep) -> None:
        self._encoding, self._known, self._keep = encoding, known, keep
        self._header: tuple[str, ...] = ()
        self._header_raw = b""
        csv.field_size_limit(max(csv.field_size_limit(), LARGEST_ROW_BYTES))

    def read(self, source: Readable) -> Iterator[Block]:
        unfinished: list[bytes] = []
        for found in lines(source, self._keep):
            if isinstance(found, Unreadable):
                yield from self._blocks(self._records(unfinished, is_last=True)[0])
                unfinished = []
                yield found
                continue
            records, unfinished = self._records(unfinished + found, is_last=False)
            yield from self._blocks(records)
        yield from self._blocks(self._records(unfinished, is_last=True)[0])

    def _records(self, raw: list[bytes], *, is_last: bool) -> tuple[Sequence[tuple[list[str], bytes] | Unreadable], list[bytes]]:
        """(records with their bytes, and rows that are none; the lines of a record that goes on in the next block)."""
        try:
            texts = b"\n".join(raw).decode(self._encoding).split("\n")
            rows = list(csv.reader(texts, strict=True))
        except (UnicodeDecodeError, csv.Error):
            return self._records_one_by_one(raw, is_last=is_last)
        # No record takes less than a line, so as many records as lines means that each line is one.
        if len(rows) != len(raw):
            return ([], []) if not raw else self._records_one_by_one(raw, is_last=is_last)
        return list(zip(rows, raw, strict=True)), []

    def _records_one_by_one(self, raw: list[bytes], *, is_last: bool) -> tuple[list[tuple[list[str], bytes] | Unreadable], list[bytes]]:
        found: list[tuple[list[str], bytes] | Unreadable] = []
        start = 0
        while start < len(raw):
            feed = _Feed(raw, start, self._encoding)
            reader = csv.reader(feed, strict=True)
            try:
                for row in reader:
                    found.append((row, b"\n".join(raw[feed.record : feed.next])))
                    feed.record = feed.next
                break
            except csv.Error as error:
                size = sum(map(len, raw[feed.record :]))
                if feed.next == len(raw) and not is_last and size <= LARGEST_ROW_BYTES:
                    return found, raw[feed.record :]
                found.append(Unreadable("csv", f"not a CSV record: {error}", raw[feed.record]))
            except _NotInEncoding:
                if feed.next - 1 == feed.record:
                    found.append(Unreadable("encoding", f"not {self._encoding.upper()}", raw[feed.record]))
                else:
                    found.append(Unreadable("csv", "a quote is opened and not closed", raw[feed.record]))
            except _RecordTooLong:
                found.append(Unreadable("csv", "a quote is opened and not closed", raw[feed.record]))
            # Only the record's first line is given up: one stray quote must not swallow the rows after it.
            start = feed.record + 1
        return found, []

    def _blocks(self, records: Sequence[tuple[list[str], bytes] | Unreadable]) -> Iterator[Block]:
        rows: list[Sequence[str]] = []
        raw: list[bytes] = []
        for record in records:
            if isinstance(record, Unreadable):
                if not self._header:
                    raise RefusedWhole("header", "the first line is no header; expected the contract's column names")
                if rows:
                    yield self._cells(rows, raw)
                    rows, raw = [], []
                yield replace(record, content=self._header_raw + b"\n" + record.content)
            elif not any(record[0]):
                continue
            elif not self._header:
                self._header = header(record[0], self._known)
                self._header_raw = record[1]
            else:
                rows.append(record[0])
                raw.append(record[1])
        if rows:
            yield self._cells(rows, raw)

    def _cells(self, rows: list[Sequence[str]], raw: list[bytes]) -> Cells:
        return Cells(self._header, rows, raw, self._header_raw, self._encoding)


class _NotInEncoding(Exception):
    pass


class _RecordTooLong(Exception):
    pass


class _Feed:
    """Hands lines to the csv reader and knows where the record that it is reading began."""

    def __init__(self, raw: list[bytes], start: int, encoding: str) -> None:
        self._raw, self._encoding = raw, encoding
        self.record = self.next = start
        self._size = 0

    def __iter__(self) -> _Feed:
        return self

    def __next__(self) -> str:
        if self.next == len(self._raw):
            raise StopIteration
        line = self._raw[self.next]
        self._size = len(line) if self.next == self.record else self._size + len(line)
        self.next += 1
        if self._size > LARGEST_ROW_BYTES:
            raise _RecordTooLong
        try:
            return line.decode(self._encoding) + "\n"
        except UnicodeDecodeError:
            raise _NotInEncoding from None


def header(names: Sequence[object], known: frozenset[str]) -> tuple[str, ...]:
    """The header's names; raises RefusedWhole where the contract knows none of them, for then the first row is data."""
    trimmed = tuple("" if name is None else str(name).strip() for name in names)
    while trimmed and not trimmed[-1]:
        trimmed = trimmed[:-1]
    if not known & set(trimmed):
        raise RefusedWhole("header", "no column of the contract in the first row; expected a header line with its column names, parted by commas")
    return trimmed


def _without_mark(start: bytes) -> bytes:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise RefusedWhole("encoding", "UTF-16; expected UTF-8 (CSV also GB18030): save the file again in that encoding")
    return start.removeprefix(codecs.BOM_UTF8)


def _bounded(found: list[bytes], keep: Keep) -> Iterator[list[bytes] | Unreadable]:
    start = 0
    for index, line in enumerate(found) if max(map(len, found), default=0) > LARGEST_ROW_BYTES else ():
        if len(line) > LARGEST_ROW_BYTES:
            yield found[start:index]
            yield _too_large(keep(io.BytesIO(line)))
            start = index + 1
    yield found[start:]


def _too_large(reference: str) -> Unreadable:
    return Unreadable("row_too_large", f"more than {LARGEST_ROW_BYTES} bytes in one line", reference=reference)


def _count_valid(line: bytes, valid: dict[str, int]) -> int:
    if line.isascii():
        return 0
    for encoding in valid:
        try:
            line.decode(encoding)
        except UnicodeDecodeError:
            continue
        valid[encoding] += 1
    return 1
