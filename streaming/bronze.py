"""Accepted rows as bronze holds them: class L4 as ciphertext and token, free text redacted, audit columns, payload digest."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from gridlake.contracts import Column, Contract
from gridlake.contracts.compile import SEALED, TOKEN, bronze_schema, payload_type
from gridlake.privacy import Keys, redact
from streaming.decoder import OP

_NAIVE, _INSTANT = pa.timestamp("us"), pa.timestamp("us", "UTC")
_DIGEST_DIGITS = 32
_ROW_DIGITS = 10


def position(delivery_id: str, row: int) -> str:
    """Where a row comes from."""
    return f"{delivery_id}#{row:0{_ROW_DIGITS}}"


@dataclass(frozen=True)
class Audit:
    """Where rows come from, a value each: `delivery` and `row` make the position."""

    sender_code: pa.Array
    delivery_id: pa.Array
    row: pa.Array
    received_at: datetime
    contract_version: str

    @property
    def position(self) -> pa.Array:
        """`<delivery id>#<row, 10 digits>`."""
        return pc.binary_join_element_wise(self.delivery_id, pc.utf8_lpad(self.row.cast(pa.string()), _ROW_DIGITS, "0"), "#")

    def columns(self) -> dict[str, pa.Array]:
        """The audit columns that bronze and quarantine share."""
        rows = len(self.row)
        return {
            "_sender_code": self.sender_code,
            "_received_at": pa.repeat(pa.scalar(self.received_at, _INSTANT), rows),
            "_source_position": self.position,
            "_delivery_id": self.delivery_id,
            "_contract_version": pa.repeat(self.contract_version, rows),
        }


class Digests:
    """Digests of payloads: equal payloads, equal digests, whatever the format, column order or contract version they came in.

    A payload may hold nothing unknown but a phone number, so a digest anyone can compute would give the number away by trial. It is
    therefore taken behind a secret prefix, which is a join token of the keys and so outlives their rotation.
    """

    def __init__(self, contract: Contract, keys: Keys) -> None:
        self._secret = keys.token(pa.array(["payload digest"]))[0].as_py()
        columns = [*((c.name, payload_type(c)) for c in contract.columns), (OP, pa.string())]
        # NUL cannot stand in an accepted value, so it parts the values without doubt; nulls leave no trace, so a new column changes no digest.
        # Each value follows a short digest of its column's name: whole names are a third of a payload and are hashed with every row.
        parts = [f"'{hashlib.sha256(name.encode()).hexdigest()[:8]}' || {_as_text(name, kind)}" for name, kind in sorted(columns)]
        self._query = f"select left(sha256(concat_ws(chr(0), $secret, {', '.join(parts)})), {_DIGEST_DIGITS}) from payload"
        self._connection = duckdb.connect(":memory:", config={"enable_external_access": "false", "temp_directory": ""})

    def of_rows(self, columns: Mapping[str, pa.Array], op: pa.Array) -> pa.Array:
        """Digests of decoded rows."""
        naive = {name: a.cast(_NAIVE) if pa.types.is_timestamp(a.type) else a for name, a in columns.items()}
        return self._ask(pa.table(naive | {OP: op}), self._query)

    def of_bytes(self, payloads: pa.Array) -> pa.Array:
        """Digests of refused rows' bytes."""
        return self._ask(pa.table({"content": payloads}), f"select left(sha256(encode($secret) || content), {_DIGEST_DIGITS}) from payload")

    def _ask(self, payload: pa.Table, query: str) -> pa.Array:
        self._connection.register("payload", payload)
        try:
            found = self._connection.sql(query, params={"secret": self._secret}).to_arrow_table()
        finally:
            self._connection.unregister("payload")
        return pa.concat_arrays(found.column(0).chunks).cast(pa.string()) if len(found) else pa.array([], pa.string())


class BronzeRows:
    """Makes bronze rows of one contract."""

    def __init__(self, contract: Contract, keys: Keys) -> None:
        self.contract = contract
        self.schema = bronze_schema(contract)
        self._keys = keys

    def of(self, columns: Mapping[str, pa.Array], op: pa.Array, digests: pa.Array, audit: Audit) -> pa.Table:
        """The rows, in the schema of the contract."""
        made: dict[str, pa.Array] = {}
        own_values = [columns[c.name] for c in self.contract.sealed_columns if c.logical_type == "string"]
        for column in self.contract.columns:
            values = columns[column.name]
            if column.is_sealed:
                text = values.cast(pa.string())
                made[column.name + SEALED] = self._keys.seal(text, self._context(column))
                made[column.name + TOKEN] = self._keys.token(text)
            elif column.redact:
                shown = redact(values, own_values)
                blanked = pc.fill_null(pc.not_equal(shown, values), False)
                made[column.name] = shown
                made[column.name + SEALED] = self._keys.seal(pc.if_else(blanked, values, pa.scalar(None, pa.string())), self._context(column))
            else:
                made[column.name] = values
        made |= audit.columns() | {OP: op, "_payload_digest": digests}
        return pa.table([made[name] for name in self.schema.names], schema=self.schema)

    def _context(self, column: Column) -> str:
        return f"{self.contract.id}.{column.name}"


def _as_text(name: str, kind: pa.DataType) -> str:
    quoted = '"' + name.replace('"', '""') + '"'
    return f"epoch_us({quoted})" if pa.types.is_timestamp(kind) else f"cast({quoted} as varchar)"
