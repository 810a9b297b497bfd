"""A Kafka broker on loopback, broker and controller (KRaft) in one process: started, waited for, stopped.

    python infra/kafka/server.py start [--port 9092] [--folder .kafka]     prints 127.0.0.1:<port>
    python infra/kafka/server.py status | stop

What it stores stays in the folder, so a broker that is started again has its topics. For trying things and for tests: it listens on
loopback only and keeps one copy. It installs no Java and touches no process but its own.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from processes import LOOPBACK, ServerError, end_recorded, fetched_jars, free_port, launch, record, recorded, require_java, wait_for

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
JARS = CHECKOUT / ".kafka" / "jars"
# From cold, on two busy cores; 5 s on idle ones.
SECONDS_TO_START = 120
# Flushes and closes its logs; one that was killed checks them all at its next start.
SECONDS_TO_STOP = 30
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


@dataclass(frozen=True)
class Place:
    """Where one broker keeps what it stores, its settings, its log and its pid."""

    folder: Path

    @property
    def data(self) -> Path:
        """Topics and the controller's metadata."""
        return self.folder / "data"

    @property
    def settings(self) -> Path:
        """server.properties of the last start."""
        return self.folder / "server.properties"

    @property
    def log(self) -> Path:
        """What the process says."""
        return self.folder / "kafka.log"

    @property
    def pid(self) -> Path:
        """The process, the moment it began, and the port it listens on."""
        return self.folder / "kafka.pid"


def properties(place: Place, port: int, controller_port: int) -> dict[str, str]:
    """The broker's settings: one copy of everything, and no topic that nobody has made."""
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.bootstrap.servers": f"{LOOPBACK}:{controller_port}",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{LOOPBACK}:{port},CONTROLLER://{LOOPBACK}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": str(place.data),
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": "1",
        "offsets.topic.num.partitions": "1",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "1",
        "group.initial.rebalance.delay.ms": "0",
        # The cleaner's buffer alone would be a quarter of the heap.
        "log.cleaner.dedupe.buffer.size": str(16 << 20),
    }


def start(place: Place, *, port: int) -> str:
    """Start the broker and wait until it answers; gives its address. What does not answer goes down again."""
    require_java()
    if running(place):
        raise ServerError(f"{place.folder}: a broker runs already; do: stop it first (make kafka-stop), or give another --folder")
    place.folder.mkdir(parents=True, exist_ok=True)
    class_path = f"{fetched_jars(HERE / 'pom.xml', JARS)[0].parent}/*"
    port = port or free_port()
    _write(place.settings, properties(place, port, _controller_port(place, port)))
    if not (place.data / "meta.properties").exists():
        _format(place, class_path)
    command = ["java", *JVM, "-cp", class_path, "kafka.Kafka", str(place.settings)]
    process = launch(command, place.folder, place.log)
    record(place.pid, process.pid, port)
    try:
        wait_for(lambda: answers(port), SECONDS_TO_START, f"Kafka at port {port}", (process, place.log))
    except BaseException:
        stop(place)
        raise
    return f"{LOOPBACK}:{port}"


def running(place: Place) -> str:
    """The address of the broker that `start` recorded; '' where none runs."""
    return recorded(place.pid)


def answers(port: int) -> bool:
    """Whether a broker takes requests at the port."""
    with socket.socket() as probe:
        probe.settimeout(1)
        if probe.connect_ex((LOOPBACK, port)):
            return False
    try:
        admin = KafkaAdminClient(bootstrap_servers=f"{LOOPBACK}:{port}", bootstrap_timeout_ms=5000, request_timeout_ms=5000)
        try:
            return bool(admin.describe_cluster()["brokers"])
        finally:
            admin.close()
    except KafkaError:
        return False


def stop(place: Place) -> bool:
    """End the process that `start` recorded, by its id; whether there was one."""
    return end_recorded(place.pid, SECONDS_TO_STOP, "Kafka")


def _format(place: Place, class_path: str) -> None:
    tool = ["java", *JVM, "-cp", class_path, "kafka.tools.StorageTool"]
    identity = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=True).stdout.strip()
    command = [*tool, "format", "--standalone", "--cluster-id", identity, "--config", str(place.settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerError(f"{place.data}: cannot be made ready for a broker; {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _controller_port(place: Place, port: int) -> int:
    """The one of the last start: the controller has written it into its own metadata."""
    if place.settings.exists():
        for line in place.settings.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name == "controller.quorum.bootstrap.servers":
                return int(value.rpartition(":")[2])
    while (free := free_port()) == port:
        pass
    return free


def _write(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="A Kafka broker on loopback.")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".kafka", help="what it stores, settings, log, pid")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start, and return when it answers; prints its address")
    starting.add_argument("--port", type=int, default=9092, help="0: any that is free")
    commands.add_parser("status", help="print its address; exit code 1 where it does not answer")
    commands.add_parser("stop", help="end what start has started; what it stores stays")
    given = parser.parse_args()
    place = Place(given.folder.absolute())
    try:
        if given.command == "start":
            print(start(place, port=given.port))
        elif given.command == "status":
            address = running(place)
            if not address or not answers(int(address.rpartition(":")[2])):
                sys.exit(f"infra/kafka: {address or place.folder}: no broker answers; do: make kafka")
            print(address)
        else:
            print("stopped" if stop(place) else "nothing ran")
    except ServerError as error:
        sys.exit(f"infra/kafka: {error}")


if __name__ == "__main__":
    main()
