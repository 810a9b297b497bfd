"""Merkle tree hashes of RFC 6962, section 2.1: leaves and nodes are hashed apart, so that no node passes for a leaf."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence


def leaf_hash(content: bytes) -> bytes:
    """SHA-256 of a leaf."""
    return hashlib.sha256(b"\x00" + content).digest()


def root(leaves: Sequence[bytes]) -> bytes:
    """The root over leaf hashes, in their order; that of no leaves is the hash of nothing."""
    if not leaves:
        return hashlib.sha256().digest()
    level = list(leaves)
    while len(level) > 1:
        # An odd last node goes up as it is, which is the tree of the standard: its left part is the largest full one.
        pairs = [hashlib.sha256(b"\x01" + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(level) - len(level) % 2 :]
    return level[0]
