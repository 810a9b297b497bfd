"""A reader on confluent-kafka (librdkafka), the faster one: `pip install gridlake[confluent]`."""

from __future__ import annotations

import time
from collections.abc import Sequence

from gridlake.runs import RunError
from streaming.kafka.broker import BrokerAway, Connection, Partition
from streaming.kafka.reader import BUSY_SECONDS, PREFETCH_BYTES, Fetched, OffsetGone

try:
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition
except ImportError as missing:
    raise RunError("the client confluent is not installed; do: pip install 'gridlake[confluent]', or GRIDLAKE_KAFKA_CLIENT=python") from missing

_TRIES, _BETWEEN_TRIES = 200, 0.05
_NOT_ALLOWED = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED, KafkaError.SASL_AUTHENTICATION_FAILED}


class ConfluentReader:
    """Reads with librdkafka, which fetches ahead in threads of its own, up to PREFETCH_BYTES."""

    def __init__(self, connection: Connection, group: str | None, lost_after: float) -> None:
        self._lost: set[Partition] = set()
        self._gained: set[Partition] = set()
        self._consumer = Consumer(
            {
                **connection.for_librdkafka,
                # librdkafka wants a name even where no group shares anything.
                "group.id": group or "gridlake-alone",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "isolation.level": "read_committed",
                "allow.auto.create.topics": False,
                "partition.assignment.strategy": "roundrobin",
                "session.timeout.ms": int(lost_after * 1000),
                "heartbeat.interval.ms": int(lost_after * 250),
                "max.poll.interval.ms": BUSY_SECONDS * 1000,
                "queued.max.messages.kbytes": PREFETCH_BYTES >> 10,
                "queued.min.messages": 1_000_000,
                "fetch.message.max.bytes": PREFETCH_BYTES // 8,
                "topic.metadata.refresh.interval.ms": 5_000,
                "log_level": 0,
            }
        )

    def take(self, partitions: Sequence[Partition]) -> None:
        """Read these partitions and no others; all of them are held."""
        self._park(partitions)

    def share(self, topics: Sequence[str]) -> None:
        """Read those partitions of the topics that the group gives to this member."""
        self._consumer.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_revoke)

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
        place = TopicPartition(partition.topic, partition.number, offset)
        for _ in range(_TRIES):
            try:
                self._consumer.seek(place)
                break
            except KafkaException as error:
                # A partition that was given a moment ago is not read yet, so there is nothing to seek in; no message is taken meanwhile.
                if error.args[0].code() != KafkaError._STATE:
                    raise
                time.sleep(_BETWEEN_TRIES)
        else:
            raise BrokerAway(f"{partition.topic}/{partition.number}: librdkafka does not begin to read it")
        self._consumer.resume([place])

    def hold(self, partitions: Sequence[Partition]) -> None:
        """Hand over no records of these until `begin`."""
        self._consumer.pause([TopicPartition(p.topic, p.number) for p in partitions])

    def poll(self, seconds: float, rows: int) -> list[Fetched]:
        """At most so many records; raises OffsetGone."""
        found: dict[tuple[str, int], Fetched] = {}
        for message in self._consumer.consume(min(rows, 1_000_000), timeout=seconds):
            error, place = message.error(), (message.topic(), message.partition())
            if error is not None:
                if error.code() == KafkaError._AUTO_OFFSET_RESET:
                    raise OffsetGone(Partition(*place))
                if error.code() in _NOT_ALLOWED:
                    raise RunError(f"Kafka does not let this client read: {error}; see GRIDLAKE_KAFKA_PROPERTIES and the cluster's ACLs")
                continue  # librdkafka tries again by itself; whether the cluster answers is asked elsewhere
            fetched = found.get(place)
            if fetched is None:
                fetched = found[place] = Fetched(Partition(*place))
            value = message.value()
            if value is None:
                fetched.keys[len(fetched.values)] = message.key() or b""
            fetched.offsets.append(message.offset())
            fetched.values.append(value)
        return list(found.values())

    def position(self, partition: Partition) -> int:
        """The offset after the last one that was handed over or skipped."""
        return int(self._consumer.position([TopicPartition(partition.topic, partition.number)])[0].offset)

    def close(self) -> None:
        """Leave the group and let go of the connection."""
        self._consumer.close()

    def _on_assign(self, _: Consumer, assigned: list[TopicPartition]) -> None:
        self._park([_ours(p) for p in assigned])
        self._gained |= {_ours(p) for p in assigned}

    def _on_revoke(self, _: Consumer, revoked: list[TopicPartition]) -> None:
        gone = {_ours(p) for p in revoked}
        self._lost |= gone
        self._gained -= gone
        self._consumer.unassign()

    def _park(self, partitions: Sequence[Partition]) -> None:
        # With an offset it does not look for one of its own, and paused it does not read from it.
        places = [TopicPartition(p.topic, p.number, OFFSET_BEGINNING) for p in partitions]
        self._consumer.assign(places)
        self._consumer.pause(places)


def _ours(partition: TopicPartition) -> Partition:
    return Partition(partition.topic, partition.partition)
