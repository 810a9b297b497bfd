"""A real Airflow for a test: started on a free port, asked by its REST API, killed with everything that it has started."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
SERVER = CHECKOUT / "infra" / "airflow" / "server.py"
MARK = "GRIDLAKE_AIRFLOW_FOLDER"
_LOOK_AGAIN = 1.0
_OVER = {"success", "failed", "upstream_failed", "skipped"}


@dataclass
class Scheduler:
    """One Airflow over one lake."""

    folder: Path
    home: Path
    inbox: Path
    variables: dict[str, str] = field(default_factory=dict)
    _token: str = ""

    def start(self) -> float:
        """Start it and wait until it is healthy; gives the seconds that took."""
        subprocess.run(["make", "--silent", ".airflow/venv/.stamp"], cwd=CHECKOUT, check=True)
        started = time.monotonic()
        assert self._server("start", "--port", "0").startswith("http://127.0.0.1:")
        self._token = ""
        return time.monotonic() - started

    def stop(self) -> None:
        """Stop it; nothing may be left."""
        self._server("stop")
        assert self.processes() == []

    def kill(self) -> int:
        """Kill -9 everything at once, as a machine that is reset does; gives how many processes."""
        pids = self.processes()
        while left := self.processes():
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        return len(pids)

    def processes(self) -> list[int]:
        """Whatever this Airflow has started and has not ended."""
        mark = f"{MARK}={self.folder}".encode()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                # Without variables are those that have ended and that nobody has asked for.
                if mark in (path / "environ").read_bytes().split(b"\0"):
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def trigger(self, dag: str) -> str:
        """Start a DAG by hand; gives the run's id."""
        return str(self.ask(f"/api/v2/dags/{dag}/dagRuns", {"logical_date": None})["dag_run_id"])

    def runs(self, dag: str = "~") -> dict[tuple[str, str], str]:
        """State by DAG and run."""
        found = self.ask(f"/api/v2/dags/{dag}/dagRuns?limit=100&order_by=-run_after")["dag_runs"]
        return {(run["dag_id"], run["dag_run_id"]): run["state"] for run in found}

    def tasks(self, dag: str, task: str | None = None) -> list[dict[str, Any]]:
        """The task instances of a DAG."""
        found = self.ask(f"/api/v2/dags/{dag}/dagRuns/~/taskInstances?limit=100")["task_instances"]
        return [instance for instance in found if task in (None, instance["task_id"])]

    def output(self, instance: dict[str, Any]) -> Any:
        """What a task has told."""
        where = f"/api/v2/dags/{instance['dag_id']}/dagRuns/{instance['dag_run_id']}/taskInstances/{instance['task_id']}/xcomEntries/return_value"
        return self.ask(f"{where}?map_index={instance['map_index']}&deserialize=true")["value"]

    def until(self, holds: Callable[[], bool], seconds: float) -> None:
        """Wait until it holds; fails where a run fails, or when it does not in time."""
        deadline = time.monotonic() + seconds
        while not holds():
            failed = [dag for (dag, _), state in self.runs().items() if state == "failed"]
            assert not failed, f"{failed}\n{self._said()}"
            assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {Counter(self.runs().values())}\n{self.runs()}"
            time.sleep(_LOOK_AGAIN)

    def ask(self, path: str, document: Any = None) -> Any:
        """An answer of the REST API."""
        url = f"http://127.0.0.1:{json.loads((self.folder / 'started.json').read_text())['port']}"
        if not self._token:
            password = json.loads((self.folder / "passwords.json").read_text())["admin"]
            self._token = _asked(f"{url}/auth/token", {"username": "admin", "password": password}, "")["access_token"]
        return _asked(f"{url}{path}", document, self._token)

    def _said(self) -> str:
        alerts = self.folder / "alerts.ndjson"
        return alerts.read_text(encoding="utf-8") if alerts.exists() else "no alert"

    def _server(self, *arguments: str) -> str:
        given = {"GRIDLAKE_HOME": str(self.home), "GRIDLAKE_INBOX": str(self.inbox), **self.variables}
        surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("GRIDLAKE_", "AIRFLOW"))}
        command = [sys.executable, SERVER, "--folder", self.folder, *arguments]
        done = subprocess.run(command, env=surroundings | given, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return done.stdout


def _asked(url: str, document: Any, token: str) -> Any:
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
    data = json.dumps(document).encode() if document is not None else None
    with urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=60) as answer:
        return json.load(answer)
