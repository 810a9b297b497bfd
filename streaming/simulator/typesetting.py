"""Sets many texts at once: a text is a row of numbers of pieces (words, literals, digits), and all rows are set in one pass over their bytes.

A grammar chooses the pieces: a rule is a choice of productions, a production is literals and `{symbols}`. No text exists as a Python string.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Rows: TypeAlias = NDArray[np.intp]
# One row a text (or one number, where a text is one piece): numbers of pieces, 0 for none.
Pieces: TypeAlias = NDArray[np.int32]

_SYMBOL = re.compile(r"\{([^}]+)\}")
_RANGE = re.compile(r"(\d+)-(\d+)")
# A rule that can say no more than so many different things becomes one piece for each.
_WHOLE_AT_MOST = 512
# They would have to be escaped in a JSON line.
_FORBIDDEN = re.compile(r'["\\\x00-\x1f]')


class Letters:
    """The pieces that every text may be set from, each known by its number; 0 is the empty one."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {"": 0}
        self._parts: list[pa.Array] = []
        self._pending: list[str] = [""]
        self._count = 1
        self._closed = False

    def number(self, text: str) -> int:
        """The number of one piece, the same each time; KeyError for a new one once there are pages."""
        found = self._numbers.get(text)
        if found is None:
            if self._closed:
                raise KeyError(f"{text!r}: expected a piece that was there before the first page")
            found = self._numbers[text] = self._count
            self._pending.append(text)
            self._count += 1
        return found

    def numbers(self, texts: Sequence[str]) -> Pieces:
        """The numbers of some pieces."""
        return np.array([self.number(text) for text in texts], np.int32)

    def run(self, texts: Any) -> int:
        """The number of the first of many pieces that follow one another: the piece at place i is this number plus i. Nulls become empty."""
        strings = texts if isinstance(texts, pa.Array) else pa.array(texts, pa.string())
        self._parts.append(pa.array(self._pending, pa.string()))
        self._pending = []
        self._parts.append(strings.fill_null("") if strings.null_count else strings)
        first = self._count
        self._count += len(strings)
        return first

    @property
    def strings(self) -> pa.Array:
        """All pieces in the order of their numbers; none can be added any more."""
        self._closed = True
        if self._pending or len(self._parts) > 1:
            self._parts = [pa.concat_arrays([*self._parts, pa.array(self._pending, pa.string())])]
            self._pending = []
        return self._parts[0]


class Page:
    """Sets rows of pieces: those of the letters, and others of its own that go with it."""

    def __init__(self, letters: Letters) -> None:
        self._strings = letters.strings

    def add(self, texts: pa.Array) -> Pieces:
        """Own pieces; gives the number of each, 0 for a null."""
        first = len(self._strings)
        self._strings = pa.concat_arrays([self._strings, texts.fill_null("") if texts.null_count else texts])
        numbers = np.arange(first, first + len(texts), dtype=np.int32)
        if texts.null_count:
            numbers[np.asarray(texts.is_null())] = 0
        return numbers

    def set(self, rows: int, *columns: Pieces | int) -> pa.Array:
        """One string a row: its pieces one after the other. A column is a number for all rows, a number a row, or several a row."""
        pieces = beside(rows, *columns)
        used = pieces != 0
        ends = np.cumsum(used.sum(axis=1))
        taken = self._strings.take(pa.array(pieces[used]))
        piece_offsets = np.frombuffer(taken.buffers()[1], np.int32, len(taken) + 1, taken.offset * 4) if len(taken) else np.zeros(1, np.int32)
        offsets = piece_offsets[np.concatenate([[0], ends])] if rows else piece_offsets[:1]
        return pa.StringArray.from_buffers(rows, pa.py_buffer(np.ascontiguousarray(offsets)), taken.buffers()[2] or pa.py_buffer(b""))


def beside(rows: int, *columns: Pieces | int) -> Pieces:
    """The columns as one matrix."""
    widths = [column.shape[1] if isinstance(column, np.ndarray) and column.ndim == 2 else 1 for column in columns]
    pieces = np.empty((rows, sum(widths)), np.int32)
    at = 0
    for column, width in zip(columns, widths, strict=True):
        pieces[:, at : at + width] = column if isinstance(column, int) or column.ndim == 2 else column[:, None]
        at += width
    return pieces


@dataclass(frozen=True)
class _Whole:
    """A choice of single pieces."""

    pieces: Pieces
    upto: NDArray[np.float64]


@dataclass(frozen=True)
class _Given:
    symbol: str


_Part: TypeAlias = "int | _Whole | _Given | _Choice"


@dataclass(frozen=True)
class _Choice:
    productions: tuple[tuple[_Part, ...], ...]


class Phrasing:
    """Rules made ready over some letters; symbols of `given` have no rule, their pieces come with each writing."""

    def __init__(self, letters: Letters, given: Sequence[str], *rules: Mapping[str, Sequence[str]]) -> None:
        self._letters = letters
        self._given = frozenset(given)
        self._rules = {symbol: tuple(map(str, productions)) for group in rules for symbol, productions in group.items()}
        self._nodes: dict[tuple[str, ...], _Whole | _Choice] = {}

    def read(self, productions: Sequence[str]) -> _Whole | _Choice:
        """A choice made ready; do so for all of them before the first page, since it adds letters."""
        key = tuple(map(str, productions))
        if key not in self._nodes:
            said = self._everything(key)
            if said is None:
                self._nodes[key] = _Choice(tuple(tuple(self._parts(production)) for production in key))
            else:
                self._nodes[key] = _Whole(self._letters.numbers(list(said)), np.cumsum(list(said.values())))
        return self._nodes[key]

    def rule(self, symbol: str) -> _Whole | _Choice:
        """The choice that a symbol stands for."""
        return self.read(self._rules[symbol])

    def _parts(self, production: str) -> list[_Part]:
        if _FORBIDDEN.search(production):
            raise ValueError(f"{production!r}: expected a phrase without quotation marks, backslashes and control characters")
        # split() with one group alternates literals and symbols.
        pieces = _SYMBOL.split(production)
        parts: list[_Part] = [self._letters.number(pieces[0])] if pieces[0] else []
        for symbol, literal in zip(pieces[1::2], pieces[2::2], strict=True):
            parts.append(_Given(symbol) if symbol in self._given else self.read(self._productions(symbol)))
            if literal:
                parts.append(self._letters.number(literal))
        return parts

    def _productions(self, symbol: str) -> tuple[str, ...]:
        bounds = _RANGE.fullmatch(symbol)
        return tuple(str(n) for n in range(int(bounds[1]), int(bounds[2]) + 1)) if bounds else self._rules[symbol]

    def _everything(self, productions: Sequence[str]) -> dict[str, float] | None:
        """All that a choice can say, with how likely; None where that is too much, or depends on what is given."""
        said: dict[str, float] = {}
        for production in productions:
            pieces = _SYMBOL.split(production)
            options: list[Mapping[str, float]] = [{pieces[0]: 1.0}]
            for symbol, literal in zip(pieces[1::2], pieces[2::2], strict=True):
                within = None if symbol in self._given else self._everything(self._productions(symbol))
                if within is None:
                    return None
                options += [within, {literal: 1.0}]
            if int(np.prod([len(o) for o in options])) + len(said) > _WHOLE_AT_MOST:
                return None
            for combination in product(*(o.items() for o in options)):
                text = "".join(word for word, _ in combination)
                said[text] = said.get(text, 0.0) + float(np.prod([share for _, share in combination])) / len(productions)
        return said


def write(random: np.random.Generator, choice: _Whole | _Choice, given: Mapping[str, Pieces], rows: Rows) -> Pieces:
    """One text a row, drawn for each; `given` symbols are columns over all rows, of which `rows` are wanted."""
    if isinstance(choice, _Whole):
        if len(choice.pieces) == 1:
            return np.full((len(rows), 1), choice.pieces[0], np.int32)
        drawn = np.searchsorted(choice.upto, random.random(len(rows)) * choice.upto[-1], side="right")
        found: Pieces = choice.pieces[np.minimum(drawn, len(choice.pieces) - 1)][:, None]
        return found
    drawn = random.integers(len(choice.productions), size=len(rows))
    filled = []
    for number, parts in enumerate(choice.productions):
        at = np.flatnonzero(drawn == number)
        if len(at):
            filled.append((at, _fill(random, parts, given, rows[at])))
    pieces = np.zeros((len(rows), max((part.shape[1] for _, part in filled), default=1)), np.int32)
    for at, part in filled:
        pieces[at, : part.shape[1]] = part
    return pieces


def _fill(random: np.random.Generator, parts: Sequence[_Part], given: Mapping[str, Pieces], rows: Rows) -> Pieces:
    columns: list[Pieces | int] = []
    for part in parts:
        if isinstance(part, int):
            columns.append(part)
        elif isinstance(part, _Given):
            columns.append(given[part.symbol][rows])
        else:
            columns.append(write(random, part, given, rows))
    return beside(len(rows), *columns)
