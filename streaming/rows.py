"""What a connector hands to the lander: deliveries, and the rows of one in blocks, as sent, in order."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar, Protocol

import msgspec
import numpy as np
import pyarrow as pa

# A row of more bytes is refused: the widest row a contract allows today, a grid boundary of 100,000 characters, has a tenth of it.
LARGEST_ROW_BYTES = 1 << 20
# The forms of payloads: a JSON line; a CSV record below its header, in the encoding that follows; a sheet's or a columnar file's row as a JSON object
# in which a value that JSON cannot say stands as {"$<kind>": text}.
JSON, CSV, SHEET, COLUMNS = "json", "csv ", "sheet", "columns"
# The rule for a record of a log in which there is nothing.
NO_VALUE = "no_value"


@dataclass(frozen=True)
class Refusal:
    """Why a delivery is refused as a whole."""

    rule: str
    detail: str


class CellError:
    """Stands for a sheet's cell that holds an error such as #N/A."""


class DeliveryChanged(Exception):
    """A delivery's content is no longer what its id was made of; it is left for the next run."""


class RefusedWhole(Exception):
    """Raised by a reader that can take in nothing more of a delivery."""

    def __init__(self, rule: str, detail: str) -> None:
        super().__init__(f"{rule}: {detail}")
        self.refusal = Refusal(rule, detail)


@dataclass(frozen=True)
class Delivery:
    """One thing that a sender sent: a file, or a log, which has no end: a topic partition, the journal of a sender's requests.

    `id` is the same whenever the same content is met again. `refusal` stands where its bytes need not be read at all. The rows of a log are
    numbered by their offsets; its file name is that of the topic.
    """

    feed: str
    sender_code: str
    file_name: str
    id: str
    size: int
    path: Path | None = None
    refusal: Refusal | None = None
    is_log: bool = False


@dataclass(frozen=True)
class Lines:
    """JSON objects, one a line."""

    raw: list[bytes]
    form: ClassVar[str] = JSON

    def __len__(self) -> int:
        return len(self.raw)

    def sizes(self) -> list[int]:
        """Bytes of each row."""
        return list(map(len, self.raw))

    def slice(self, start: int, stop: int) -> Lines:
        """Some of the rows."""
        return Lines(self.raw[start:stop])

    def payload(self, row: int) -> bytes:
        """The row's bytes as sent."""
        return self.raw[row]


@dataclass(frozen=True)
class Cells:
    """Rows of a sheet or a CSV file below their header; `raw` holds a CSV record's bytes, `header_raw` its header's."""

    header: tuple[str, ...]
    rows: list[Sequence[Any]]
    raw: list[bytes] | None = None
    header_raw: bytes = b""
    encoding: str = "utf-8"

    @property
    def form(self) -> str:
        """How a payload is to be read again."""
        return SHEET if self.raw is None else CSV + self.encoding

    def __len__(self) -> int:
        return len(self.rows)

    def sizes(self) -> list[int]:
        """Bytes of each row; of a sheet's row, whose bytes are nowhere apart, a guess."""
        return list(map(len, self.raw)) if self.raw is not None else [16 * len(self.header)] * len(self.rows)

    def slice(self, start: int, stop: int) -> Cells:
        """Some of the rows."""
        return replace(self, rows=self.rows[start:stop], raw=None if self.raw is None else self.raw[start:stop])

    def payload(self, row: int) -> bytes:
        """The record under its header, so that it can be read on its own; of a sheet's row a JSON object."""
        if self.raw is not None:
            return self.header_raw + b"\n" + self.raw[row]
        return _as_json(zip(self.header, self.rows[row], strict=False))


@dataclass(frozen=True)
class Columns:
    """Rows of a columnar file."""

    table: pa.Table
    form: ClassVar[str] = COLUMNS

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def sizes(self) -> list[int]:
        """Bytes of each row: an equal share of the table's."""
        return [self.table.nbytes // max(len(self), 1)] * len(self)

    def slice(self, start: int, stop: int) -> Columns:
        """Some of the rows."""
        return Columns(self.table.slice(start, stop - start))

    def payload(self, row: int) -> bytes:
        """The row as a JSON object."""
        return _as_json((name, _value(self.table.column(name)[row])) for name in self.table.column_names)


@dataclass(frozen=True)
class Unreadable:
    """One row that a reader could not take in; `reference` names the sealed file of its bytes where they are too many to carry.

    `is_whole`: it stands for a delivery of which nothing could be taken in.
    """

    rule: str
    detail: str
    content: bytes = b""
    reference: str | None = None
    is_whole: bool = False
    form: ClassVar[None] = None

    def __len__(self) -> int:
        return 1

    def sizes(self) -> list[int]:
        """Bytes that are carried."""
        return [len(self.content)]

    def slice(self, start: int, stop: int) -> Unreadable:
        """The row itself: there is no part of it."""
        return self

    def payload(self, row: int) -> bytes:
        """The row's bytes as sent."""
        return self.content


@dataclass(frozen=True)
class Refused:
    """Rows that are refused unread, all for one cause: their sender may not send them, or there is nothing in them."""

    rule: str
    detail: str
    raw: list[bytes]

    @property
    def form(self) -> str | None:
        """How a payload is to be read again: as what its sender may send by then."""
        return None if self.rule == NO_VALUE else JSON

    def __len__(self) -> int:
        return len(self.raw)

    def sizes(self) -> list[int]:
        """Bytes of each row."""
        return list(map(len, self.raw))

    def slice(self, start: int, stop: int) -> Refused:
        """Some of the rows."""
        return Refused(self.rule, self.detail, self.raw[start:stop])

    def payload(self, row: int) -> bytes:
        """The row's bytes as sent."""
        return self.raw[row]


Block = Lines | Cells | Columns | Unreadable | Refused


@dataclass(frozen=True)
class Chunk:
    """Consecutive rows of one delivery, numbered from 1 within it. The last chunk of a delivery without rows has none.

    Of a log, rows are numbered by their offsets, the chunk by its first one; where offsets are missing another chunk begins.
    """

    delivery: Delivery
    number: int
    first_row: int
    blocks: tuple[Block, ...]
    is_last: bool
    size: int

    @property
    def rows(self) -> int:
        """How many rows."""
        return sum(map(len, self.blocks))

    @property
    def last_row(self) -> int:
        """The number of its last row; one less than `first_row` where it has none."""
        return self.first_row + self.rows - 1

    @property
    def payload_bytes(self) -> int:
        """What its receipt counts as sent, so that the receipts of a delivery add up to its size."""
        if self.delivery.is_log:
            return self.size
        return self.delivery.size if self.number == 1 else 0

    @property
    def refused_whole(self) -> Unreadable | None:
        """Why nothing of its delivery could be taken in."""
        first = self.blocks[0] if self.blocks else None
        return first if isinstance(first, Unreadable) and first.is_whole else None


class Readable(Protocol):
    """A stream of bytes, of which nothing but reading on is asked."""

    def read(self, size: int = -1, /) -> bytes:
        """The next bytes; none at the end."""


class Connector(Protocol):
    """Where deliveries come from. The lander asks nothing else of it."""

    def feeds(self) -> list[str]:
        """The feeds that something lies ready for."""

    def deliveries(self, feed: str) -> list[Delivery]:
        """What lies ready for a feed, in the order in which it is to be landed."""

    def blocks(self, delivery: Delivery) -> Iterator[Block]:
        """A delivery's rows; the same content gives the same rows again.

        Raises RefusedWhole where it cannot go on, and DeliveryChanged.
        """

    def keep(self, delivery: Delivery) -> str:
        """Seal a delivery's bytes as they are; gives the place that quarantine names."""


def cut(delivery: Delivery, blocks: Iterable[Block], keep: Callable[[], str], *, rows: int, size: int) -> Iterator[Chunk]:
    """Cut a delivery into chunks of at most `rows` rows and `size` bytes (or one row); the last one says so.

    Where a reader breaks off, what it could not take in is one row more, its bytes kept by `keep`, which names them.
    """
    held: list[Block] = []
    held_rows = held_size = 0
    full: Chunk | None = None
    number, first_row = 1, 1
    for block in _until_broken(blocks, keep):
        rest = block
        while len(rest):
            if full is not None:
                yield full
                full = None
            sizes = np.cumsum(rest.sizes())
            fitting = int(np.searchsorted(sizes, size - held_size, side="right"))
            take = min(len(rest), rows - held_rows, max(fitting, 0 if held_rows else 1))
            if take:
                held.append(rest.slice(0, take))
                held_rows, held_size = held_rows + take, held_size + int(sizes[take - 1])
            if held_rows == rows or take < len(rest):
                full = Chunk(delivery, number, first_row, tuple(held), False, held_size)
                number, first_row = number + 1, first_row + held_rows
                held, held_rows, held_size = [], 0, 0
            if take == len(rest):
                break
            rest = rest.slice(take, len(rest))
    yield replace(full, is_last=True) if full is not None else Chunk(delivery, number, first_row, tuple(held), True, held_size)


def _until_broken(blocks: Iterable[Block], keep: Callable[[], str]) -> Iterator[Block]:
    is_whole = True
    try:
        for block in blocks:
            yield block
            is_whole = is_whole and not len(block)
    except RefusedWhole as broken:
        yield Unreadable(broken.refusal.rule, broken.refusal.detail, reference=keep(), is_whole=is_whole)


def as_sent(payload: bytes) -> dict[str, Any]:
    """The values of a row that was a sheet's or a columnar file's, by column; those that were null are left out."""
    return {name: _untold(value) if isinstance(value, dict) else value for name, value in msgspec.json.decode(payload).items()}


def _as_json(pairs: Iterable[tuple[str, Any]]) -> bytes:
    return msgspec.json.encode({name: _told(value) for name, value in pairs if value is not None})


def _value(scalar: pa.Scalar) -> Any:
    try:
        return scalar.as_py()
    except UnicodeDecodeError:  # text that is not UTF-8, refused for it
        return scalar.cast(pa.binary()).as_py()


def _told(value: Any) -> Any:
    if isinstance(value, (bool, int, str)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    for kind, (name, write, _) in _TOLD.items():
        if isinstance(value, kind):
            return {name: write(value)}
    return {"$other": str(value)}


def _untold(told: dict[str, str]) -> Any:
    ((name, text),) = told.items()
    return next((read(text) for _, (known, _, read) in _TOLD.items() if known == name), [text])


# A value of another kind comes back as a list, which no column takes.
_TOLD: dict[type, tuple[str, Callable[[Any], str], Callable[[str], Any]]] = {
    float: ("$number", str, float),
    datetime: ("$timestamp", datetime.isoformat, datetime.fromisoformat),
    date: ("$date", date.isoformat, date.fromisoformat),
    Decimal: ("$decimal", str, Decimal),
    bytes: ("$bytes", lambda value: base64.b64encode(value).decode(), base64.b64decode),
    CellError: ("$error", lambda _: "", lambda _: CellError()),
}
