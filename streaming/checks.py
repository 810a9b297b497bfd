"""Whether decoded rows are as the contract says: every rule is one condition over columns, every broken one is a reason.

A check looks only at what could be read: a value that has a reason already is not called missing, unknown or out of scope on top of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gridlake.contracts import Column, Contract, ContractError, Rule
from gridlake.contracts.compile import payload_type
from gridlake.regions import RegionTree
from gridlake.senders import Sender
from gridlake.vocabularies import Vocabularies
from streaming.decoder import DELETE, OP, Decoded
from streaming.reasons import Mask, Reasons

RECEIVED_AT = "_received_at"
_NAIVE = pa.timestamp("us")


@dataclass(frozen=True)
class Scope:
    """The regions of one system: which there are, and which a sender may send."""

    system: str
    tree: RegionTree

    @cached_property
    def codes(self) -> pa.Array:
        """Every code of the system."""
        return self.tree.codes(self.system)

    def of(self, sender: Sender) -> Mask:
        """For each of `codes` whether it lies in the sender's subtrees; a sender of another region system has none."""
        if sender.accepts_all_regions:
            return np.ones(len(self.codes), np.bool_)
        if sender.region_system != self.system:
            return np.zeros(len(self.codes), np.bool_)
        within: Mask = pc.is_in(self.codes, self.tree.subtree(self.system, sender.regions)).to_numpy(zero_copy_only=False)
        return within


class Checks:
    """The checks of one contract."""

    def __init__(self, contract: Contract, vocabularies: Vocabularies, regions: RegionTree) -> None:
        self.contract = contract
        self._scope = Scope(contract.region_system, regions)
        self._scopes: dict[str, Mask] = {}
        self._codes = {c.name: self._code_list(c.name, c.code_list, vocabularies) for c in contract.columns if c.code_list}
        self._patterns = {c.name: self._pattern(c) for c in contract.columns if c.pattern}
        words = {rule.name: set(re.findall(r"\w+", rule.predicate)) for rule in contract.rules}
        self._columns_of = {rule: [c.name for c in contract.columns if c.name in found] for rule, found in words.items()}
        # The predicates are part of a contract, but nothing in a contract may read files.
        self._connection = duckdb.connect(":memory:", config={"enable_external_access": "false", "temp_directory": ""})
        self._connection.execute("set timezone = 'UTC'")
        self._prove_rules()

    def check(
        self, rows: Decoded, senders: Sequence[Sender], sender_of_row: npt.NDArray[np.int64], received_at: datetime | pa.Array
    ) -> tuple[Reasons, Reasons]:
        """(why rows are refused, the decoder's reasons included; what is only counted: rules of severity warning)."""
        reasons, warnings = Reasons(list(rows.reasons)), Reasons()
        read = ~rows.unread
        is_delete = _mask(pc.equal(rows.op, DELETE))
        for column in self.contract.columns:
            self._check_column(column, rows.columns[column.name], read, is_delete, reasons)
        self._check_regions(rows, senders, sender_of_row, reasons)
        self._check_rules(rows, read & ~is_delete, received_at, reasons, warnings)
        return reasons, warnings

    def _check_column(self, column: Column, values: pa.Array, read: Mask, is_delete: Mask, reasons: Reasons) -> None:
        rows, name = len(values), column.name
        sound = read & ~reasons.mask(rows, field_name=name)
        given = _mask(pc.is_valid(values))
        if column.required or column.key_position:
            asked = sound if column.key_position or column.version_order else sound & ~is_delete
            reasons.add("required", name, "a value is required, none came", asked & ~given)
            if column.logical_type == "string":
                reasons.add("required", name, "a value is required, an empty text came", asked & _mask(pc.equal(values, "")))
        if name in self._patterns:
            misfits = sound & given & ~_mask(pc.match_substring_regex(values, self._patterns[name]))
            reasons.add("pattern", name, f"expected {column.pattern}", misfits)
            sound &= ~misfits
        if column.min_length is not None or column.max_length is not None:
            length = pc.utf8_length(values)
            if column.min_length is not None:
                reasons.add("length", name, f"expected at least {column.min_length} characters", sound & _mask(pc.less(length, column.min_length)))
            if column.max_length is not None:
                reasons.add("length", name, f"expected at most {column.max_length} characters", sound & _mask(pc.greater(length, column.max_length)))
        if column.minimum is not None:
            reasons.add("minimum", name, f"expected at least {column.minimum}", sound & _mask(pc.less(values, column.minimum)))
        if column.maximum is not None:
            reasons.add("maximum", name, f"expected at most {column.maximum}", sound & _mask(pc.greater(values, column.maximum)))
        if column.values:
            allowed = pa.array(column.values, payload_type(column))
            reasons.add("values", name, "expected one of the contract's values", sound & given & ~_mask(pc.is_in(values, allowed)))
        if name in self._codes:
            reasons.add("code_list", name, f"expected a code of {column.code_list}", sound & given & ~_mask(pc.is_in(values, self._codes[name])))

    def _check_regions(self, rows: Decoded, senders: Sequence[Sender], sender_of_row: npt.NDArray[np.int64], reasons: Reasons) -> None:
        for column in self.contract.columns:
            if not column.is_region:
                continue
            values = rows.columns[column.name]
            sound = ~rows.unread & ~reasons.mask(len(rows), field_name=column.name) & _mask(pc.is_valid(values))
            index = pc.index_in(values, self._scope.codes)
            known = _mask(pc.is_valid(index))
            reasons.add("region_unknown", column.name, f"expected a region of system {self._scope.system}", sound & ~known)
            if not len(self._scope.codes) or not senders:
                continue
            within = np.stack([self._scope_of(s) for s in senders])[sender_of_row, pc.fill_null(index, 0).to_numpy()]
            reasons.add("region_scope", column.name, "expected a region that the sender answers for", sound & known & ~within)

    def _scope_of(self, sender: Sender) -> Mask:
        if sender.code not in self._scopes:
            self._scopes[sender.code] = self._scope.of(sender)
        return self._scopes[sender.code]

    def _check_rules(self, rows: Decoded, asked: Mask, received_at: datetime | pa.Array, reasons: Reasons, warnings: Reasons) -> None:
        if not self.contract.rules or not asked.any():
            return
        found_so_far = Reasons(list(reasons))
        for rule, broken in zip(self.contract.rules, self._broken(rows, received_at), strict=True):
            target = reasons if rule.severity == "error" else warnings
            sound = asked & broken
            for name in self._columns_of[rule.name]:
                sound &= ~found_so_far.mask(len(rows), field_name=name)
            target.add(rule.name, None, rule.description, sound)

    def _broken(self, rows: Decoded, received_at: datetime | pa.Array) -> list[Mask]:
        """For each rule the rows that break it: for which it is false, or cannot be computed."""
        try:
            conditions = [f"({rule.predicate}) is false" for rule in self.contract.rules]
            return [_mask(column) for column in self._ask(conditions, rows.columns, rows.op, received_at).columns]
        except duckdb.Error:
            return [self._broken_one_by_one(rule, rows, received_at) for rule in self.contract.rules]

    def _broken_one_by_one(self, rule: Rule, rows: Decoded, received_at: datetime | pa.Array) -> Mask:
        # One query for each `try`: in one together, DuckDB computes what they share once, outside of either.
        try:
            holds = self._ask([f"try({rule.predicate})"], rows.columns, rows.op, received_at).column(0)
            is_null = self._ask([f"try(({rule.predicate}) is null)"], rows.columns, rows.op, received_at).column(0)
        except duckdb.Error as error:
            # Not the engine's own words: they may quote a row's value.
            raise ContractError(f"{self.contract.path}: rule {rule.name} cannot be computed ({type(error).__name__}); mend it") from None
        return _mask(pc.invert(holds)) | _mask(pc.is_null(is_null))

    def _ask(self, expressions: Sequence[str], columns: Mapping[str, pa.Array], op: pa.Array, received_at: datetime | pa.Array) -> pa.Table:
        named = {name: a.cast(_NAIVE) if pa.types.is_timestamp(a.type) else a for name, a in columns.items()}
        if isinstance(received_at, datetime):
            received_at = pa.repeat(pa.scalar(received_at, pa.timestamp("us", "UTC")), len(op))
        named[RECEIVED_AT] = received_at.cast(_NAIVE)
        self._connection.register("batch", pa.table(named | {OP: op}))
        try:
            wanted = ", ".join(f"{expression} as r{number}" for number, expression in enumerate(expressions))
            return self._connection.sql(f"select {wanted} from batch").to_arrow_table()
        finally:
            self._connection.unregister("batch")

    def _prove_rules(self) -> None:
        empty = {c.name: pa.array([], payload_type(c)) for c in self.contract.columns}
        for rule in self.contract.rules:
            try:
                self._ask([f"({rule.predicate}) is false"], empty, pa.array([], pa.string()), datetime(2000, 1, 1, tzinfo=UTC))
            except duckdb.Error as error:
                raise ContractError(f"{self.contract.path}: rule {rule.name} is not a predicate over the contract's columns: {error}") from error

    def _code_list(self, column: str, name: str, vocabularies: Vocabularies) -> pa.Array:
        if name not in vocabularies:
            raise ContractError(f"{self.contract.path}: column {column}: no vocabulary {name!r}; there are {', '.join(vocabularies)}")
        return pa.array(sorted(c for c in vocabularies[name].codes if c is not None), pa.string())

    def _pattern(self, column: Column) -> str:
        whole = rf"\A(?:{column.pattern})\z"
        try:
            pc.match_substring_regex(pa.array([""]), whole)
        except pa.ArrowInvalid as error:
            raise ContractError(
                f"{self.contract.path}: column {column.name}: pattern {column.pattern!r} is no regular expression: {error}"
            ) from error
        return whole


def _mask(condition: pa.Array | pa.ChunkedArray) -> Mask:
    found: Mask = (
        pc.fill_null(condition, False).to_numpy(zero_copy_only=False) if isinstance(condition, pa.Array) else _mask(condition.combine_chunks())
    )
    return found
