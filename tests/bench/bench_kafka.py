"""Events a second from a topic to bronze, cold start to last durable commit; the peer is Spark Structured Streaming on the same topic.

    python -m tests.bench.bench_kafka [--client confluent|python] [--landers 2] [--no-peer]

The topic of 4 partitions is filled before. Rows are those of bench_landing: 22 columns, 2 % bad in six ways whose number is known and must come out.
Ours seals, tokens and redacts as the contract says and looks for repeats; the peer only checks. Each side has the machine to itself, with the broker.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import duckdb
import pyspark

from tests.bench import bench_landing, result

ROWS = int(os.environ.get("GRIDLAKE_BENCH_ROWS", "2000000"))
PARTITIONS = 4
TOPIC = f"city_platform.event.{bench_landing.SENDER}"
GRIDLAKE = str(Path(sys.executable).parent / "gridlake")
BROKER = [sys.executable, str(result.CHECKOUT / "infra" / "kafka" / "server.py")]
SPARK_HOME = Path(pyspark.__file__).parent
# What the event contract says of these columns' code lists.
_CODE_LISTS = {"class_code": "event_class", "level_code": "event_level", "state_code": "event_state", "channel_code": "event_channel"}


def main() -> None:
    """Measure once and write bench/results/landing.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--client", choices=("confluent", "python"), action="append", help="default both; the faster one is in the ratio")
    parser.add_argument("--landers", type=int, default=2, help="processes that share the partitions")
    parser.add_argument("--no-peer", action="store_true", help="leave Spark out (needs Java 17 and Maven)")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gridlake-bench-") as name:
        folder = Path(name)
        kafka = folder / "kafka"
        bootstrap = subprocess.run(
            [*BROKER, "--folder", kafka, "start", "--port", "0"], check=True, stdout=subprocess.PIPE, text=True
        ).stdout.split()[-1]
        try:
            size = fill(folder, bootstrap)
            ours = {client: landed(folder, bootstrap, client, asked.landers) for client in asked.client or ("confluent", "python")}
            peer = {"name": "none"} if asked.no_peer else streamed(folder, bootstrap)
        finally:
            subprocess.run([*BROKER, "--folder", kafka, "stop"], check=True, stdout=subprocess.DEVNULL)
    best = min(ours.values(), key=lambda taken: float(taken["seconds"]))
    more = {"clients": ours, "landers": asked.landers, "bytes_per_row": round(size / ROWS)}
    print(result.write("landing", rows=ROWS, ours=best, peer=peer, **more).read_text(encoding="utf-8"))


def fill(folder: Path, bootstrap: str) -> int:
    """Put the rows into the topic, spread over its partitions; gives their bytes."""
    from confluent_kafka import Producer
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1)])[TOPIC].result()
    bench_landing.generate(folder / "rows", ROWS)
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 1 << 20, "compression.type": "lz4", "acks": "all"})
    size = 0
    for path in sorted((folder / "rows").rglob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().splitlines()):
            while True:
                try:
                    producer.produce(TOPIC, line, partition=number % PARTITIONS)
                    break
                except BufferError:
                    producer.poll(0.1)
            size += len(line)
        producer.poll(0)
    producer.flush()
    return size


def landed(folder: Path, bootstrap: str, client: str, landers: int) -> dict[str, Any]:
    """Ours: processes of `gridlake land kafka`, from their start to the end of the last."""
    home = folder / f"lake-{client}"
    command = [GRIDLAKE, "land", "kafka", "--until-caught-up", "--home", str(home), "--bootstrap", bootstrap, "--json"]
    environment = {**os.environ, "GRIDLAKE_KAFKA_CLIENT": client}
    if landers > 1:
        command += ["--group", f"bench-{client}"]
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(landers)]
    documents = [json.loads(process.communicate()[0]) for process in processes]
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    if any(process.returncode for process in processes):
        raise SystemExit(f"landing failed: {documents}")
    found: dict[str, int] = {}
    counts = {"received": 0, "accepted": 0, "refused": 0}
    for document in documents:
        for state in counts:
            counts[state] += document["feeds"].get("city_platform__event", {}).get(state, 0)
        for reason, rows in document["refusals"].get("city_platform__event", {}).items():
            found[reason] = found.get(reason, 0) + rows
    planted = {bench_landing.BAD[n]: len(range(n * 50, ROWS, 300)) for n in range(len(bench_landing.BAD))}
    if found != planted or counts["received"] != ROWS:
        raise SystemExit(f"{counts}, refusals {found}; {ROWS} rows with {planted} were sent")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "seconds": round(seconds, 2),
        "rows_per_second": round(ROWS / seconds),
        "cpu_seconds_per_million": round(cpu / ROWS * 1e6, 1),
        "peak_rss_mb": after.ru_maxrss // 1024,
    }


def streamed(folder: Path, bootstrap: str) -> dict[str, Any]:
    """The peer: one Spark process with both cores, Structured Streaming until the topic's end."""
    vocabularies = result.CHECKOUT / "expectations" / "vocabularies"
    codes = {
        column: [row[0] for row in duckdb.sql(f"select code from read_csv('{vocabularies}/{name}.csv', all_varchar = true)").fetchall()]
        for column, name in _CODE_LISTS.items()
    }
    (folder / "codes.json").write_text(json.dumps({"codes": codes, "region_prefix": "3301"}), encoding="utf-8")
    jars = subprocess.run(
        [sys.executable, str(result.CHECKOUT / "infra" / "spark" / "server.py"), "jars"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.split()
    settings = {
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.driver.memory": "8g",
        "spark.sql.session.timeZone": "Asia/Shanghai",
        "spark.ui.enabled": "false",
        "spark.log.level": "WARN",
        "spark.sql.shuffle.partitions": "2",
        "spark.databricks.delta.snapshotPartitions": "1",
    }
    command = [str(SPARK_HOME / "bin" / "spark-submit"), "--master", "local[2]", "--jars", ",".join(jars)]
    command += [part for name, value in settings.items() for part in ("--conf", f"{name}={value}")]
    script = Path(__file__).with_name("structured_streaming.py")
    environment = {**os.environ, "SPARK_HOME": str(SPARK_HOME), "PYSPARK_PYTHON": sys.executable}
    environment.pop("SPARK_REMOTE", None)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    arguments = [*command, str(script), bootstrap, TOPIC, str(folder / "codes.json"), str(folder / "streamed")]
    done = subprocess.run(arguments, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    whole, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    said = json.loads(done.stdout.splitlines()[-1])
    if said["rows"] != ROWS or said["refused"] != len(range(0, ROWS, 50)):
        raise SystemExit(f"the peer landed {said}; {ROWS} rows, {len(range(0, ROWS, 50))} of them bad, were sent")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {
        "name": "Spark Structured Streaming, local[2], checks only",
        "seconds": said["seconds"],
        "rows_per_second": round(ROWS / said["seconds"]),
        "cpu_seconds_per_million": round(cpu / ROWS * 1e6, 1),
        "peak_rss_mb": after.ru_maxrss // 1024,
        "whole_process_seconds": round(whole, 2),
    }


if __name__ == "__main__":
    main()
