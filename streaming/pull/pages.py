"""A page of rows as a source gave it, and where the next one begins: what every kind of pull hands to the puller."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from streaming.push.journal import Kind

Place = dict[str, Any]


class PullError(Exception):
    """A source that does not answer, or not as its declaration says; the message holds no secret and no row."""


@dataclass(frozen=True)
class Page:
    """Rows in the form of a push, how many the source gave, and the place (JSON) to go on from once they are durable."""

    kind: Kind
    content: bytes
    rows: int
    given: int
    place: Place


@dataclass
class Seen:
    """Which rows were taken of the part that is asked for again: short digests behind a secret."""

    secret: bytes
    digests: set[str] = field(default_factory=set)

    def digest(self, row: bytes) -> str:
        """What a row is known by."""
        return hashlib.sha256(self.secret + row).hexdigest()[:24]

    def new(self, digests: Sequence[str]) -> list[int]:
        """The places of those that were not seen."""
        return [place for place, digest in enumerate(digests) if digest not in self.digests]


class Source(Protocol):
    """Where rows are pulled from."""

    def pages(self, place: Place) -> Iterator[Page]:
        """The pages from a place on, until nothing more is there now; an empty place is the beginning. Raises PullError."""
