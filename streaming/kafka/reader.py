"""The seam between the lander and a Kafka client: records in offset order, and nothing that the client believes to have been landed.

A reader never commits offsets and never chooses where to begin: a partition that it is given is held until `begin` says from where on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from streaming.kafka.broker import Connection, Partition

# What a client may have fetched and not handed over yet.
PREFETCH_BYTES = 32 << 20
# A member of a group that is not heard of for so long loses its partitions. With less, members on a busy machine lose them in turns.
LOST_AFTER_SECONDS = 15.0
# How long a member may be busy with a commit before the group thinks it stuck.
BUSY_SECONDS = 300


class OffsetGone(Exception):
    """The partition no longer holds the offset that was to be read."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(f"{partition.topic}/{partition.number}: the offset to go on from is not there")
        self.partition = partition


@dataclass
class Fetched:
    """Records of one partition in order; `values` are as sent, None where a record has none. `keys`: of those without a value, by their place."""

    partition: Partition
    offsets: list[int] = field(default_factory=list)
    values: list[bytes | None] = field(default_factory=list)
    keys: dict[int, bytes] = field(default_factory=dict)


class Reader(Protocol):
    """A client that reads partitions."""

    def take(self, partitions: Sequence[Partition]) -> None:
        """Read these partitions and no others; all of them are held."""

    def share(self, topics: Sequence[str]) -> None:
        """Read those partitions of the topics that the group gives to this member; a partition that it gets is held."""

    def assigned(self) -> set[Partition]:
        """The partitions that are read now."""

    def lost_and_gained(self) -> tuple[set[Partition], set[Partition]]:
        """What the group has taken and given since this was last asked; a partition may have been both."""

    def begin(self, partition: Partition, offset: int) -> None:
        """Read on from this offset."""

    def hold(self, partitions: Sequence[Partition]) -> None:
        """Hand over no records of these until `begin`."""

    def poll(self, seconds: float, rows: int) -> list[Fetched]:
        """At most so many records, after waiting at most so long for the first one. Raises OffsetGone."""

    def position(self, partition: Partition) -> int:
        """The offset after the last one that was handed over or skipped."""

    def close(self) -> None:
        """Leave the group and let go of the connection."""


Opener = Callable[[Connection, str | None, float], Reader]


def opener(client: str) -> Opener:
    """How to open a reader (connection, group or None, seconds after which a member is lost) with the client of that name: python or confluent."""
    if client == "python":
        from streaming.kafka.python_reader import PythonReader

        return PythonReader
    from streaming.kafka.confluent_reader import ConfluentReader

    return ConfluentReader
