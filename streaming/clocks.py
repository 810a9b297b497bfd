"""Local times as senders write them, to UTC: a contract's date pattern compiled to byte layouts, and the zone's transitions.

Nothing is guessed: a text of another shape, 30 February and hour 24 give no time. Times that the zone had twice or never are told apart.
"""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

Micros = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

SECOND, DAY = 1_000_000, 86_400_000_000
FIRST, LAST = (int(at.replace(tzinfo=UTC).timestamp()) * SECOND for at in (datetime(1, 1, 1), datetime(9999, 12, 31, 23, 59, 59)))
ISO_DATE = "yyyy-MM-dd"
# Where a contract names no pattern: ISO 8601 with `T` or a space, any fraction, with or without offset.
ISO_TIMESTAMP = ("yyyy-MM-dd HH:mm[:ss[.S][XXX]]", "yyyy-MM-dd'T'HH:mm[:ss[.S]][XXX]")
_FIELDS = {"y": "year", "u": "year", "M": "month", "d": "day", "H": "hour", "m": "minute", "s": "second"}
_FRACTION_DIGITS = 9

# First day of each month since 1970 by (year * 12 + month - 1), and the length of that month; year 0 stands there only to be refused.
_MONTHS = np.arange("0000-01", "10000-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
_MONTH_LENGTH = np.diff(_MONTHS)


class PatternError(ValueError):
    """A date pattern that cannot be compiled."""


@dataclass(frozen=True)
class Piece:
    """Bytes of a layout: digits of a field, or a literal."""

    name: str
    start: int
    width: int
    literal: bytes = b""


@dataclass(frozen=True)
class Layout:
    """One fixed-width way to write a pattern."""

    pieces: tuple[Piece, ...]
    width: int

    def read(self, matrix: npt.NDArray[np.uint8]) -> tuple[Micros, Mask, Mask]:
        """(microseconds since 1970 on the writer's clock or in UTC where an offset is written, offset written, understood) of (rows, width) bytes."""
        understood = np.ones(len(matrix), np.bool_)
        values: dict[str, npt.NDArray[np.int64]] = {}
        for piece in self.pieces:
            columns = matrix[:, piece.start : piece.start + piece.width]
            if piece.literal:
                for index, byte in enumerate(piece.literal):
                    understood &= columns[:, index] == byte
            elif piece.name == "sign":
                understood &= (columns[:, 0] == ord("+")) | (columns[:, 0] == ord("-"))
                values["sign"] = np.where(columns[:, 0] == ord("-"), -1, 1)
            else:
                number = np.zeros(len(matrix), np.int64)
                for index in range(piece.width):
                    digit = columns[:, index] - ord("0")  # unsigned: anything below "0" becomes large
                    understood &= digit <= 9
                    number = number * 10 + digit
                values[piece.name] = number
        return self._instant(values, understood)

    def _instant(self, values: dict[str, npt.NDArray[np.int64]], understood: Mask) -> tuple[Micros, Mask, Mask]:
        zeros = np.zeros(len(understood), np.int64)
        year, month, day = (values.get(name, zeros + 1) for name in ("year", "month", "day"))
        hour, minute, second = (values.get(name, zeros) for name in ("hour", "minute", "second"))
        understood = understood & (year >= 1) & (month >= 1) & (month <= 12) & (day >= 1) & (hour < 24) & (minute < 60) & (second < 60)
        index = np.where(understood, year * 12 + month - 1, 0)
        understood &= day <= _MONTH_LENGTH[index]
        micros = (_MONTHS[index] + day - 1) * DAY + (hour * 3600 + minute * 60 + second) * SECOND
        for piece in self.pieces:
            if piece.name == "fraction":
                beyond = 10 ** max(piece.width - 6, 0)
                understood &= values["fraction"] % beyond == 0  # digits that microseconds cannot hold
                micros = micros + values["fraction"] // beyond * 10 ** max(6 - piece.width, 0)
        offset_written = "sign" in values or any(p.name == "utc" for p in self.pieces)
        if "sign" in values:
            offset_hour, offset_minute = values["offset_hour"], values["offset_minute"]
            understood &= (offset_hour <= 18) & (offset_minute < 60)
            micros = micros - values["sign"] * (offset_hour * 60 + offset_minute) * 60 * SECOND
        return micros, np.full(len(understood), offset_written), understood


@functools.cache
def layouts(patterns: tuple[str, ...]) -> dict[int, tuple[Layout, ...]]:
    """Every layout of the patterns by its width in bytes.

    A single letter takes one digit or two (`M`, `d`, `H`), `S` any number of fraction digits, `SSS` exactly three; `X` is `Z` or an offset;
    `[…]` may be absent. Raises PatternError for letters that have no fixed digits (names of months, am/pm).
    """
    by_width: dict[int, dict[Layout, None]] = {}
    for pattern in patterns:
        for choice in itertools.product(*_alternatives(pattern)):
            layout = _place([piece for part in choice for piece in part])
            by_width.setdefault(layout.width, {})[layout] = None
    return {width: tuple(found) for width, found in by_width.items()}


def parse(text: pa.Array, known: dict[int, tuple[Layout, ...]]) -> tuple[Micros, Mask, Mask]:
    """(microseconds, offset written, understood) of a string array; nulls are not understood."""
    rows = len(text)
    micros, written, understood = np.zeros(rows, np.int64), np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
    _, offset_buffer, data_buffer = text.buffers()
    if rows == 0 or data_buffer is None:
        return micros, written, understood
    offsets = np.frombuffer(offset_buffer, np.int32)[text.offset : text.offset + rows + 1].astype(np.int64)
    data = np.frombuffer(data_buffer, np.uint8)
    lengths = np.where(pc.is_valid(text).to_numpy(zero_copy_only=False), np.diff(offsets), -1)
    for width in set(np.unique(lengths).tolist()) & set(known):
        chosen = np.flatnonzero(lengths == width)
        if offsets[-1] - offsets[0] == len(chosen) * width:  # the usual case: all texts of one length, one after the other
            matrix = data[offsets[0] : offsets[-1]].reshape(len(chosen), width)
        else:
            matrix = data[offsets[chosen][:, None] + np.arange(width)]
        for layout in known[width]:
            found, with_offset, fits = layout.read(matrix)
            taken = chosen[fits]
            micros[taken], written[taken], understood[taken] = found[fits], with_offset[fits], True
            if fits.all():
                break
            chosen, matrix = chosen[~fits], matrix[~fits]
    return micros, written, understood


@dataclass(frozen=True)
class Zone:
    """A time zone's changes of offset, in microseconds; between them its clock is steady."""

    begins: Micros  # local time at which the doubtful hour of each change begins
    ends: Micros  # and ends
    before: Micros  # offset from UTC before the change
    after: Micros

    def to_utc(self, local: Micros) -> tuple[Micros, Micros, Mask]:
        """(the earlier instant, the later instant, never shown by this clock); the first two differ where the clock showed the time twice."""
        if not len(self.begins):
            steady = local - self.before[0]
            return steady, steady, np.zeros(len(local), np.bool_)
        index = np.searchsorted(self.begins, local, side="right") - 1
        last = np.maximum(index, 0)
        after = np.where(index < 0, self.before[0], self.after[last])
        doubtful = (index >= 0) & (local < self.ends[last])
        earlier = local - np.where(doubtful, self.before[last], after)
        later = local - after
        never = doubtful & (self.after[last] > self.before[last])
        return np.minimum(earlier, later), np.maximum(earlier, later), never


@functools.cache
def zone(name: str) -> Zone:
    """The zone's changes from 1890 to 2150, found by bisection between days of different offset; later times keep the last offset."""
    clock = ZoneInfo(name)

    def offset(at: datetime) -> int:
        return round((clock.utcoffset(at.astimezone(clock)) or timedelta()).total_seconds())

    changes: list[tuple[datetime, int, int]] = []
    day, end = datetime(1890, 1, 1, tzinfo=UTC), datetime(2150, 1, 1, tzinfo=UTC)
    first = current = offset(day)
    while day < end:
        following = day + timedelta(days=1)
        new = offset(following)
        if new != current:
            low, high = day, following
            while high - low > timedelta(seconds=1):
                middle = (low + (high - low) / 2).replace(microsecond=0)
                low, high = (middle, high) if offset(middle) == current else (low, middle)
            changes.append((high, current, new))
            current = new
        day = following
    instants = np.array([int(at.timestamp()) for at, _, _ in changes], np.int64)
    before = np.array([b for _, b, _ in changes] or [first], np.int64)
    after = np.array([a for _, _, a in changes] or [first], np.int64)
    begins, ends = (instants + edge(before, after) if len(instants) else instants for edge in (np.minimum, np.maximum))
    return Zone(begins * SECOND, ends * SECOND, before * SECOND, after * SECOND)


def _alternatives(pattern: str) -> list[list[list[Piece]]]:
    """For each part of a pattern, the ways to write it."""
    parts: list[list[list[Piece]]] = []
    position = 0
    while position < len(pattern):
        letter = pattern[position]
        if letter == "'":
            end = pattern.find("'", position + 1)
            if end < 0:
                raise PatternError(f"date pattern {pattern!r}: a quote is not closed")
            parts.append([_literal(pattern[position + 1 : end] or "'")])
            position = end + 1
        elif letter == "[":
            end = _closing(pattern, position)
            inner = [[p for part in choice for p in part] for choice in itertools.product(*_alternatives(pattern[position + 1 : end]))]
            parts.append([*inner, []])
            position = end + 1
        elif letter.isascii() and letter.isalpha():
            end = position
            while end < len(pattern) and pattern[end] == letter:
                end += 1
            parts.append(_letters(pattern, letter, end - position))
            position = end
        else:
            parts.append([_literal(letter)])
            position += 1
    return parts


def _letters(pattern: str, letter: str, count: int) -> list[list[Piece]]:
    if letter in "yu" and count in (1, 4):
        return [[Piece("year", 0, 4)]]
    if letter in _FIELDS and letter not in "yu" and count <= 2:
        return [[Piece(_FIELDS[letter], 0, width)] for width in ((2,) if count == 2 else (1, 2))]
    if letter == "S":
        return [[Piece("fraction", 0, width)] for width in ((count,) if count > 1 else range(1, _FRACTION_DIGITS + 1))]
    if letter in "XxZ" and count <= 3:
        hour, minute = Piece("offset_hour", 0, 2), Piece("offset_minute", 0, 2)
        ways = [[Piece("sign", 0, 1), hour, *_literal(":"), minute], [Piece("sign", 0, 1), hour, minute]]
        return [*ways, [Piece("utc", 0, 1, b"Z")]] if letter == "X" else ways
    raise PatternError(
        f"date pattern {pattern!r}: {letter * count!r} is not supported; expected yyyy MM dd HH mm ss S XXX, literals and [optional] parts"
    )


def _literal(text: str) -> list[Piece]:
    content = text.encode()
    return [Piece("literal", 0, len(content), content)]


def _closing(pattern: str, start: int) -> int:
    depth = 0
    for position in range(start, len(pattern)):
        depth += {"[": 1, "]": -1}.get(pattern[position], 0)
        if depth == 0:
            return position
    raise PatternError(f"date pattern {pattern!r}: '[' is not closed")


def _place(pieces: list[Piece]) -> Layout:
    placed, start = [], 0
    for piece in pieces:
        placed.append(Piece(piece.name, start, piece.width, piece.literal))
        start += piece.width
    return Layout(tuple(placed), start)
