"""A reader on kafka-python: no compiled client, a third of the rate of librdkafka."""

from __future__ import annotations

from collections.abc import Sequence

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.errors import AuthorizationError, KafkaError, OffsetOutOfRangeError

from gridlake.runs import RunError
from streaming.kafka.broker import BrokerAway, Connection, Partition
from streaming.kafka.reader import BUSY_SECONDS, PREFETCH_BYTES, Fetched, OffsetGone


class PythonReader(ConsumerRebalanceListener):  # type: ignore[misc]
    """Reads with kafka-python."""

    def __init__(self, connection: Connection, group: str | None, lost_after: float) -> None:
        self._lost: set[Partition] = set()
        self._gained: set[Partition] = set()
        try:
            self._consumer = KafkaConsumer(
                **connection.for_kafka_python,
                group_id=group,
                enable_auto_commit=False,
                auto_offset_reset="none",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                # Most topics of feeds have one partition: a range of each topic would give them all to one member.
                partition_assignment_strategy=[RoundRobinPartitionAssignor],
                session_timeout_ms=int(lost_after * 1000),
                heartbeat_interval_ms=int(lost_after * 250),
                max_poll_interval_ms=BUSY_SECONDS * 1000,
                fetch_max_bytes=PREFETCH_BYTES,
                max_partition_fetch_bytes=PREFETCH_BYTES // 8,
                metadata_max_age_ms=5_000,
                metrics_enabled=False,
                bootstrap_timeout_ms=5_000,
            )
        except KafkaError as error:
            raise BrokerAway(f"{connection.bootstrap}: {type(error).__name__}") from error

    def take(self, partitions: Sequence[Partition]) -> None:
        """Read these partitions and no others; all of them are held."""
        self._consumer.assign([_theirs(p) for p in partitions])
        self._park([_theirs(p) for p in partitions])

    def share(self, topics: Sequence[str]) -> None:
        """Read those partitions of the topics that the group gives to this member."""
        self._consumer.subscribe(topics=list(topics), listener=self)

    def assigned(self) -> set[Partition]:
        """The partitions that are read now."""
        return {_ours(p) for p in self._consumer.assignment()}

    def lost_and_gained(self) -> tuple[set[Partition], set[Partition]]:
        """What the group has taken and given since this was last asked."""
        changes = self._lost, self._gained
        self._lost, self._gained = set(), set()
        return changes

    def begin(self, partition: Partition, offset: int) -> None:
        """Read on from this offset."""
        self._consumer.seek(_theirs(partition), offset)
        self._consumer.resume(_theirs(partition))

    def hold(self, partitions: Sequence[Partition]) -> None:
        """Hand over no records of these until `begin`."""
        self._consumer.pause(*(_theirs(p) for p in partitions))

    def poll(self, seconds: float, rows: int) -> list[Fetched]:
        """At most so many records; raises OffsetGone."""
        try:
            polled = self._consumer.poll(timeout_ms=int(seconds * 1000), max_records=rows)
        except OffsetOutOfRangeError as error:
            raise OffsetGone(_ours(next(iter(error.args[0])))) from error
        except AuthorizationError as error:
            raise RunError(f"Kafka does not let this client read: {error}; see GRIDLAKE_KAFKA_PROPERTIES and the cluster's ACLs") from error
        except KafkaError as error:
            raise BrokerAway(type(error).__name__) from error
        found = []
        for partition, records in polled.items():
            values = [r.value for r in records]
            keys = {n: records[n].key or b"" for n, value in enumerate(values) if value is None} if None in values else {}
            found.append(Fetched(_ours(partition), [r.offset for r in records], values, keys))
        return found

    def position(self, partition: Partition) -> int:
        """The offset after the last one that was handed over or skipped."""
        place = _theirs(partition)
        return int(self._consumer.position(place)) if place in self._consumer.assignment() else -1

    def close(self) -> None:
        """Leave the group and let go of the connection."""
        self._consumer.close(autocommit=False, timeout_ms=3_000)

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        """The group takes partitions away."""
        gone = {_ours(p) for p in revoked}
        self._lost |= gone
        self._gained -= gone

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        """The group gives partitions."""
        self._park(assigned)
        self._gained |= {_ours(p) for p in assigned}

    def _park(self, partitions: Sequence[TopicPartition]) -> None:
        # With a position it does not look for one of its own, and paused it does not read from it.
        for partition in partitions:
            self._consumer.seek(partition, 0)
        self._consumer.pause(*partitions)


def _theirs(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def _ours(partition: TopicPartition) -> Partition:
    return Partition(partition.topic, partition.partition)
