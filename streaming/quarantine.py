"""Refused rows: their bytes sealed and kept, with the reasons. Bytes too many for a table cell are kept in a sealed file."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc

from gridlake.barriers import barrier
from gridlake.contracts.compile import QUARANTINE_SCHEMA
from gridlake.privacy import Keys
from gridlake.tables import fsync, make_folder, room_for
from streaming.bronze import Audit
from streaming.rows import LARGEST_ROW_BYTES, Readable

FOLDER = "quarantine_blobs"
# The states of a row: as received, and what a replay makes of it.
REFUSED, WAITING = "refused", "waiting"
RELEASED, DUPLICATE = "released", "duplicate"
# Deliveries for which there is no contract; no feed can have this name, its id has two underscores.
UNROUTED = "unrouted"


class Vault:
    """The folder of sealed files under the lake's home."""

    def __init__(self, home: Path, keys: Keys) -> None:
        self._home, self._keys = home, keys

    def keep(self, source: Readable, feed: str, position: str) -> str:
        """Seal a stream into a file that is durable when this returns; gives its place under the home. A repeat writes the same place."""
        name = hashlib.sha256(position.encode()).hexdigest()[:32] + ".sealed"
        reference = Path(FOLDER) / feed / name
        target = self._home / reference
        with room_for(target.parent, _size(source)):
            self._write(source, target)
        return reference.as_posix()

    def _write(self, source: Readable, target: Path) -> None:
        make_folder(target.parent)
        temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
        try:
            with temporary.open("wb") as sink:
                self._keys.seal_stream(cast(IO[bytes], source), sink)
                sink.flush()
                os.fsync(sink.fileno())
            barrier("vault.before_replace", target.name)
            temporary.replace(target)
            barrier("vault.after_replace", target.name)
        finally:
            temporary.unlink(missing_ok=True)
        for folder in (target.parent, target.parent.parent, self._home):
            fsync(folder)


def _size(source: Readable) -> int:
    """Bytes of a file; of a row, which ends nobody knows where, what makes it too long to carry."""
    number = getattr(source, "fileno", None)
    try:
        return os.fstat(number()).st_size if number else LARGEST_ROW_BYTES
    except OSError:
        return LARGEST_ROW_BYTES


def rows(
    audit: Audit,
    digests: pa.Array,
    reasons: pa.Array,
    payloads: Sequence[bytes],
    references: Sequence[str | None],
    keys: Keys,
    *,
    forms: pa.Array | None = None,
    waits_for: pa.Array | None = None,
) -> pa.Table:
    """Quarantine rows: `payloads` are sealed here, unless `references` name the sealed file that holds them.

    `forms` say how payloads are to be read again; rows that have a `waits_for` are waiting, the others refused.
    """
    nothing = pa.nulls(len(payloads), pa.string())
    sealed = [None if reference else keys.seal_bytes(payload) for payload, reference in zip(payloads, references, strict=True)]
    made = audit.columns() | {
        "_payload_digest": digests,
        "reasons": reasons,
        "payload_sealed": pa.array(sealed, pa.string()),
        "payload_ref": pa.array(references, pa.string()),
        "payload_form": forms if forms is not None else nothing,
        "waits_for": waits_for if waits_for is not None else nothing,
        "state": pa.repeat(REFUSED, len(sealed)) if waits_for is None else pc.if_else(pc.is_valid(waits_for), WAITING, REFUSED),
        "state_number": pa.repeat(pa.scalar(0, pa.int64()), len(sealed)),
    }
    return pa.table([made[name] for name in QUARANTINE_SCHEMA.names], schema=QUARANTINE_SCHEMA)
