"""Apache Spark and Kafka for the tests that need them: one server a session, where this machine has Java."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.streaming.broker import TestBroker

# For a million rows those settings are wrong that make small tables fast.
SETTINGS = ["--best"] if os.environ.get("GRIDLAKE_TEST_SIZE") == "full" else []
SERVER = Path(__file__).parents[1] / "infra" / "spark" / "server.py"


def needs_java() -> None:
    """Skip where there is no Java, but not in CI, which has to install it. With Java, a server that does not start is a failure."""
    missing = ", ".join(name for name in ("java", "mvn") if shutil.which(name) is None)
    install = "do: apt-get install openjdk-17-jre-headless maven"
    if missing and os.environ.get("CI"):
        pytest.fail(
            f"{', '.join(missing)}: not there, and CI must not pass without Apache Spark and Kafka; do: apt-get install openjdk-17-jre-headless maven"
        )
    if missing:
        pytest.skip(f"{missing}: not there, so nothing is run on Apache Spark or Kafka; {install}")


def server(*arguments: str | Path) -> str:
    """What infra/spark/server.py prints; fails with its error."""
    done = subprocess.run([sys.executable, str(SERVER), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return done.stdout.strip()


@pytest.fixture(scope="session")
def spark_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """sc://… of an Apache Spark with Delta that lives as long as the session."""
    needs_java()
    folder = tmp_path_factory.mktemp("spark")
    try:
        yield server("--folder", folder, "start", "--port", "0", *SETTINGS)
    finally:
        server("--folder", folder, "stop")


@pytest.fixture(scope="module")
def cluster_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The same on a Master and two Workers."""
    needs_java()
    folder = tmp_path_factory.mktemp("cluster")
    try:
        yield server("--folder", folder, "start", "--port", "0", "--cluster", *SETTINGS)
    finally:
        server("--folder", folder, "stop")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestBroker]:
    """A Kafka broker for all tests of the session."""
    needs_java()
    started = TestBroker(tmp_path_factory.mktemp("kafka"))
    try:
        yield started
    finally:
        started.close()
