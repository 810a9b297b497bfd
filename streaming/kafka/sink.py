"""Sends rows into topics `<source>.<feed>.<sender>`, as a sender's platform would: the simulator's way into Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, TopicAlreadyExistsError

from gridlake.runs import RunError
from streaming.kafka.broker import Connection

_SECONDS_TO_SEND = 60


class Row(Protocol):
    """A row on its way: whose it is, and its bytes."""

    @property
    def source(self) -> str:
        """Who runs the feed."""

    @property
    def feed(self) -> str:
        """Which feed."""

    @property
    def sender(self) -> str:
        """Who sends it."""

    @property
    def line(self) -> bytes:
        """The row as sent."""


class Sink:
    """Makes the topics that are missing, with so many partitions, and appends to them. A sender's rows of one partition keep their order."""

    def __init__(self, connection: Connection, partitions: int = 1) -> None:
        self._connection, self._partitions = connection, partitions
        self._sent: dict[str, int] = {}

    def send(self, rows: Iterable[Row]) -> int:
        """Send all rows, each as it comes; gives their number when the cluster has all of them. Raises RunError where it takes none."""
        try:
            admin = KafkaAdminClient(**self._connection.for_kafka_python, bootstrap_timeout_ms=_SECONDS_TO_SEND * 1000)
            producer = KafkaProducer(**self._connection.for_kafka_python, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=20)
        except KafkaError as error:
            raise RunError(f"{self._connection.bootstrap}: no Kafka answers ({type(error).__name__}); do: make kafka") from error
        try:
            there = set(admin.list_topics())
            last = {}
            count = 0
            for row in rows:
                topic = f"{row.source}.{row.feed}.{row.sender}"
                if topic not in there:
                    self._make(admin, topic)
                    there.add(topic)
                number = self._sent[topic] = self._sent.get(topic, -1) + 1
                last[topic, number % self._partitions] = producer.send(topic, row.line, partition=number % self._partitions)
                count += 1
            producer.flush(timeout=_SECONDS_TO_SEND)
            for future in last.values():
                future.get(timeout=_SECONDS_TO_SEND)
            return count
        except KafkaError as error:
            raise RunError(f"{self._connection.bootstrap}: Kafka took not all rows ({error!r}); look at its log, then stream again") from error
        finally:
            producer.close(timeout=5)
            admin.close()

    def _make(self, admin: KafkaAdminClient, topic: str) -> None:
        try:
            admin.create_topics({topic: {"num_partitions": self._partitions}}, wait_for_metadata=True)
        except TopicAlreadyExistsError:
            return
