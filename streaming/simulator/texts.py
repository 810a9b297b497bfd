"""Writes many texts at once from a grammar: a rule is a choice of productions, a production is literals and `{symbols}`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Texts: TypeAlias = NDArray[np.object_]
Rows: TypeAlias = NDArray[np.intp]

_SYMBOL = re.compile(r"\{([^}]+)\}")
_RANGE = re.compile(r"(\d+)-(\d+)")


def kept(values: Texts, where: NDArray[np.bool_]) -> Texts:
    """The values where the mask is true, None elsewhere."""
    found: Texts = np.full(len(values), None, object)
    found[where] = values[where]
    return found


class Grammar:
    """Rules over a random generator; the same generator state writes the same texts."""

    def __init__(self, random: np.random.Generator, *rules: Mapping[str, Sequence[str]]) -> None:
        self._random = random
        self._rules = {symbol: tuple(productions) for group in rules for symbol, productions in group.items()}

    def write(self, symbol: str, given: Mapping[str, Texts], rows: Rows | int) -> Texts:
        """One text a row for `symbol`; `given` symbols are arrays over all rows, of which `rows` are wanted (a number: the first so many)."""
        return self.choose(self._rules[symbol], given, np.arange(rows) if isinstance(rows, int) else rows)

    def choose(self, productions: Sequence[str], given: Mapping[str, Texts], rows: Rows) -> Texts:
        """One text a row, from a production drawn at random for each."""
        drawn = self._random.integers(len(productions), size=len(rows))
        texts = np.empty(len(rows), object)
        for number, production in enumerate(productions):
            at = np.flatnonzero(drawn == number)
            if len(at):
                texts[at] = self._fill(production, given, rows[at])
        return texts

    def _fill(self, production: str, given: Mapping[str, Texts], rows: Rows) -> Any:
        # split() with one group alternates literals and symbols.
        pieces = _SYMBOL.split(production)
        text: Any = np.full(len(rows), pieces[0], object)
        for symbol, literal in zip(pieces[1::2], pieces[2::2], strict=True):
            text = text + self._value(symbol, given, rows)
            if literal:
                text = text + literal
        return text

    def _value(self, symbol: str, given: Mapping[str, Texts], rows: Rows) -> Texts:
        if symbol in given:
            return given[symbol][rows]
        bounds = _RANGE.fullmatch(symbol)
        if bounds:
            return self._random.integers(int(bounds[1]), int(bounds[2]) + 1, size=len(rows)).astype(str).astype(object)
        return self.write(symbol, given, rows)
