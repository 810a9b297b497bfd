"""A Kafka broker on loopback, broker and controller (KRaft) in one process: started, waited for, stopped.

    python infra/kafka/server.py start [--port 9092] [--folder .kafka]     prints 127.0.0.1:<port>
    python infra/kafka/server.py status | stop

What it stores stays in the folder, so a broker that is started again has its topics. For trying things and for tests: it listens on
loopback only and keeps one copy. It installs no Java and touches no process but its own.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fcntl import LOCK_EX, flock
from pathlib import Path

from kafka import KafkaAdminClient
from kafka.errors import KafkaError

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
JARS = CHECKOUT / ".kafka" / "jars"
LOOPBACK = "127.0.0.1"
# From cold, on two busy cores; 5 s on idle ones.
SECONDS_TO_START = 120
# Flushes and closes its logs; one that was killed checks them all at its next start.
SECONDS_TO_STOP = 30
JVM = ("-Xms128m", "-Xmx512m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Dorg.slf4j.simpleLogger.showDateTime=true")


class KafkaServerError(Exception):
    """A broker that cannot be started or stopped; the message says what to do."""


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


def jars() -> str:
    """The class path; fetched once for each state of the pom."""
    pom = HERE / "pom.xml"
    wanted = JARS / hashlib.sha256(pom.read_bytes()).hexdigest()[:12]
    if not wanted.exists():
        mvn = shutil.which("mvn")
        if mvn is None:
            raise KafkaServerError("mvn: expected Maven, it is not there; do: apt-get install maven openjdk-17-jre-headless")
        fetched = JARS / f".fetched-{os.getpid()}"
        command = [mvn, "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={fetched}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaServerError(f"{pom}: Maven could not fetch the jars; {done.stdout[-2000:]}{done.stderr[-2000:]}")
        fetched.rename(wanted)
    return f"{wanted}/*"


def start(place: Place, *, port: int) -> str:
    """Start the broker and wait until it answers; gives its address. What does not answer goes down again."""
    if shutil.which("java") is None:
        raise KafkaServerError("java: expected Java 17, it is not there; do: apt-get install openjdk-17-jre-headless")
    if running(place):
        raise KafkaServerError(f"{place.folder}: a broker runs already; do: stop it first (make kafka-stop), or give another --folder")
    place.folder.mkdir(parents=True, exist_ok=True)
    with _only_fetcher():
        class_path = jars()
    port = port or _free_port()
    _write(place.settings, properties(place, port, _controller_port(place, port)))
    if not (place.data / "meta.properties").exists():
        _format(place, class_path)
    command = ["java", *JVM, "-cp", class_path, "kafka.Kafka", str(place.settings)]
    with place.log.open("ab") as log:
        process = subprocess.Popen(command, cwd=place.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    place.pid.write_text(f"{process.pid} {_began(process.pid)} {port}\n", encoding="ascii")
    try:
        _wait_for(lambda: answers(port), SECONDS_TO_START, f"Kafka at port {port}", (place, process))
    except BaseException:
        stop(place)
        raise
    return f"{LOOPBACK}:{port}"


def running(place: Place) -> str:
    """The address of the broker that `start` recorded; '' where none runs."""
    try:
        pid, since, port = place.pid.read_text(encoding="ascii").split()
    except FileNotFoundError:
        return ""
    return f"{LOOPBACK}:{port}" if _began(int(pid)) == since else ""


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
    was_running = bool(running(place))
    if was_running:
        pid, since, _ = place.pid.read_text(encoding="ascii").split()
        os.kill(int(pid), signal.SIGTERM)
        try:
            _wait_for(lambda: _began(int(pid)) != since, SECONDS_TO_STOP, f"Kafka ({pid}) to end")
        except KafkaServerError:
            os.kill(int(pid), signal.SIGKILL)
    place.pid.unlink(missing_ok=True)
    return was_running


def _format(place: Place, class_path: str) -> None:
    tool = ["java", *JVM, "-cp", class_path, "kafka.tools.StorageTool"]
    identity = subprocess.run([*tool, "random-uuid"], capture_output=True, text=True, check=True).stdout.strip()
    command = [*tool, "format", "--standalone", "--cluster-id", identity, "--config", str(place.settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KafkaServerError(f"{place.data}: cannot be made ready for a broker; {done.stdout[-2000:]}{done.stderr[-2000:]}")


def _controller_port(place: Place, port: int) -> int:
    """The one of the last start: the controller has written it into its own metadata."""
    if place.settings.exists():
        for line in place.settings.read_text(encoding="utf-8").splitlines():
            name, _, value = line.partition("=")
            if name == "controller.quorum.bootstrap.servers":
                return int(value.rpartition(":")[2])
    while (free := _free_port()) == port:
        pass
    return free


def _write(path: Path, settings: Mapping[str, str]) -> None:
    path.write_text("".join(f"{name}={value}\n" for name, value in settings.items()), encoding="utf-8")


def _wait_for(is_so: Callable[[], bool], seconds: float, what: str, started: tuple[Place, subprocess.Popen[bytes]] | None = None) -> None:
    until = time.monotonic() + seconds
    while not is_so():
        if started and started[1].poll() is not None:
            said = started[0].log.read_text(encoding="utf-8", errors="replace")[-3000:]
            raise KafkaServerError(f"{what}: it ended with {started[1].returncode}; {started[0].log} ends:\n{said}")
        if time.monotonic() > until:
            raise KafkaServerError(f"{what}: waited {seconds:.0f} s in vain; {started[0].log if started else 'nothing more is known'}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _began(pid: int) -> str:
    """The clock tick at which a process began, which tells it from a later one of the same id; '' where there is none or only its remains."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    fields = said.rpartition(")")[2].split()
    return "" if fields[0] == "Z" else fields[19]


@contextmanager
def _only_fetcher() -> Iterator[None]:
    JARS.mkdir(parents=True, exist_ok=True)
    with (JARS / ".lock").open("w") as lock:
        flock(lock, LOCK_EX)
        yield


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
    except KafkaServerError as error:
        sys.exit(f"infra/kafka: {error}")


if __name__ == "__main__":
    main()
