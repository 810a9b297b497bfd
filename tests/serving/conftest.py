"""One published lake for the tests that only read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from gridlake.runs import Run
from serving.api import create_app
from serving.publish import publish
from serving.snapshots import Snapshot, Snapshots
from tests.serving import province


@pytest.fixture(scope="session")
def marts() -> dict[str, pa.Table]:
    """The marts of the made-up province."""
    return province.marts()


@pytest.fixture(scope="session")
def published(marts: dict[str, pa.Table], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has been published; tests only read its lake."""
    run = province.run_over(tmp_path_factory.mktemp("published") / "lake", marts)
    run.steps["publish"] = publish(run)
    return run


@pytest.fixture(scope="session")
def home(published: Run) -> Path:
    """The published lake."""
    return published.settings.home


@pytest.fixture(scope="session")
def snapshot(home: Path) -> Snapshot:
    """Its current snapshot."""
    return Snapshots(home).open()


@pytest.fixture(scope="session")
def client(published: Run) -> Iterator[TestClient]:
    """The interface on the published lake."""
    with TestClient(create_app(published.settings), raise_server_exceptions=False) as opened:
        yield opened
