"""A real Kafka broker for tests, filled by a producer that knows what it sent, and `gridlake land kafka` on it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from gridlake.cli import main

if TYPE_CHECKING:
    from tests.streaming.conftest import Lake

# A process that has just started has stood still for three minutes on a busy machine of two cores; what goes wrong comes to its end at once.
WITHIN = 240.0
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
        # One that looked for the broker while it was away may know of no node any more.
        self.admin.close()
        self.admin = KafkaAdminClient(bootstrap_servers=self.address)

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

    def delete_all(self, beginning: str) -> None:
        """Delete the topics whose names begin so."""
        for name in self.admin.list_topics():
            if name.startswith(beginning):
                self.delete(name)

    def send(self, topic: str, rows: Iterable[Mapping[str, Any] | bytes | None], partition: int = 0, key: bytes | None = None) -> None:
        """Append records to a partition, in order."""
        for row in rows:
            value = json.dumps(row, ensure_ascii=False).encode() if isinstance(row, Mapping) else row
            self.producer.send(topic, value, key=key, partition=partition)
        self.producer.flush()

    def forget(self, topic: str, before: int, partition: int = 0) -> None:
        """What retention does: the records before an offset are gone."""
        self.admin.delete_records({TopicPartition(topic, partition): before})

    def read(self, topic: str) -> list[tuple[str, Any]]:
        """(message id, document) of every record of a topic's only partition."""
        place = TopicPartition(topic, 0)
        consumer = KafkaConsumer(bootstrap_servers=self.address, enable_auto_commit=False)
        try:
            consumer.assign([place])
            consumer.seek_to_beginning(place)
            end, found = consumer.end_offsets([place])[place], []
            until = time.monotonic() + WITHIN
            while consumer.position(place) < end:
                assert time.monotonic() < until, f"{topic}: {len(found)} records of {end} in {WITHIN:.0f} s"
                found += [r for records in consumer.poll(timeout_ms=500).values() for r in records]
        finally:
            consumer.close()
        return [(dict(r.headers).get("message-id", b"").decode(), json.loads(r.value)) for r in found]

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


class KafkaLanding:
    """`gridlake land kafka` on a lake, here or in a process of its own."""

    def __init__(self, lake: Lake, broker: TestBroker) -> None:
        self._lake, self._broker = lake, broker

    def run(self, *command: str, expected: int = 0, **environment: str) -> Any:
        """A command of gridlake on the lake; gives the document that it prints."""
        answer = CliRunner().invoke(main, [*command, "--json"], env=self._environment(**environment), catch_exceptions=False)
        assert answer.exit_code == expected, answer.output
        return json.loads(answer.stdout)

    def _environment(self, **more: str) -> dict[str, str]:
        return {
            "GRIDLAKE_PROJECT": str(self._lake.settings.project),
            "GRIDLAKE_HOME": str(self._lake.home),
            "GRIDLAKE_KAFKA": self._broker.address,
            **more,
        }

    def caught_up(self, *options: str, expected: int = 0, **environment: str) -> Any:
        """Land what is there; gives the document that the command prints."""
        return self.run("land", "kafka", "--until-caught-up", *options, expected=expected, **environment)

    def start(self, *options: str, **environment: str) -> subprocess.Popen[str]:
        """Land in a process of its own."""
        return self.start_command("land", "kafka", *options, **environment)

    def start_command(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """A command of gridlake on the lake in a process of its own."""
        program = "from gridlake.cli import main; main()"
        command = [sys.executable, "-c", program, *arguments, "--json"]
        surroundings = {**os.environ, **self._environment(**environment)}
        with (self._lake.folder / "said").open("a") as said:
            return subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=said, text=True)

    def said(self) -> str:
        """What the landers in processes of their own have said to people."""
        return (self._lake.folder / "said").read_text(encoding="utf-8")

    def wait_for(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait until it is so; what the landers said is part of the failure."""
        until = time.monotonic() + WITHIN
        while not is_so():
            assert time.monotonic() < until, f"waited {WITHIN:.0f} s in vain for {what}; {self.rows()}; {self.said()}"
            time.sleep(0.05)

    def rows(self) -> list[str]:
        """The visits in bronze, sorted."""
        if not self._lake.tables.exists("bronze.office__visit"):
            return []
        return sorted(row["visit_id"] for row in self._lake.bronze())
