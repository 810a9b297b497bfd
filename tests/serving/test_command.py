"""`gridlake serve` as a process: it says where it listens, answers, and refuses a lake with nothing to serve."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from serving.snapshots import Snapshot

GRIDLAKE = str(Path(sys.executable).parent / "gridlake")


def _free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


def test_serve_answers_on_its_port_and_says_where(home: Path, snapshot: Snapshot) -> None:
    port = _free_port()
    command = [GRIDLAKE, "serve", "--home", str(home), "--port", str(port), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            said = json.loads(server.stdout.readline())
            assert said == {"url": f"http://127.0.0.1:{port}", "snapshot": snapshot.id}
            assert _first_answer(f"{said['url']}/health").json()["snapshot"] == snapshot.id
            # Only a real server shows what becomes of an encoded slash on its way to a region's code.
            assert httpx.get(f"{said['url']}/regions/T%2FN%201").json()["region"]["region_name"] == "North"
        finally:
            server.terminate()


def _first_answer(url: str) -> httpx.Response:
    for _ in range(100):
        try:
            return httpx.get(url)
        except httpx.ConnectError:
            time.sleep(0.1)
    raise AssertionError(f"{url} did not answer within 10 s")


def test_serve_refuses_a_lake_without_a_snapshot(tmp_path: Path) -> None:
    done = subprocess.run([GRIDLAKE, "serve", "--home", str(tmp_path / "lake")], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "run `gridlake run` first" in done.stderr
