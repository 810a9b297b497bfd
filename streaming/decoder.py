"""Rows as sent, to the contract's types: a decoder compiled from the contract.

Strict: "12" is no integer, 1.0 is no integer, true is no number, and what 64 bits cannot hold is no value. A value that cannot be read
becomes null with a reason beside it; whoever reads the columns looks at the reasons first.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from itertools import repeat
from operator import attrgetter
from typing import Any
from zoneinfo import ZoneInfoNotFoundError

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import UNSET, UnsetType

from gridlake.contracts import Column, Contract, ContractError
from gridlake.contracts.compile import payload_type
from streaming import clocks
from streaming.reasons import Mask, Reasons, shown
from streaming.rows import Block, CellError, Cells, Columns, Lines, Refused, Unreadable

OP = "_op"
UPSERT, DELETE = "upsert", "delete"
_INSTANT = pa.timestamp("us", "UTC")
_NONE = type(None)
# Decoded objects of so many rows stay in the processor's cache until they are columns: 1.8 times the rate of 100,000 at a time.
_LINES_AT_ONCE = 1000
# Columns that a contract does not know, named in one row's reasons; the rest of them is counted.
_UNKNOWN_NAMED = 20
_LARGEST_EXACT = 2**53
_LARGEST_INTEGER, _SMALLEST_INTEGER = 2**63 - 1, -(2**63)
_DIGITS_WORTH_READING = 400  # an integer of more digits is beyond a double too
_INTEGER_TEXT = r"\A-?(?:0|[1-9][0-9]{0,18})\z"
_NUMBER_TEXT = r"\A-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?\z"
_JSON_TYPES: dict[str, frozenset[type]] = {
    "string": frozenset({str}),
    "integer": frozenset({int}),
    "number": frozenset({int, float}),
    "boolean": frozenset({bool}),
    "date": frozenset({str}),
    "timestamp": frozenset({str}),
}
_decode_line = msgspec.json.Decoder().decode


class Beyond:
    """Stands for a number that was written but that 64 bits cannot hold (NaN and infinities among them)."""


_BEYOND = Beyond()
_UNREAD = object()  # in the place of a row whose reason is entered already
_KIND_NAMES: dict[type, str] = {
    str: "string",
    int: "integer",
    float: "number with a fraction",
    bool: "boolean",
    dict: "object",
    list: "array",
    Beyond: "number out of range or none at all",
    datetime: "date and time",
    date: "date",
    CellError: "error",
}


@dataclass(frozen=True)
class Decoded:
    """Rows in the contract's columns and types, plain; `unread` rows had no values to read. `op` is upsert or delete."""

    columns: dict[str, pa.Array]
    op: pa.Array
    unread: Mask
    reasons: Reasons

    def __len__(self) -> int:
        return len(self.op)


class Decoder:
    """Reads blocks of one contract."""

    def __init__(self, contract: Contract) -> None:
        self.contract = contract
        self._columns = (*contract.columns, Column(OP, OP, "string"))
        self._known = frozenset(c.name for c in self._columns)
        self._allowed = self._known | frozenset(contract.ignored_columns)
        self._instants = [c for c in contract.columns if c.logical_type == "timestamp"]
        self._dates = [c for c in contract.columns if c.logical_type == "date"]
        named = dict.fromkeys([*(c.name for c in self._columns), *contract.ignored_columns])
        fields = {f"c{number}": name for number, name in enumerate(named)}
        record = msgspec.defstruct("Record", [(f, Any, UNSET) for f in fields], rename=fields, forbid_unknown_fields=True, gc=False)
        self._record = msgspec.json.Decoder(record)
        self._places = [attrgetter(f) for f in fields]
        try:
            self._layouts = {c.name: clocks.layouts(_patterns(c)) for c in self._instants + self._dates}
            self._sheet_layouts = {c.name: clocks.layouts((*_patterns(c), *_iso(c))) for c in self._instants + self._dates}
            self._zone = clocks.zone(contract.time_zone)
        except (clocks.PatternError, ZoneInfoNotFoundError) as error:
            raise ContractError(f"{contract.path}: {error}; mend logicalTypeOptions.format or gridlake.timeZone") from error

    @property
    def known(self) -> frozenset[str]:
        """Every name that the contract gives a column."""
        return self._known

    def decode(self, blocks: Iterable[Block]) -> Decoded:
        """All rows of the blocks, in order; consecutive JSON lines are read as one block whoever sent them."""
        parts: list[Decoded] = []
        lines: list[bytes] = []
        for block in blocks:
            if isinstance(block, Lines):
                lines.extend(block.raw)
                continue
            if lines:
                parts.append(self.lines(lines))
                lines = []
            if isinstance(block, Cells):
                parts.append(self.cells(block))
            elif isinstance(block, Columns):
                parts.append(self.table(block.table))
            else:
                parts.append(self._unreadable(block))
        if lines or not parts:
            parts.append(self.lines(lines))
        return _joined(parts)

    def lines(self, raw: Sequence[bytes]) -> Decoded:
        """JSON objects, one a line."""
        reasons, unread = Reasons(), np.zeros(len(raw), np.bool_)
        pieces: list[list[pa.Array]] = []
        for start in range(0, max(len(raw), 1), _LINES_AT_ONCE):
            some = raw[start : start + _LINES_AT_ONCE]
            found = Reasons()
            values = self._values_of_sound(some)
            if values is None:
                objects, broken = self._objects(some, found)
                values = [[*map(dict.get, objects, repeat(c.name))] for c in self._columns]
                unread[start + np.array(broken, np.int64)] = True
            pieces.append([self._strict(c, of_column, found) for c, of_column in zip(self._columns, values, strict=True)])
            reasons.extend(found.gathered(), start)
        arrays = [pa.concat_arrays(list(parts)) for parts in zip(*pieces, strict=True)]
        return self._typed(arrays, unread, reasons, self._layouts)

    def cells(self, block: Cells) -> Decoded:
        """Rows of a CSV file or a sheet: text in the contract's notation, from a sheet also numbers, booleans and dates."""
        reasons, rows = Reasons(), len(block)
        everywhere = np.ones(rows, np.bool_)
        unread = np.zeros(rows, np.bool_)
        widths = np.fromiter(map(len, block.rows), np.int64, rows)
        unread = widths != len(block.header)
        reasons.add("column_count", None, f"expected {len(block.header)} columns as in the header", unread)
        blank = (None,) * len(block.header)
        by_name: dict[str, Sequence[Any]] = {}
        square = [blank if ragged else row for row, ragged in zip(block.rows, unread, strict=True)] if unread.any() else block.rows
        for name, values in zip(block.header, zip(*square, strict=True) if square else repeat(()), strict=False):
            if name in by_name:
                reasons.add("duplicate_key", shown(name), "the header names this column twice", everywhere)
            elif name not in self._allowed:
                reasons.add("unknown_column", shown(name), "not in the contract", everywhere)
            by_name[name] = values
        absent = [None] * rows
        arrays = [self._from_text(c, by_name.get(c.name, absent), reasons) for c in self._columns]
        return self._typed(arrays, unread, reasons, self._layouts if block.raw is not None else self._sheet_layouts)

    def table(self, table: pa.Table) -> Decoded:
        """Rows of a columnar file, in its types where they are the contract's."""
        reasons, rows = Reasons(), table.num_rows
        everywhere = np.ones(rows, np.bool_)
        for name in dict.fromkeys(table.column_names):
            if table.column_names.count(name) > 1:
                reasons.add("duplicate_key", shown(name), "the file has this column twice", everywhere)
            elif name not in self._allowed:
                reasons.add("unknown_column", shown(name), "not in the contract", everywhere)
        arrays = [self._from_arrow(c, table, reasons) for c in self._columns]
        return self._typed(arrays, np.zeros(rows, np.bool_), reasons, self._layouts)

    def _unreadable(self, block: Unreadable | Refused) -> Decoded:
        reasons, unread = Reasons(), np.ones(len(block), np.bool_)
        reasons.add(block.rule, None, block.detail, unread)
        arrays = [pa.nulls(len(block), _wire_type(c)) for c in self._columns]
        return self._typed(arrays, unread, reasons, self._layouts)

    def _values_of_sound(self, raw: Sequence[bytes]) -> list[list[Any]] | None:
        """The values of each column, where every line is an object that names known columns and none of them twice; otherwise None.

        Reads each line into a record with a place for every column that may be named, which takes half the time of a dict.
        """
        try:
            records = [*map(self._record.decode, raw)]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None
        values = [[*map(of_column, records)] for of_column in self._places]
        keys = len(records) * len(values)
        for number, of_column in enumerate(values):
            if UnsetType in set(map(type, of_column)):
                keys -= of_column.count(UNSET)
                values[number] = [None if value is UNSET else value for value in of_column]
        written, is_certain = _keys_written(raw)
        return values[: len(self._columns)] if is_certain and written == keys else None

    def _objects(self, raw: Sequence[bytes], reasons: Reasons) -> tuple[list[dict[str, Any]], list[int]]:
        """(an object for each line, the lines that gave none and stand as empty objects)."""
        objects: list[Any] = []
        broken: dict[int, None] = {}
        waiting = iter(raw)
        while True:
            try:
                objects.extend(map(_decode_line, waiting))
                break
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
                row = len(objects)
                objects.append(_read_slowly(raw[row], row, reasons))
        if set(map(type, objects)) - {dict}:
            for row, found in enumerate(objects):
                if type(found) is not dict:
                    if found is not _UNREAD:
                        reasons.add("json", None, f"expected an object, got {_kind_name(type(found))}", [row])
                    objects[row] = {}
                    broken[row] = None
        for row in self._rows_with_duplicate_keys(raw, objects):
            if row not in broken and _enter_duplicates(raw[row], row, reasons):
                objects[row] = {}
                broken[row] = None
        if set().union(*objects) - self._allowed:
            self._enter_unknown(objects, reasons)
        return objects, list(broken)

    @staticmethod
    def _rows_with_duplicate_keys(raw: Sequence[bytes], objects: Sequence[dict[str, Any]]) -> list[int]:
        """Every row whose line may hold a key twice, and some that do not.

        Each key written is followed by `":`, unless white space parts them; so as many `":` as distinct keys leave no room for a second.
        """
        written, is_certain = _keys_written(raw)
        if is_certain and written == sum(map(len, objects)):
            return []
        return [
            row
            for row, (line, found) in enumerate(zip(raw, objects, strict=True))
            if line.count(b'":') != len(found) or b" :" in line or b"\t:" in line or b"\r:" in line
        ]

    def _enter_unknown(self, objects: Sequence[dict[str, Any]], reasons: Reasons) -> None:
        rows_of: dict[str, list[int]] = {}
        for row, found in enumerate(objects):
            names = found.keys() - self._allowed
            if names:
                for name in {shown(n) for n in sorted(names)[:_UNKNOWN_NAMED]}:
                    rows_of.setdefault(name, []).append(row)
        for name, rows in rows_of.items():
            reasons.add("unknown_column", name, "not in the contract", rows)

    def _strict(self, column: Column, values: list[Any], reasons: Reasons) -> pa.Array:
        """Python values of the right kind as an Arrow array; the others become null with a reason."""
        allowed = _JSON_TYPES[column.logical_type]
        kinds = set(map(type, values)) - {_NONE}
        for kind in kinds - allowed:
            wrong = [row for row, value in enumerate(values) if type(value) is kind]
            reasons.add("type", column.name, f"expected {column.logical_type}, got {_kind_name(kind)}", wrong)
        if kinds - allowed:
            values = [value if type(value) in allowed else None for value in values]
        if column.logical_type == "integer":
            return _integers(column, values, reasons)
        if column.logical_type == "number":
            return _numbers(column, values, kinds, reasons)
        try:
            return pa.array(values, _wire_type(column))
        except UnicodeEncodeError:
            return pa.array(_without_surrogates(column, values, reasons), _wire_type(column))

    def _from_text(self, column: Column, values: Sequence[Any], reasons: Reasons) -> pa.Array:
        """Text in the contract's notation to its wire type; a sheet's own numbers, booleans and dates count as such."""
        kinds = set(map(type, values)) - {_NONE, str}
        if kinds:
            values = _sheet_text(column, values, kinds, reasons)
        text = pa.array(values, pa.string())
        text = pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)
        if column.logical_type == "integer":
            fits = pc.match_substring_regex(text, _INTEGER_TEXT)
            return _integers_of_text(column, text, fits, reasons)
        if column.logical_type == "number":
            return _numbers_of_text(column, text, reasons)
        if column.logical_type == "boolean":
            lower = pc.utf8_lower(text)
            fits = pc.is_in(lower, pa.array(["true", "false"]))
            reasons.add("type", column.name, "expected true or false", _mask(pc.and_(pc.invert(fits), pc.is_valid(text))))
            return pc.if_else(fits, pc.equal(lower, "true"), pa.scalar(None, pa.bool_()))
        return text

    def _from_arrow(self, column: Column, table: pa.Table, reasons: Reasons) -> pa.Array:
        if table.column_names.count(column.name) != 1:
            return pa.nulls(table.num_rows, _wire_type(column))
        found = table.column(column.name)
        given = pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], found.type)
        if pa.types.is_dictionary(given.type):
            given = given.dictionary_decode()
        converted = _ARROW_READERS[column.logical_type](column, given, reasons)
        if converted is None:
            reasons.add("type", column.name, f"expected {column.logical_type}, got {given.type}", _mask(pc.is_valid(given)))
            return pa.nulls(table.num_rows, _wire_type(column))
        return converted

    def _typed(self, arrays: Sequence[pa.Array], unread: Mask, reasons: Reasons, layouts: dict[str, dict[int, tuple[clocks.Layout, ...]]]) -> Decoded:
        """Wire types to payload types: what remains is text with NUL, the clocks and the operation."""
        named = {c.name: array for c, array in zip(self._columns, arrays, strict=True)}
        for name, array in named.items():
            if pa.types.is_string(array.type) and _may_hold_nul(array):
                reasons.add("encoding", name, "NUL character", _mask(pc.match_substring(array, "\0")))
        for column in self._dates:
            named[column.name] = self._date(column, named[column.name], layouts[column.name], reasons)
        self._set_instants(named, layouts, reasons)
        op = named.pop(OP)
        understood = pc.is_in(op, pa.array([UPSERT, DELETE]))
        reasons.add("values", OP, "expected upsert or delete", _mask(pc.and_(pc.is_valid(op), pc.invert(understood))))
        op = pc.if_else(understood, op, UPSERT)
        return Decoded(named, op, unread, reasons)

    def _date(self, column: Column, given: pa.Array, known: dict[int, tuple[clocks.Layout, ...]], reasons: Reasons) -> pa.Array:
        if pa.types.is_date(given.type):
            return given
        micros, _, understood = clocks.parse(given, known)
        valid = _mask(pc.is_valid(given))
        whole_day = micros % clocks.DAY == 0
        reasons.add("type", column.name, f"expected a date {' or '.join(_patterns(column))}", valid & ~(understood & whole_day))
        days = pa.array((micros // clocks.DAY).astype(np.int32), pa.int32(), mask=~(understood & whole_day))
        return days.view(pa.date32())

    def _set_instants(self, named: dict[str, pa.Array], layouts: dict[str, dict[int, tuple[clocks.Layout, ...]]], reasons: Reasons) -> None:
        before: list[tuple[npt.NDArray[np.int64], Mask]] = []
        for column in self._instants:
            given = named[column.name]
            valid = _mask(pc.is_valid(given))
            if pa.types.is_timestamp(given.type):
                micros = given.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
                written, understood = np.full(len(given), given.type.tz is not None), valid.copy()
            else:
                micros, written, understood = clocks.parse(given, layouts[column.name])
                reasons.add("type", column.name, f"expected a time {' or '.join(_patterns(column))}", valid & ~understood)
            if not written.all():
                earlier, later, never = self._zone.to_utc(micros)
                local = understood & ~written
                never &= local
                reasons.add("nonexistent_local_time", column.name, f"the clock of {self.contract.time_zone} never showed this time", never)
                understood &= ~never
                twice = local & ~never & (earlier != later)
                chosen = later if self.contract.ambiguous_time == "later" else earlier
                if twice.any() and self.contract.ambiguous_time == "refuse":
                    reasons.add("ambiguous_local_time", column.name, f"the clock of {self.contract.time_zone} showed this time twice", twice)
                    understood &= ~twice
                elif twice.any() and self.contract.ambiguous_time == "earlier":
                    # A row's clocks stand in the order of its columns: the later instant keeps that order where the earlier would break it.
                    for other, known in before:
                        chosen = np.where(twice & known & (earlier < other) & (other <= later), later, chosen)
                micros = np.where(written, micros, chosen)
            outside = understood & ((micros < clocks.FIRST) | (micros > clocks.LAST))
            reasons.add("type", column.name, "expected a time from year 1 to 9999", outside)
            understood &= ~outside
            before.append((micros, understood))
            named[column.name] = pa.array(micros, pa.int64(), mask=~understood).view(_INSTANT)


def _keys_written(raw: Sequence[bytes]) -> tuple[int, bool]:
    """(how many `":` the lines hold, whether no white space stands before a colon): as many as there are keys, and more where texts hold it too."""
    text = np.frombuffer(b"\n".join(raw), np.uint8)
    before = text[np.flatnonzero(text == ord(":")) - 1]
    return int(np.count_nonzero(before == ord('"'))), not (before <= ord(" ")).any()


def _joined(parts: Sequence[Decoded]) -> Decoded:
    if len(parts) == 1:
        return parts[0]
    reasons, start = Reasons(), 0
    for part in parts:
        reasons.extend(part.reasons, start)
        start += len(part)
    columns = {name: pa.concat_arrays([p.columns[name] for p in parts]) for name in parts[0].columns}
    return Decoded(columns, pa.concat_arrays([p.op for p in parts]), np.concatenate([p.unread for p in parts]), reasons)


def _patterns(column: Column) -> tuple[str, ...]:
    if column.format:
        return (column.format,)
    return _iso(column)


def _iso(column: Column) -> tuple[str, ...]:
    return (clocks.ISO_DATE,) if column.logical_type == "date" else clocks.ISO_TIMESTAMP


def _wire_type(column: Column) -> pa.DataType:
    """The type before clocks are read: dates and times still as text."""
    return pa.string() if column.logical_type in {"date", "timestamp"} else payload_type(column)


def _mask(condition: pa.Array) -> Mask:
    found: Mask = pc.fill_null(condition, False).to_numpy(zero_copy_only=False)
    return found


def _kind_name(kind: type) -> str:
    return _KIND_NAMES.get(kind, "null" if kind is _NONE else kind.__name__)


def _may_hold_nul(text: pa.Array) -> bool:
    data = text.buffers()[2]
    return data is not None and bool((np.frombuffer(data, np.uint8) == 0).any())


def _read_slowly(line: bytes, row: int, reasons: Reasons) -> Any:
    """A line that the fast decoder refused: its value where only some numbers are beyond reading, else _UNREAD with the reason entered."""
    if b"\0" in line:
        reasons.add("encoding", None, "NUL byte", [row])
        return _UNREAD
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError:
        reasons.add("encoding", None, "not UTF-8", [row])
        return _UNREAD
    try:
        return json.loads(text, parse_int=_integer_or_beyond, parse_float=_float_or_beyond, parse_constant=lambda _: _BEYOND)
    except RecursionError:
        reasons.add("json", None, "nested too deeply", [row])
    except ValueError:
        reasons.add("json", None, "not one whole JSON value", [row])
    return _UNREAD


def _integer_or_beyond(text: str) -> Any:
    return int(text) if len(text) <= _DIGITS_WORTH_READING else _BEYOND


def _float_or_beyond(text: str) -> Any:
    number = float(text)
    return number if math.isfinite(number) else _BEYOND


def _enter_duplicates(line: bytes, row: int, reasons: Reasons) -> bool:
    """Whether the line's object names a key twice; objects inside it belong to ignored columns or are refused for their type."""
    outermost: list[str] = []

    def pairs(found: list[tuple[str, Any]]) -> None:
        outermost[:] = [name for name, _ in found]  # the outermost object is closed last

    try:
        json.loads(line.decode(), object_pairs_hook=pairs, parse_int=_integer_or_beyond)
    except RecursionError:
        reasons.add("json", None, "nested too deeply", [row])
        return True
    doubled = {name for name, times in Counter(outermost).items() if times > 1}
    for name in sorted({shown(n) for n in doubled}):
        reasons.add("duplicate_key", name, "the object names this column twice", [row])
    return bool(doubled)


def _integers(column: Column, values: list[Any], reasons: Reasons) -> pa.Array:
    try:
        return pa.array(values, pa.int64())
    except OverflowError:
        fitting = [v if v is None or _SMALLEST_INTEGER <= v <= _LARGEST_INTEGER else None for v in values]
        beyond = [row for row, (value, kept) in enumerate(zip(values, fitting, strict=True)) if value is not kept]
        reasons.add("type", column.name, "expected integer, got integer beyond 64 bits", beyond)
        return pa.array(fitting, pa.int64())


def _numbers(column: Column, values: list[Any], kinds: set[type], reasons: Reasons) -> pa.Array:
    if int not in kinds:
        return pa.array(values, pa.float64())
    try:
        return pa.array(values, pa.float64())
    except pa.ArrowInvalid:
        exact = [_exact(v) for v in values]
        lost = [row for row, (value, kept) in enumerate(zip(values, exact, strict=True)) if value is not None and kept is None]
        reasons.add("type", column.name, "expected number, got integer that a double cannot hold", lost)
        return pa.array(exact, pa.float64())


def _exact(value: float | None) -> float | None:
    if value is None or isinstance(value, float):
        return value
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if int(number) == value else None


def _without_surrogates(column: Column, values: list[Any], reasons: Reasons) -> list[Any]:
    wrong = []
    for row, value in enumerate(values):
        try:
            if value is not None:
                value.encode()
        except UnicodeEncodeError:
            wrong.append(row)
    reasons.add("encoding", column.name, "half of a surrogate pair", wrong)
    left = list(values)
    for row in wrong:
        left[row] = None
    return left


def _sheet_text(column: Column, values: Sequence[Any], kinds: set[type], reasons: Reasons) -> list[str | None]:
    """A sheet's typed cells in the contract's notation. A sheet has one kind of number, so 12.0 there is the integer 12."""
    writers = _SHEET_WRITERS[column.logical_type]
    for kind in kinds - writers.keys():
        wrong = [row for row, value in enumerate(values) if type(value) is kind]
        reasons.add("type", column.name, f"expected {column.logical_type}, got a cell with {_kind_name(kind)}", wrong)
    return [v if v is None or type(v) is str else writers[type(v)](v) if type(v) in writers else None for v in values]


def _sheet_integer(value: float) -> str:
    return str(int(value)) if value == math.floor(value) and abs(value) <= _LARGEST_EXACT else repr(value)


def _sheet_day(value: datetime) -> str:
    return f"{value:%Y-%m-%d}" if value.time() == datetime.min.time() else value.isoformat()


_SHEET_WRITERS: dict[str, dict[type, Callable[[Any], str]]] = {
    "string": {},
    "integer": {int: str, float: _sheet_integer},
    "number": {int: str, float: repr},
    "boolean": {bool: lambda value: str(value).lower()},
    "date": {datetime: _sheet_day, date: date.isoformat},
    "timestamp": {datetime: lambda value: value.isoformat(sep=" ", timespec="microseconds")},
}


def _integers_of_text(column: Column, text: pa.Array, fits: pa.Array, reasons: Reasons) -> pa.Array:
    fitting = _mask(fits)
    long = np.flatnonzero(fitting & (pc.fill_null(pc.binary_length(text), 0).to_numpy(zero_copy_only=False) >= 19))
    for row in long:
        fitting[row] = _SMALLEST_INTEGER <= int(text[int(row)].as_py()) <= _LARGEST_INTEGER
    reasons.add("type", column.name, "expected integer", _mask(pc.is_valid(text)) & ~fitting)
    return pc.cast(pc.if_else(pa.array(fitting), text, pa.scalar(None, pa.string())), pa.int64())


def _numbers_of_text(column: Column, text: pa.Array, reasons: Reasons) -> pa.Array:
    fits = pc.match_substring_regex(text, _NUMBER_TEXT)
    number = pc.cast(pc.if_else(fits, text, pa.scalar(None, pa.string())), pa.float64())
    finite = _mask(pc.is_finite(number))
    reasons.add("type", column.name, "expected number", _mask(pc.is_valid(text)) & ~finite)
    return pc.if_else(pa.array(finite), number, pa.scalar(None, pa.float64()))


def _strings_of_arrow(column: Column, given: pa.Array, reasons: Reasons) -> pa.Array | None:
    kind = given.type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind) or pa.types.is_null(kind)):
        return None
    text = given.cast(pa.string())
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        content = text.view(pa.binary()).to_pylist()
        wrong = [row for row, value in enumerate(content) if value is not None and not _is_utf8(value)]
        reasons.add("encoding", column.name, "not UTF-8", wrong)
        refused = set(wrong)
        return pa.array([None if row in refused or v is None else v.decode() for row, v in enumerate(content)], pa.string())
    return text


def _is_utf8(content: bytes) -> bool:
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _integers_of_arrow(column: Column, given: pa.Array, reasons: Reasons) -> pa.Array | None:
    if not pa.types.is_integer(given.type):
        return None
    if pa.types.is_uint64(given.type):
        beyond = _mask(pc.greater(given, pa.scalar(_LARGEST_INTEGER, pa.uint64())))
        reasons.add("type", column.name, "expected integer, got integer beyond 64 bits", beyond)
        given = pc.if_else(pa.array(beyond), pa.scalar(None, pa.uint64()), given)
    return given.cast(pa.int64())


def _numbers_of_arrow(column: Column, given: pa.Array, reasons: Reasons) -> pa.Array | None:
    if pa.types.is_decimal(given.type):
        return given.cast(pa.float64())
    if pa.types.is_integer(given.type):
        number = given.cast(pa.float64(), safe=False)
        lost = _mask(pc.greater(pc.abs(number), float(_LARGEST_EXACT)))
        reasons.add("type", column.name, "expected number, got integer that a double cannot hold", lost)
        return pc.if_else(pa.array(lost), pa.scalar(None, pa.float64()), number)
    if not pa.types.is_floating(given.type):
        return None
    number = given.cast(pa.float64())
    endless = _mask(pc.invert(pc.is_finite(number)))
    reasons.add("type", column.name, "expected number, got NaN or infinity", endless)
    return pc.if_else(pa.array(endless), pa.scalar(None, pa.float64()), number)


def _booleans_of_arrow(column: Column, given: pa.Array, reasons: Reasons) -> pa.Array | None:
    return given.cast(pa.bool_()) if pa.types.is_boolean(given.type) or pa.types.is_null(given.type) else None


def _dates_of_arrow(column: Column, given: pa.Array, reasons: Reasons) -> pa.Array | None:
    if pa.types.is_date32(given.type):
        days = given.view(pa.int32()).fill_null(0).to_numpy(zero_copy_only=False)
        outside = (days < clocks.FIRST // clocks.DAY) | (days > clocks.LAST // clocks.DAY)
        reasons.add("type", column.name, "expected a date from year 1 to 9999", outside)
        return pc.if_else(pa.array(outside), pa.scalar(None, pa.date32()), given)
    return _strings_of_arrow(column, given, reasons)


def _instants_of_arrow(column: Column, given: pa.Array, reasons: Reasons) -> pa.Array | None:
    if not pa.types.is_timestamp(given.type):
        return _strings_of_arrow(column, given, reasons)
    up, down = {"s": (clocks.SECOND, 1), "ms": (1000, 1), "us": (1, 1), "ns": (1, 1000)}[given.type.unit]
    raw = given.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    wrong = (raw < clocks.FIRST * down // up) | (raw > clocks.LAST * down // up) | (raw % down != 0)
    reasons.add("type", column.name, "expected a time from year 1 to 9999 in whole microseconds", wrong)
    micros = np.where(wrong, 0, raw) * up // down
    return pa.array(micros, pa.int64(), mask=wrong | _mask(pc.is_null(given))).view(pa.timestamp("us", given.type.tz))


_ARROW_READERS: dict[str, Callable[[Column, pa.Array, Reasons], pa.Array | None]] = {
    "string": _strings_of_arrow,
    "integer": _integers_of_arrow,
    "number": _numbers_of_arrow,
    "boolean": _booleans_of_arrow,
    "date": _dates_of_arrow,
    "timestamp": _instants_of_arrow,
}
