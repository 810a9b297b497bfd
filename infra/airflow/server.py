"""Apache Airflow on loopback in an environment of its own: API server, scheduler, DAG processor and triggerer, started, waited for, stopped.

    python infra/airflow/server.py start [--port 8080] [--folder .airflow]     prints URL, user, and where the password is
    python infra/airflow/server.py status | stop

The metadata lie in SQLite in the folder, or where GRIDLAKE_AIRFLOW_DB names a PostgreSQL. Passwords and secrets are made at the first start, readable
by their owner alone. It touches no process but its own and what those have started.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import subprocess
import sys
import urllib.error
import urllib.request
from base64 import urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from processes import LOOPBACK, ServerError, began, end_all, free_port, launch, marked, wait_for

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
DAGS = CHECKOUT / "dags"
DATABASE = "GRIDLAKE_AIRFLOW_DB"
# Every process of this server and what they start carries it with the folder as its value; by it they are found again.
MARK = "GRIDLAKE_AIRFLOW_FOLDER"
COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
USERS = {"admin": "admin", "viewer": "viewer"}
# From cold, on two busy cores; half a minute on idle ones.
SECONDS_TO_START = 180
# A running task is given time to write its state.
SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Place:
    """Where one Airflow keeps its metadata, logs, secrets and pids; its environment lies beside them unless `venv` says where."""

    folder: Path

    @property
    def home(self) -> Path:
        """AIRFLOW_HOME."""
        return self.folder / "home"

    @property
    def programs(self) -> Path:
        """The folder of Airflow's own environment that its programs lie in."""
        return CHECKOUT / ".airflow" / "venv" / "bin"

    @property
    def passwords(self) -> Path:
        """User → password, as SimpleAuthManager reads it."""
        return self.folder / "passwords.json"

    @property
    def secrets(self) -> Path:
        """What Airflow signs and seals with."""
        return self.folder / "secrets.json"

    @property
    def alerts(self) -> Path:
        """Missed deadlines and failed tasks, a line of JSON each."""
        return self.folder / "alerts.ndjson"

    @property
    def started(self) -> Path:
        """Port and processes of the last start."""
        return self.folder / "started.json"

    def log(self, name: str) -> Path:
        """What a process says."""
        return self.folder / "logs" / f"{name}.log"


def start(place: Place, *, port: int) -> str:
    """Start all four and wait until they are healthy; gives the URL. What was started goes down again where something fails."""
    if not (place.programs / "airflow").exists():
        raise ServerError(f"{place.programs}: expected Airflow's environment, it is not there; do: make airflow")
    if marked(MARK, str(place.folder)):
        raise ServerError(f"{place.folder}: an Airflow runs already; do: stop it first (make airflow-stop), or give another --folder")
    for folder in (place.home, place.folder / "logs"):
        folder.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    surroundings = environment(place, port)
    try:
        _migrate(place, surroundings)
        processes = {name: _launch(place, name, surroundings) for name in COMPONENTS}
        started = {"port": port, "processes": {name: [p.pid, began(p.pid)] for name, p in processes.items()}}
        place.started.write_text(json.dumps(started), encoding="ascii")
        url = f"http://{LOOPBACK}:{port}"
        for name in COMPONENTS:
            _await_healthy(url, name, (processes[name], place.log(name)))
        _make_pools(place, url)
    except BaseException:
        stop(place)
        raise
    return url


def stop(place: Place) -> bool:
    """End what `start` has started, and what that has; whether there was anything. Raises ServerError where something is left."""
    pids = marked(MARK, str(place.folder))
    if pids:
        recorded = json.loads(place.started.read_text(encoding="ascii"))["processes"] if place.started.exists() else {}
        chiefs = [pid for pid, since in recorded.values() if began(pid) == since]
        end_all(chiefs, lambda: marked(MARK, str(place.folder)), SECONDS_TO_STOP, f"Airflow in {place.folder}")
    place.started.unlink(missing_ok=True)
    return bool(pids)


def running(place: Place) -> str:
    """The URL of the Airflow that `start` recorded; '' where none runs."""
    if not place.started.exists():
        return ""
    recorded = json.loads(place.started.read_text(encoding="ascii"))
    alive = all(began(pid) == since for pid, since in recorded["processes"].values())
    return f"http://{LOOPBACK}:{recorded['port']}" if alive else ""


def health(url: str) -> dict[str, str]:
    """State by component; empty where nothing answers."""
    try:
        found = _asked(f"{url}/api/v2/monitor/health")
    except OSError:
        return {}
    return {name: str((state or {}).get("status")) for name, state in found.items()}


def _await_healthy(url: str, name: str, started: tuple[subprocess.Popen[bytes], Path]) -> None:
    asked = "metadatabase" if name == "api-server" else name.replace("-", "_")
    wait_for(lambda: health(url).get(asked) == "healthy", SECONDS_TO_START, f"Airflow's {name}", started)


def environment(place: Place, port: int) -> dict[str, str]:
    """The variables of every process: our settings, under those that the caller has set."""
    own = _secrets(place)
    lake = {"GRIDLAKE_HOME": CHECKOUT / "lake", "GRIDLAKE_INBOX": CHECKOUT / "inbox"}
    file_of_events = {"type": "file", "log_file_path": str(place.folder / "openlineage.ndjson"), "append": True}
    listener = os.environ.get("GRIDLAKE_OPENLINEAGE_URL") or os.environ.get("OPENLINEAGE_URL")
    settings = {
        "DATABASE__SQL_ALCHEMY_CONN": os.environ.get(DATABASE) or f"sqlite:///{place.home / 'airflow.db'}",
        "CORE__DAGS_FOLDER": str(DAGS),
        "CORE__LOAD_EXAMPLES": "False",
        "CORE__EXECUTOR": "LocalExecutor",
        # Its default keeps 32 workers ready.
        "CORE__PARALLELISM": "4",
        "CORE__MAX_ACTIVE_TASKS_PER_DAG": "4",
        "CORE__DEFAULT_TIMEZONE": "Asia/Shanghai",
        "CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "CORE__DAG_DISCOVERY_SAFE_MODE": "False",
        "CORE__FERNET_KEY": own["fernet_key"],
        "CORE__AUTH_MANAGER": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
        "CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{user}:{role}" for user, role in USERS.items()),
        "CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(place.passwords),
        "CORE__EXECUTION_API_SERVER_URL": f"http://{LOOPBACK}:{port}/execution/",
        "API__HOST": LOOPBACK,
        "API__PORT": str(port),
        "API__WORKERS": "1",
        "API__BASE_URL": f"http://{LOOPBACK}:{port}",
        "API__SECRET_KEY": own["api_secret"],
        "API__INSTANCE_NAME": "gridlake 网格数据湖",
        "API_AUTH__JWT_SECRET": own["jwt_secret"],
        # One machine, and tasks of seconds: what waits is given out at once.
        "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.5",
        "SCHEDULER__PARSING_CLEANUP_INTERVAL": "60",
        # A scheduler that was killed is known as such after a minute, not five, and its tasks are given out again.
        "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "60",
        "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "30",
        "DAG_PROCESSOR__REFRESH_INTERVAL": "30",
        "DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "60",
        "DAG_PROCESSOR__PARSING_PROCESSES": "1",
        "LOGGING__BASE_LOG_FOLDER": str(place.folder / "logs" / "tasks"),
        "OPENLINEAGE__NAMESPACE": "gridlake.dags",
        "OPENLINEAGE__TRANSPORT": json.dumps({"type": "http", "url": listener} if listener else file_of_events),
        "USAGE_DATA_COLLECTION__ENABLED": "False",
    }
    ours = {
        **{name: str(folder) for name, folder in lake.items()},
        "GRIDLAKE_COMMAND": str(CHECKOUT / ".venv" / "bin" / "gridlake"),
        "GRIDLAKE_ALERTS": str(place.alerts),
        "AIRFLOW_HOME": str(place.home),
        # The triggerer does not look into the folder of DAGs for what it calls.
        "PYTHONPATH": str(DAGS),
        **{f"AIRFLOW__{name}": value for name, value in settings.items()},
    }
    # A process that renames itself would otherwise write over its variables, and its mark among them.
    fixed = {MARK: str(place.folder), "SPT_NOENV": "1", "PATH": f"{place.programs}{os.pathsep}{os.environ['PATH']}"}
    return {**ours, **os.environ, **fixed}


def token(place: Place, url: str, user: str = "admin") -> str:
    """A token for the REST API."""
    password = json.loads(place.passwords.read_text(encoding="utf-8"))[user]
    return str(_asked(f"{url}/auth/token", {"username": user, "password": password})["access_token"])


def _secrets(place: Place) -> dict[str, str]:
    """Passwords and secrets, made where there are none."""
    if not place.passwords.exists():
        _write_private(place.passwords, {user: secrets.token_urlsafe(12) for user in USERS})
    if not place.secrets.exists():
        fernet_key = urlsafe_b64encode(secrets.token_bytes(32)).decode("ascii")
        _write_private(place.secrets, {"jwt_secret": secrets.token_urlsafe(64), "api_secret": secrets.token_urlsafe(32), "fernet_key": fernet_key})
    found: dict[str, str] = json.loads(place.secrets.read_text(encoding="utf-8"))
    return found


def _write_private(path: Path, document: Mapping[str, str]) -> None:
    path.touch(mode=0o600)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def _migrate(place: Place, surroundings: Mapping[str, str]) -> None:
    """Bring the metadata to the version installed. Nothing to do where SQLite is at it already: looking takes ten seconds."""
    mark = place.home / "migrated"
    version = (HERE / "requirements.txt").read_text(encoding="utf-8")
    if DATABASE not in os.environ and (place.home / "airflow.db").exists() and mark.exists() and mark.read_text(encoding="utf-8") == version:
        return
    _call([str(place.programs / "airflow"), "db", "migrate"], surroundings, place.log("migrate"))
    mark.write_text(version, encoding="utf-8")


def _make_pools(place: Place, url: str) -> None:
    """A pool of one for each writer that the DAGs name."""
    asked = subprocess.run([place.programs / "python", "-m", "gridlake_dags.pools"], cwd=DAGS, capture_output=True, text=True, check=False)
    if asked.returncode:
        raise ServerError(f"{DAGS}: the DAGs' pools cannot be listed; {asked.stderr[-2000:]}")
    pools = [{"slots": 1, "include_deferred": False, **pool} for pool in json.loads(asked.stdout)]
    actions = [{"action": "create", "entities": pools, "action_on_existence": "overwrite"}]
    _asked(f"{url}/api/v2/pools", {"actions": actions}, method="PATCH", authorization=token(place, url))


def _launch(place: Place, name: str, surroundings: Mapping[str, str]) -> subprocess.Popen[bytes]:
    command = [str(place.programs / "airflow"), name]
    return launch(command, place.folder, place.log(name), surroundings)


def _call(command: Sequence[str], surroundings: Mapping[str, str], log: Path) -> None:
    with log.open("wb") as said:
        done = subprocess.run(command, env=dict(surroundings), stdin=subprocess.DEVNULL, stdout=said, stderr=said, check=False)
    if done.returncode:
        raise ServerError(f"{' '.join(command)}: ended with {done.returncode}; {log} ends:\n{log.read_text(encoding='utf-8')[-3000:]}")


def _asked(url: str, document: Any = None, *, method: str | None = None, authorization: str = "") -> dict[str, Any]:
    """What the REST API answers; raises ServerError with its words where it refuses."""
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {authorization}"} if authorization else {})
    data = json.dumps(document).encode() if document is not None else None
    request = urllib.request.Request(url, data=data, headers=headers, method=method)  # noqa: S310 - our own server on loopback
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        raise ServerError(f"{url}: {error.code} {error.read().decode(errors='replace')[:2000]}") from None


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Apache Airflow on loopback.")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".airflow", help="metadata, logs, passwords, pids")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="start, and return when all is healthy; prints URL, user and where the password is")
    starting.add_argument("--port", type=int, default=8080, help="0: any that is free")
    commands.add_parser("status", help="print URL and health; exit code 1 where it is not healthy")
    commands.add_parser("stop", help="end what start has started; metadata and logs stay")
    given = parser.parse_args()
    place = Place(given.folder.absolute())
    try:
        if given.command == "start":
            url = start(place, port=given.port)
            print(f"{url}\nuser admin (all) or viewer (looks on); passwords in {place.passwords}")
        elif given.command == "status":
            url = running(place)
            states = health(url) if url else {}
            if not states or set(states.values()) != {"healthy"}:
                sys.exit(f"infra/airflow: {url or place.folder}: not healthy: {states or 'nothing answers'}; do: make airflow")
            print(url, *(f"{name} {state}" for name, state in states.items()))
        else:
            print("stopped" if stop(place) else "nothing ran")
    except ServerError as error:
        sys.exit(f"infra/airflow: {error}")


if __name__ == "__main__":
    main()
