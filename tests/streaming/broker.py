"""A real Kafka broker for tests: started once, filled by a producer that knows what it sent."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

SERVER = Path(__file__).parents[2] / "infra" / "kafka" / "server.py"


class TestBroker:
    """A broker in a folder of its own."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.address = self._server("start", "--port", "0")
        self.admin = KafkaAdminClient(bootstrap_servers=self.address)
        self.producer = KafkaProducer(bootstrap_servers=self.address, acks="all", linger_ms=5)

    def stop(self) -> None:
        """Stop it; what it stores stays."""
        self._server("stop")

    def start_again(self) -> None:
        """Start it at the same port with what it stored."""
        assert self._server("start", "--port", self.address.rpartition(":")[2]) == self.address

    def close(self) -> None:
        self.producer.close(timeout=1)
        self.admin.close()
        self.stop()

    def topic(self, name: str, partitions: int = 1) -> str:
        """Make a topic; gives its id."""
        self.admin.create_topics({name: {"num_partitions": partitions, "replication_factor": 1}}, wait_for_metadata=True)
        return str(self.admin.describe_topics([name])[0]["topic_id"])

    def delete(self, name: str) -> None:
        """Delete a topic, and wait until it is gone."""
        self.admin.delete_topics([name])
        until = time.monotonic() + 30
        while name in self.admin.list_topics():
            assert time.monotonic() < until, f"{name} is not gone after 30 s"
            time.sleep(0.05)

    def send(self, topic: str, rows: Iterable[Mapping[str, Any] | bytes | None], partition: int = 0, key: bytes | None = None) -> None:
        """Append records to a partition, in order."""
        for row in rows:
            value = json.dumps(row, ensure_ascii=False).encode() if isinstance(row, Mapping) else row
            self.producer.send(topic, value, key=key, partition=partition)
        self.producer.flush()

    def forget(self, topic: str, before: int, partition: int = 0) -> None:
        """What retention does: the records before an offset are gone."""
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def members(self, group: str) -> int:
        """How many share in a group whose partitions are given out; 0 while they are not."""
        try:
            found = self.admin.describe_groups([group])[group]
        except KafkaError:  # the coordinator is not up yet
            return 0
        return len(found["members"]) if found["group_state"] == "Stable" else 0

    def _server(self, *arguments: str) -> str:
        done = subprocess.run([sys.executable, str(SERVER), "--folder", str(self._folder), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout.strip()


def needs_java() -> None:
    """Skip where there is no Java, but not in CI, which has to install it."""
    missing = [name for name in ("java", "mvn") if shutil.which(name) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"{', '.join(missing)}: not there, and CI must not pass without Kafka; do: apt-get install openjdk-17-jre-headless maven")
    if missing:
        pytest.skip(f"{', '.join(missing)}: not there, so nothing is run against Kafka; do: apt-get install openjdk-17-jre-headless maven")
