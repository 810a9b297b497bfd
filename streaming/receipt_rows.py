"""What a receipt says of each row: a digest of its bytes as sent, and what became of it.

A digest that anyone can compute would give a short payload away by trial. So the bytes follow a salt, which comes of a secret of the lake and the
delivery, stands nowhere in the lake and is told in the receipt file, to the sender alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

import pyarrow as pa

from gridlake.privacy import Keys
from streaming.rows import Block, Cells, Lines, Refused

DIGEST_BYTES = 16  # of SHA-256: no second row of the same digest can be found
# Of a row whose bytes stand nowhere apart, a sheet's for example: its delivery's own digest stands for it.
NO_DIGEST = bytes(DIGEST_BYTES)
OUTCOMES = {"accepted": b"a", "refused": b"r", "duplicate": b"d", "waiting": b"w"}


class Salts:
    """The salts of deliveries."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    def of(self, feed: str, delivery_ids: Sequence[str]) -> list[bytes]:
        """A salt for each delivery, 16 bytes."""
        tokens = self._keys.token(pa.array([f"receipt salt\0{feed}\0{i}" for i in delivery_ids], pa.string()))
        return [bytes.fromhex(token) for token in tokens.to_pylist()]


def digests(blocks: Iterable[Block], salt: bytes) -> bytes:
    """A digest for each row of the blocks, one after another."""
    return b"".join(_digests(block, salt) for block in blocks)


def digests_of(rows: Sequence[bytes], salt: bytes) -> list[bytes]:
    """A digest for each row."""
    sha256 = hashlib.sha256
    return [sha256(salt + row).digest()[:DIGEST_BYTES] for row in rows]


def content_digest(row_digests: bytes, row_outcomes: bytes) -> str:
    """What a receipt commits to: the rows and what became of them."""
    return hashlib.sha256(row_digests + row_outcomes).hexdigest()


def _digests(block: Block, salt: bytes) -> bytes:
    if isinstance(block, Lines | Refused) or (isinstance(block, Cells) and block.raw is not None):
        return b"".join(digests_of(block.raw or [], salt))
    return NO_DIGEST * len(block)
