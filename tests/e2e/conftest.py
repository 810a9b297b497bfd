"""A small province, run once as a stranger would run it: by the installed command, in a process of its own."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as csv
import pytest

from gridlake.tables import Tables

GRIDLAKE = str(Path(sys.executable).parent / "gridlake")
FULL = os.environ.get("GRIDLAKE_TEST_SIZE") == "full"
SIZE = ["--days", "400", "--events", "200000"] if FULL else ["--days", "60", "--events", "3000", "--villages", "100"]
# One "now" for every run that is compared with another: it is also when rows are received.
NOW = ["--as-of", "2026-11-01T00:00:00Z"]


def gridlake(*arguments: str | Path, env: Mapping[str, str] | None = None, timeout: int = 900) -> subprocess.CompletedProcess[str]:
    """The command as a process, without Java in reach; output captured."""
    path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if not (Path(p) / "java").exists())
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith(("GRIDLAKE_", "JAVA_"))} | {"PATH": path} | dict(env or {})
    return subprocess.run([GRIDLAKE, *map(str, arguments)], env=surroundings, capture_output=True, text=True, timeout=timeout, check=False)


def succeed(*arguments: str | Path, env: Mapping[str, str] | None = None, timeout: int = 900) -> dict[str, Any]:
    """The JSON that the command printed; fails with its stderr otherwise."""
    done = gridlake(*arguments, "--json", env=env, timeout=timeout)
    assert done.returncode == 0, (
        f"gridlake {' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr[-4000:]}\n{done.stdout[-2000:]}"
    )
    document: dict[str, Any] = json.loads(done.stdout)
    return document


@dataclass(frozen=True)
class Lake:
    """A finished run: its folder, its inbox and what it printed."""

    home: Path
    inbox: Path
    document: dict[str, Any]

    @property
    def tables(self) -> Tables:
        return Tables(self.home / "tables")


@pytest.fixture(scope="session")
def province(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The inbox of a small simulated province."""
    inbox = tmp_path_factory.mktemp("province") / "inbox"
    succeed("simulate", *SIZE, "--inbox", inbox)
    return inbox


@pytest.fixture(scope="session")
def lake(province: Path, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """The lake that one undisturbed run makes of the province."""
    home = tmp_path_factory.mktemp("undisturbed") / "lake"
    return Lake(home, province, succeed("run", "--input", province, "--home", home, *NOW))


def copy_of(lake: Lake, folder: Path) -> Path:
    """A lake of one's own, with its keys."""
    home = folder / "lake"
    shutil.copytree(lake.home, home, symlinks=True)
    return with_keys_of(lake, home)


def with_keys_of(lake: Lake, home: Path) -> Path:
    """The home, with the other lake's keys beside it: sealed values of two lakes are alike only under the same keys."""
    shutil.copy(lake.home.with_name("lake.keys.json"), home.with_name(f"{home.name}.keys.json"))
    return home


def text_of(table: pa.Table) -> bytes:
    """All text of a table in one piece, nested columns included, and columns of bytes as they are."""
    written = io.BytesIO()
    for column in table.columns:
        if pa.types.is_binary(column.type):
            written.write(b"\n".join(value or b"" for value in column.to_pylist()))
            continue
        csv.write_csv(pa.table({"c": _as_text(column)}), written)
    return written.getvalue()


def _as_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    if pa.types.is_nested(column.type):
        return pa.chunked_array([[json.dumps(v, ensure_ascii=False, default=str) for v in column.to_pylist()]], pa.string())
    return column.cast(pa.string())
