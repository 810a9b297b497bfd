"""Schemas derived from a contract: what its rows are in bronze, in quarantine and on a receipt."""

from __future__ import annotations

import pyarrow as pa

from gridlake.contracts.model import Column, Contract

_TIMESTAMP = pa.timestamp("us", "UTC")
_PAYLOAD_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "timestamp": _TIMESTAMP,
}
SEALED, TOKEN = "_sealed", "_token"

AUDIT = pa.schema(
    [
        ("_sender_code", pa.string()),
        ("_received_at", _TIMESTAMP),
        ("_source_position", pa.string()),
        ("_delivery_id", pa.string()),
        ("_op", pa.string()),
        ("_contract_version", pa.string()),
        ("_payload_digest", pa.string()),
    ]
)

QUARANTINE_SCHEMA = pa.schema(
    [
        ("_sender_code", pa.string()),
        ("_received_at", _TIMESTAMP),
        ("_source_position", pa.string()),
        ("_delivery_id", pa.string()),
        ("_contract_version", pa.string()),
        ("_payload_digest", pa.string()),
        ("reasons", pa.list_(pa.struct([("rule", pa.string()), ("field", pa.string()), ("detail", pa.string())]))),
        ("payload_sealed", pa.string()),
        ("payload_ref", pa.string()),
        ("state", pa.string()),
        # How the payload is to be read again; null where it cannot be.
        ("payload_form", pa.string()),
        # The sender's id of what a waiting row refers to.
        ("waits_for", pa.string()),
        # A row's new state is appended, nothing altered: 0 as received, later the number of the replay that brought it; the highest one counts.
        ("state_number", pa.int64()),
    ]
)

RECEIPT_SCHEMA = pa.schema(
    [
        ("_delivery_id", pa.string()),
        ("feed", pa.string()),
        ("sender_code", pa.string()),
        ("file_name", pa.string()),
        ("batch", pa.int64()),
        ("first_row", pa.int64()),
        ("last_row", pa.int64()),
        ("received", pa.int64()),
        ("accepted", pa.int64()),
        ("refused", pa.int64()),
        ("duplicate", pa.int64()),
        ("waiting", pa.int64()),
        ("reasons", pa.string()),
        ("contract_version", pa.string()),
        ("received_at", _TIMESTAMP),
        ("state", pa.string()),
        ("message", pa.string()),
        ("payload_bytes", pa.int64()),
        # When the rows were received that it counts: a replay's receipt corrects the counts of that day, not of its own.
        ("counted_at", _TIMESTAMP),
        # 16 bytes for each row, and a letter for each; of a replay the rows that moved, as JSON. `digest` is the SHA-256 of both.
        ("row_digests", pa.binary()),
        ("row_outcomes", pa.binary()),
        ("digest", pa.string()),
    ]
)


def payload_type(column: Column) -> pa.DataType:
    """The Arrow type of a column's plain value, once decoded."""
    return _PAYLOAD_TYPES[column.logical_type]


def bronze_fields(column: Column) -> list[pa.Field]:
    """What one contract column becomes in bronze: itself, or ciphertext and token, or redacted text and ciphertext."""
    sealed = pa.field(column.name + SEALED, pa.string())
    if column.is_sealed:
        return [sealed, pa.field(column.name + TOKEN, pa.string())]
    plain = pa.field(column.name, payload_type(column))
    return [plain, sealed] if column.redact else [plain]


def bronze_schema(contract: Contract) -> pa.Schema:
    """The schema of `bronze.<source>__<feed>`: contract columns in contract order, then audit columns."""
    return pa.schema([f for c in contract.columns for f in bronze_fields(c)] + list(AUDIT))
