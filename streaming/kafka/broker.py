"""What a Kafka cluster says of itself: topics with their ids, how far partitions reach, and how clients connect to it."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka import IsolationLevel, KafkaAdminClient, OffsetSpec, TopicPartition
from kafka.errors import KafkaConnectionError, KafkaError, RetriableError

from gridlake.runs import RunError

# One request for the state of topics; a cluster that needs longer is taken to be away, and asked again.
_ANSWERS_WITHIN_MS = 5_000
# librdkafka's names, which operators know from other tools; kafka-python's are these with underscores, but for:
_PYTHON_NAMES = {
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
}
_SECURITY = frozenset({"security.protocol", "sasl.mechanism", *_PYTHON_NAMES})

# The clients report every lost connection several times; whoever uses them says it once.
logging.getLogger("kafka").setLevel(logging.CRITICAL)


class BrokerAway(Exception):
    """The cluster does not answer now; it may later."""


@dataclass(frozen=True, order=True)
class Partition:
    """One partition of a topic, by the topic's name."""

    topic: str
    number: int


@dataclass(frozen=True)
class Topic:
    """A topic as it is now: one of the same name that was made again has another id."""

    name: str
    id: str
    partitions: tuple[Partition, ...]


@dataclass(frozen=True)
class Reach:
    """The offsets that a partition holds: from `earliest` up to but without `end`."""

    earliest: int
    end: int


@dataclass(frozen=True)
class Connection:
    """How to reach a cluster: bootstrap servers and, from a properties file, how to be let in."""

    bootstrap: str
    properties: Mapping[str, str]

    @classmethod
    def read(cls, bootstrap: str, properties: Path | None) -> Connection:
        """With the `name=value` lines of a file: security.protocol, sasl.mechanism, sasl.username, ssl.ca.location … as librdkafka names them.

        Raises RunError for a name that is none of these.
        """
        found = {}
        for line in properties.read_text(encoding="utf-8").splitlines() if properties else []:
            if line.strip() and not line.lstrip().startswith("#"):
                name, _, value = line.partition("=")
                found[name.strip()] = value.strip()
        unknown = sorted(found.keys() - _SECURITY)
        if unknown:
            raise RunError(f"{properties}: {', '.join(unknown)}: expected only {', '.join(sorted(_SECURITY))}")
        return cls(bootstrap, found)

    @property
    def for_kafka_python(self) -> dict[str, Any]:
        """The arguments of kafka-python's clients."""
        named = {_PYTHON_NAMES.get(name, name.replace(".", "_")): value for name, value in self.properties.items()}
        return {"bootstrap_servers": self.bootstrap.split(","), "reconnect_backoff_max_ms": 2_000, **named}

    @property
    def for_librdkafka(self) -> dict[str, Any]:
        """The configuration of librdkafka."""
        return {"bootstrap.servers": self.bootstrap, **self.properties}


class Broker:
    """Asks the cluster; raises BrokerAway where it does not answer in time. Connects at the first question, and again after a failure."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._admin: KafkaAdminClient | None = None

    def topics(self) -> dict[str, Topic]:
        """Every topic that is not the cluster's own, by name."""
        found = self._ask(lambda admin: admin.describe_topics(None))
        return {t["name"]: _topic(t) for t in found if not t["is_internal"] and not t["error_code"]}

    def ids(self, names: Iterable[str]) -> dict[str, str]:
        """The ids of topics as they are at this moment; those that are gone are left out."""
        wanted = sorted(names)
        found = self._ask(lambda admin: admin.describe_topics(wanted)) if wanted else []
        return {t["name"]: str(t["topic_id"]) for t in found if not t["error_code"]}

    def reach(self, partitions: Iterable[Partition]) -> dict[Partition, Reach]:
        """What the partitions hold; of transactions only those that are finished."""
        wanted = [TopicPartition(p.topic, p.number) for p in partitions]
        if not wanted:
            return {}

        def offsets(spec: OffsetSpec) -> Any:
            return self._ask(lambda admin: admin.list_partition_offsets(dict.fromkeys(wanted, spec), IsolationLevel.READ_COMMITTED))

        earliest, latest = offsets(OffsetSpec.EARLIEST), offsets(OffsetSpec.LATEST)
        return {Partition(p.topic, p.partition): Reach(earliest[p].offset, latest[p].offset) for p in wanted}

    def close(self) -> None:
        """Let go of the connection."""
        if self._admin is not None:
            self._admin.close()
            self._admin = None

    def _ask(self, question: Any) -> Any:
        try:
            if self._admin is None:
                limits = {"bootstrap_timeout_ms": _ANSWERS_WITHIN_MS, "request_timeout_ms": _ANSWERS_WITHIN_MS}
                self._admin = KafkaAdminClient(**self._connection.for_kafka_python, **limits)
            return question(self._admin)
        except (KafkaConnectionError, RetriableError, OSError) as error:
            self.close()
            raise BrokerAway(f"{self._connection.bootstrap}: {type(error).__name__}") from error
        except KafkaError as error:
            self.close()
            raise RunError(f"Kafka at {self._connection.bootstrap}: {error}; see the cluster's log and GRIDLAKE_KAFKA_PROPERTIES") from error


def _topic(said: Mapping[str, Any]) -> Topic:
    name = str(said["name"])
    return Topic(name, str(said["topic_id"]), tuple(sorted(Partition(name, p["partition_index"]) for p in said["partitions"])))
