"""Reference gates: which rows name something that has not arrived, so that they wait for it.

What has arrived is what bronze has of the entity, from the same sender; a delete takes nothing back. Held in memory are 8 bytes for each id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from gridlake.contracts import Column, Contract, ContractError, Contracts
from gridlake.tables import Tables
from streaming.decoder import UPSERT
from streaming.reasons import Mask, Reasons

# The rule by which a row waits; its field is the column that names what has not arrived.
REFERENCE = "reference"
_Hashes = npt.NDArray[np.uint64]


def feeds_of(entity: str, contracts: Contracts) -> list[str]:
    """The feeds that bring what a gate of this entity waits for."""
    return [c.id for c in contracts.conforming(entity)]


def waiting_for(feed: str, contracts: Contracts) -> list[str]:
    """The feeds whose rows may wait for rows of this feed."""
    entity = contracts[feed].entity
    return [c.id for c in contracts.values() if any(g.local_id_of == entity for g in c.gates)] if entity else []


def in_order(contracts: Contracts) -> list[str]:
    """Every feed, after those that its gates wait for where that is possible."""
    found: dict[str, None] = {}

    def visit(feed: str, above: frozenset[str]) -> None:
        if feed in found or feed in above:
            return
        for gate in contracts[feed].gates:
            for earlier in feeds_of(gate.local_id_of or "", contracts):
                visit(earlier, above | {feed})
        found[feed] = None

    for feed in contracts:
        visit(feed, frozenset())
    return list(found)


class Arrived:
    """The ids of one entity that bronze has, by sender."""

    def __init__(self, tables: Tables, contracts: Contracts, entity: str) -> None:
        self._tables = tables
        self._columns = {f"bronze.{c.id}": _key_column(c, contracts.defining(entity)) for c in contracts.conforming(entity)}
        self._connection = duckdb.connect(":memory:", config={"temp_directory": "", "memory_limit": "1GB", "preserve_insertion_order": "false"})
        self._files: dict[str, frozenset[str]] = {}
        self._ids: _Hashes = np.array([], np.uint64)

    def has(self, senders: pa.Array, ids: pa.Array) -> Mask:
        """For each row whether what it names has arrived; looks for new files only where something is missing."""
        wanted = self._hashed(senders, ids)
        found = self._among(wanted)
        if not found.all() and self._refresh():
            found = self._among(wanted)
        return found

    def _among(self, wanted: _Hashes) -> Mask:
        if not len(self._ids):
            return np.zeros(len(wanted), np.bool_)
        place = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        found: Mask = self._ids[place] == wanted
        return found

    def _refresh(self) -> bool:
        come: list[_Hashes] = []
        for table, column in self._columns.items():
            present = frozenset(self._tables.files(table)) if self._tables.exists(table) else frozenset()
            new = present - self._files.get(table, frozenset())
            self._files[table] = present
            if new:
                query = f"select distinct {_hash(column)} as h from read_parquet($files, union_by_name = true)"
                come.append(self._connection.sql(query, params={"files": sorted(new)}).fetchnumpy()["h"].astype(np.uint64))
        if come:
            self._ids = np.unique(np.concatenate([self._ids, *come]))
        return bool(come)

    def _hashed(self, senders: pa.Array, ids: pa.Array) -> _Hashes:
        self._connection.register("wanted", pa.table({"_sender_code": senders, "id": ids}))
        hashed: _Hashes = self._connection.sql(f"select {_hash('id')} as h from wanted").fetchnumpy()["h"].astype(np.uint64)
        return hashed


class Gates:
    """The gates of one contract."""

    def __init__(self, tables: Tables, contract: Contract, contracts: Contracts) -> None:
        self.columns: tuple[Column, ...] = contract.gates
        self._arrived = {entity: Arrived(tables, contracts, entity) for c in self.columns if (entity := c.local_id_of)}

    def held(self, columns: Mapping[str, pa.Array], op: pa.Array, senders: pa.Array, refused: Mask, why: Reasons) -> pa.Array:
        """For each row the id that it waits for, null where it does not wait or is refused; enters the reasons."""
        waits_for = pa.nulls(len(op), pa.string())
        is_upsert = pc.equal(op, UPSERT)
        for column in self.columns:
            ids = columns[column.name]
            may_wait = pc.and_(pc.and_(is_upsert, pc.is_valid(ids)), pc.is_null(waits_for))
            asked = np.flatnonzero(may_wait.to_numpy(zero_copy_only=False) & ~refused)
            if not len(asked):
                continue
            missing = asked[~self.has_arrived(column, senders.take(pa.array(asked)), ids.take(pa.array(asked)))]
            if len(missing):
                mask = np.zeros(len(op), np.bool_)
                mask[missing] = True
                waits_for = pc.if_else(pa.array(mask), ids, waits_for)
                why.add(REFERENCE, column.name, f"the {column.local_id_of} that it names has not arrived", missing)
        return waits_for

    def has_arrived(self, column: Column, senders: pa.Array, ids: pa.Array) -> Mask:
        """For each id whether the sender's thing of that id has arrived."""
        return self._arrived[column.local_id_of or ""].has(senders, ids)

    def may_go(self, fields: Sequence[str], senders: pa.Array, ids: pa.Array) -> Mask:
        """For each waiting row, by the field at which it waits, whether what it waits for has arrived; so is one whose gate is gone."""
        at = np.array(fields, object)
        parts = [(at == c.name) & ~self.has_arrived(c, senders, ids) for c in self.columns] if len(at) else []
        still: Mask = reduce(np.logical_or, parts, np.zeros(len(at), np.bool_))
        return ~still


def _key_column(contract: Contract, shape: Contract) -> str:
    key = shape.key[0].name
    entry = contract.mapping.get(key) if contract.mapping else {"column": key}
    if contract.sql is not None or entry is None or "column" not in entry:
        raise ContractError(
            f"{contract.path}: a gate waits for {shape.defines}, and {key} is made by SQL here; map it from a column, or take the gate away"
        )
    return str(entry["column"])


def _hash(column: str) -> str:
    quoted = '"' + column.replace('"', '""') + '"'
    return f"hash(_sender_code, cast({quoted} as varchar))"
