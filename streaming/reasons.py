"""Why rows are refused: (rule, field, detail) kept as columns beside the rows they belong to.

A detail says what was expected and of what kind the value was. It never holds the value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Rows = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

REASON_TYPE = pa.list_(pa.struct([("rule", pa.string()), ("field", pa.string()), ("detail", pa.string())]))
# A key of a sender's object may itself be a person's name or number, so only names that look like column names are repeated.
_COLUMN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.\-]{0,63}")
_LONG_NUMBER = re.compile(r"[0-9]{6}")
UNPRINTED = "(not shown)"
# Rules whose field is a name that the sender chose. A thousand rows that each name their columns otherwise are one mistake, not a thousand.
NAMED_BY_SENDERS = frozenset({"unknown_column", "duplicate_key"})
_NAMES_TOLD_APART = 50


def shown(name: str) -> str:
    """A column name as it may be repeated in a reason."""
    return name if _COLUMN_NAME.fullmatch(name) and not _LONG_NUMBER.search(name) else UNPRINTED


def label(rule: str, field_name: str | None) -> str:
    """`rule/field`, or the rule alone where no field is to blame: how reasons are counted."""
    return rule if field_name is None else f"{rule}/{field_name}"


@dataclass(frozen=True)
class Reason:
    """One cause and the rows that it holds for."""

    rule: str
    field: str | None
    detail: str
    rows: Rows


@dataclass
class Reasons:
    """All causes found in one set of rows."""

    entries: list[Reason] = field(default_factory=list)

    def add(self, rule: str, field_name: str | None, detail: str, rows: Iterable[int] | Rows | Mask) -> None:
        """Enter a cause for the rows, given as numbers or as a mask; no rows, no entry."""
        found = rows if isinstance(rows, np.ndarray) else np.fromiter(rows, np.int64)
        if found.dtype == np.bool_:
            found = np.flatnonzero(found)
        if len(found):
            self.entries.append(Reason(rule, field_name, detail, found.astype(np.int64, copy=False)))

    def extend(self, others: Reasons, offset: int = 0) -> None:
        """Take over another set's causes, its rows beginning at `offset`."""
        self.entries.extend(Reason(r.rule, r.field, r.detail, r.rows + offset) for r in others.entries)

    def gathered(self) -> Reasons:
        """The same causes, one entry each; names that the senders chose beyond the first few are no longer told apart."""
        rows_of: dict[tuple[str, str | None, str], list[Rows]] = {}
        for entry in self.entries:
            key = (entry.rule, entry.field, entry.detail)
            if key not in rows_of and entry.rule in NAMED_BY_SENDERS and len(rows_of) >= _NAMES_TOLD_APART:
                key = (entry.rule, UNPRINTED, entry.detail)
            rows_of.setdefault(key, []).append(entry.rows)
        return Reasons([Reason(*key, np.unique(np.concatenate(rows))) for key, rows in rows_of.items()])

    def mask(self, rows: int, *, field_name: str | None = None) -> Mask:
        """Which of `rows` rows have any cause, or one at that field."""
        found = np.zeros(rows, np.bool_)
        for entry in self.entries:
            if field_name is None or entry.field == field_name:
                found[entry.rows] = True
        return found

    def counts(self, group_of_row: Rows, groups: int, *, keep: Mask | None = None) -> list[dict[str, int]]:
        """For each group of rows {label: rows}; `keep` limits it to some rows."""
        found: list[dict[str, int]] = [{} for _ in range(groups)]
        for entry in self.entries:
            rows = entry.rows if keep is None else entry.rows[keep[entry.rows]]
            numbers = np.bincount(group_of_row[rows], minlength=groups)
            for group in np.flatnonzero(numbers):
                key = label(entry.rule, entry.field)
                found[group][key] = found[group].get(key, 0) + int(numbers[group])
        return found

    def lists(self, rows: Rows) -> pa.Array:
        """The causes of each of the given rows (ascending), as list<struct<rule, field, detail>>, in an order that other rows do not change."""
        if not self.entries or not len(rows):
            return pa.array([[] for _ in rows], REASON_TYPE)
        entries = sorted(self.entries, key=lambda e: (e.rule, e.field or "", e.detail))
        owner = np.concatenate([e.rows for e in entries])
        entry = np.repeat(np.arange(len(entries)), [len(e.rows) for e in entries])
        wanted = np.isin(owner, rows)
        owner, entry = owner[wanted], entry[wanted]
        order = np.argsort(owner, kind="stable")
        owner, entry = owner[order], entry[order]
        offsets = np.append(np.searchsorted(owner, rows), len(owner)).astype(np.int32)
        struct = pa.StructArray.from_arrays(
            [pa.array([getattr(e, name) for e in entries], pa.string()).take(pa.array(entry)) for name in ("rule", "field", "detail")],
            fields=list(REASON_TYPE.value_type),
        )
        return pa.ListArray.from_arrays(pa.array(offsets), struct, type=REASON_TYPE)

    def __iter__(self) -> Iterator[Reason]:
        return iter(self.entries)


def total(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    """Counts by label, added up."""
    added: dict[str, int] = {}
    for count in counts:
        for key, number in count.items():
            added[key] = added.get(key, 0) + number
    return added
