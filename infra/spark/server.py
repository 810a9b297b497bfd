"""Apache Spark behind a Connect server with Delta on loopback, alone or on a standalone cluster: started, waited for, stopped.

    python infra/spark/server.py start [--cluster] [--best] [--port 15002]     prints sc://127.0.0.1:<port>
    python infra/spark/server.py stop | jars

Spark itself is the pyspark wheel's; what the wheel lacks comes by the pom beside this file. It installs no Java and touches no process but its own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import grpc
import pyspark

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from processes import LOOPBACK, ServerError, began, end, fetched_jars, free_port, require_java, wait_for

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
SPARK_HOME = Path(pyspark.__file__).parent
# Delta and what it needs that the wheel has not; the rest of what Maven fetches is in the wheel in another version.
WANTED_JARS = (
    "delta-*.jar",
    "unitycatalog-*.jar",
    "jts-core-*.jar",
    "spark-sql-kafka*.jar",
    "spark-token-provider-kafka*.jar",
    "kafka-clients-*.jar",
    "commons-pool2-*.jar",
)
WORKERS = 2
# From cold, on two busy cores, a cluster needs 40 s.
SECONDS_TO_START = 240
SECONDS_TO_STOP = 30

DELTA = {
    "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
    "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
    # Kept manifests name old versions.
    "spark.databricks.delta.properties.defaults.enableExpiredLogCleanup": "false",
    "spark.sql.session.timeZone": "UTC",
    "spark.ui.enabled": "false",
    "spark.log.level": "WARN",
}
# One quick compiler with room for all it compiles, no second look at classes that came in a wheel, and few collections of garbage.
SMALL_JVM = (
    "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=256m -XX:+UseSerialGC -Xmn700m -XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
)
# Thousands of rows: nearly all of the time goes into planning, into compiling code for a handful of rows, and into tasks that have nothing to do.
SMALL = {
    "spark.databricks.delta.snapshotPartitions": "1",
    "spark.databricks.delta.properties.defaults.dataSkippingNumIndexedCols": "0",
    "spark.databricks.delta.merge.materializeSource": "none",
    "spark.databricks.delta.history.metricsEnabled": "false",
    "spark.sql.shuffle.partitions": "1",
    "spark.sql.optimizer.runtime.bloomFilter.enabled": "false",
    "spark.sql.ui.explainMode": "simple",
    "spark.sql.ui.retainedExecutions": "1",
    "spark.ui.liveUpdate.period": "-1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.constraintPropagation.enabled": "false",
    "spark.sql.lightweightPlanChangeValidation": "false",
    "spark.sql.maxPlanStringLength": "1000",
    "spark.driver.memory": "3g",
    "spark.executor.memory": "1g",
    "spark.driver.extraJavaOptions": SMALL_JVM,
    "spark.executor.extraJavaOptions": SMALL_JVM,
}
# Millions of rows: what a benchmark owes its peer.
BEST = {
    "spark.sql.adaptive.enabled": "true",
    "spark.driver.memory": "8g",
    "spark.executor.memory": "3g",
}


@dataclass(frozen=True)
class Place:
    """Where one server keeps pids, logs and scratch space."""

    folder: Path

    @property
    def pids(self) -> Path:
        """One file a process: pid and the moment it began."""
        return self.folder / "pids"

    def log(self, name: str) -> Path:
        """What a process says."""
        return self.folder / "logs" / f"{name}.log"


def jars() -> list[Path]:
    """The jars that the wheel lacks."""
    return fetched_jars(HERE / "pom.xml", CHECKOUT / ".spark" / "jars", WANTED_JARS)


def start(place: Place, *, port: int, cluster: bool, best: bool) -> str:
    """Start what is asked for and wait until it answers; gives its URL. What was started goes down again where something fails."""
    require_java()
    running = [name for name, pid, since in _recorded(place) if began(pid) == since]
    if running:
        raise ServerError(f"{place.folder}: {', '.join(running)} runs already; do: stop it first (make spark-stop), or give another --folder")
    shutil.rmtree(place.folder / "scratch", ignore_errors=True)
    for folder in (place.pids, place.folder / "logs", place.folder / "scratch"):
        folder.mkdir(parents=True, exist_ok=True)
    own_jars = jars()
    try:
        master = _start_cluster(place, best=best) if cluster else f"local[{os.cpu_count()}]" if best else "local[2]"
        return _start_connect(place, master, port or free_port(), own_jars, best=best)
    except BaseException:
        stop(place)
        raise


def stop(place: Place) -> list[str]:
    """End the processes that `start` recorded, by id, the last one first; gives their names."""
    ended = []
    for name, pid, since in reversed(list(_recorded(place))):
        if began(pid) == since:
            end(pid, since, SECONDS_TO_STOP, name)
            ended.append(name)
        _pid_file(place, name).unlink(missing_ok=True)
    return ended


def _start_connect(place: Place, master: str, port: int, own_jars: list[Path], *, best: bool) -> str:
    settings = {
        **DELTA,
        **(BEST if best else SMALL),
        "spark.connect.grpc.binding.address": LOOPBACK,
        "spark.connect.grpc.binding.port": str(port),
        "spark.driver.host": LOOPBACK,
        "spark.driver.bindAddress": LOOPBACK,
        "spark.sql.warehouse.dir": str(place.folder / "scratch" / "warehouse"),
        "spark.local.dir": str(place.folder / "scratch"),
    }
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", master, "--name", "gridlake", "--jars", ",".join(map(str, own_jars))]
    for name, value in settings.items():
        command += ["--conf", f"{name}={value}"]
    command += ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal"]
    process = _launch(place, "connect", command)
    with grpc.insecure_channel(f"{LOOPBACK}:{port}") as channel:
        ready = grpc.channel_ready_future(channel)
        wait_for(lambda: _is_done(ready), SECONDS_TO_START, f"Spark Connect at port {port}", (process, place.log("connect")))
    return f"sc://{LOOPBACK}:{port}"


def _start_cluster(place: Place, *, best: bool) -> str:
    port, page = free_port(), free_port()
    runner = str(SPARK_HOME / "bin" / "spark-class")
    address = ["--host", LOOPBACK, "--port", str(port), "--webui-port", str(page)]
    master = _launch(place, "master", [runner, "org.apache.spark.deploy.master.Master", *address])
    state = f"http://{LOOPBACK}:{page}/json/"
    wait_for(lambda: _alive_workers(state) is not None, SECONDS_TO_START, "the Master", (master, place.log("master")))
    memory = (BEST if best else SMALL)["spark.executor.memory"]
    for number in range(1, WORKERS + 1):
        options = ["--host", LOOPBACK, "--cores", "1", "--memory", memory, "--work-dir", str(place.folder / "scratch" / f"worker-{number}")]
        worker = _launch(place, f"worker-{number}", [runner, "org.apache.spark.deploy.worker.Worker", *options, f"spark://{LOOPBACK}:{port}"])
    wait_for(lambda: _alive_workers(state) == WORKERS, SECONDS_TO_START, f"{WORKERS} Workers", (worker, place.log(f"worker-{WORKERS}")))
    return f"spark://{LOOPBACK}:{port}"


def _launch(place: Place, name: str, command: list[str]) -> subprocess.Popen[bytes]:
    # Spark's own settings of this shell would change what is started.
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith(("SPARK_", "PYSPARK_"))}
    surroundings |= {"SPARK_HOME": str(SPARK_HOME), "SPARK_LOCAL_IP": LOOPBACK, "PYSPARK_PYTHON": sys.executable}
    with place.log(name).open("wb") as log:
        process = subprocess.Popen(command, env=surroundings, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    _pid_file(place, name).write_text(f"{process.pid} {began(process.pid)} {time.time_ns()}\n", encoding="ascii")
    return process


def _is_done(ready: grpc.Future) -> bool:
    try:
        ready.result(timeout=0.1)
    except grpc.FutureTimeoutError:
        return False
    return True


def _alive_workers(state: str) -> int | None:
    try:
        with urllib.request.urlopen(state, timeout=2) as answer:  # noqa: S310 - our own Master on loopback
            return int(json.load(answer)["aliveworkers"])
    except (OSError, ValueError):
        return None


def _pid_file(place: Place, name: str) -> Path:
    return place.pids / f"{name}.pid"


def _recorded(place: Place) -> list[tuple[str, int, str]]:
    """(name, pid, when it began), in order of starting."""
    found = []
    for file in place.pids.glob("*.pid"):
        pid, since, written = file.read_text(encoding="ascii").split()
        found.append((int(written), file.stem, int(pid), since))
    return [(name, pid, since) for _, name, pid, since in sorted(found)]


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="A Spark Connect server with Delta on loopback.")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".spark", help="pids, logs, scratch space")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start, and return when it answers; prints its URL")
    starting.add_argument("--port", type=int, default=15002, help="0: any that is free")
    starting.add_argument("--cluster", action="store_true", help=f"a Master and {WORKERS} Workers of one core each, instead of local[2]")
    starting.add_argument("--best", action="store_true", help="settings for millions of rows; without it those for small tables")
    commands.add_parser("stop", help="end what start has started")
    commands.add_parser("jars", help="print what the wheel lacks, a jar a line, fetched if need be")
    given = parser.parse_args()
    place = Place(given.folder.absolute())
    try:
        if given.command == "start":
            print(start(place, port=given.port, cluster=given.cluster, best=given.best))
        elif given.command == "jars":
            print(*jars(), sep="\n")
        else:
            print(f"stopped: {', '.join(stop(place)) or 'nothing ran'}")
    except ServerError as error:
        sys.exit(f"infra/spark: {error}")


if __name__ == "__main__":
    main()
