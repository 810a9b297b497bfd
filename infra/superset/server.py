"""Apache Superset on loopback, over the snapshot that is current: filled from what is declared, started, waited for, stopped.

    python infra/superset/server.py start [--home lake] [--port 8088] [--map counties.geojson]     prints URL, user, where the password is
    python infra/superset/server.py status | stop

Runs in gridlake's environment, starts Superset in its own (`--python`). What people make in Superset stays in its metadata database;
what is generated is brought up to date by every start. It touches no process but its own.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gridlake.settings import Settings

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parent.parent))
import assets
from cartogram import OutlineError
from processes import LOOPBACK, ServerError, end_recorded, free_port, launch, record, recorded, wait_for

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent.parent
# One process, whose threads wait for DuckDB: each further one holds 300 MB.
THREADS = 8
# From cold, on two busy cores; 15 s on idle ones.
SECONDS_TO_START = 180
SECONDS_TO_STOP = 30


@dataclass(frozen=True)
class Place:
    """Where one Superset keeps metadata, secrets, caches, what was generated for it, its log and its pid."""

    folder: Path

    @property
    def secrets(self) -> Path:
        """Keys and the first user's password, made on the first start; readable by their owner alone."""
        return self.folder / "secrets.json"

    @property
    def log(self) -> Path:
        """What the process says."""
        return self.folder / "superset.log"

    @property
    def pid(self) -> Path:
        """The process, the moment it began, and the port it listens on."""
        return self.folder / "superset.pid"


def start(place: Place, python: Path, home: Path, surroundings: Mapping[str, str], *, port: int, outlines: Path | None = None) -> str:
    """Bring what is generated up to date, start Superset where it does not run, and wait until it answers; gives its URL."""
    if not python.exists():
        raise ServerError(f"{python}: expected Superset's own environment, it is not there; do: make superset")
    place.folder.mkdir(parents=True, exist_ok=True)
    address = running(place)
    port = int(address.rpartition(":")[2]) if address else port or free_port()
    if not address:
        _require_free(port)
    _make_secrets(place)
    current = home.absolute() / "snapshots" / "current"
    assets.write(current, place.folder, Settings(home=home), outlines)
    environment = environment_of(place, current, port, surroundings)
    _populate(place, python, environment)
    if address:
        return f"http://{address}"
    command = [
        str(python),
        "-m",
        "gunicorn",
        "--workers",
        "1",
        "--worker-class",
        "gthread",
        "--threads",
        str(THREADS),
        "--timeout",
        "120",
        "--no-control-socket",
    ]
    command += ["--bind", f"{LOOPBACK}:{port}", "superset.app:create_app()"]
    process = launch(command, place.folder, place.log, environment)
    record(place.pid, process.pid, port)
    try:
        wait_for(lambda: answers(port), SECONDS_TO_START, f"Superset at port {port}", (process, place.log))
    except BaseException:
        stop(place)
        raise
    return f"http://{LOOPBACK}:{port}"


def environment_of(place: Place, current: Path, port: int, surroundings: Mapping[str, str]) -> dict[str, str]:
    """What Superset's settings read, over the surroundings without those of Python and of another Superset."""
    kept = {k: v for k, v in surroundings.items() if not k.startswith(("PYTHON", "SUPERSET_", "FLASK_"))}
    database = surroundings.get("GRIDLAKE_SUPERSET_DATABASE") or f"sqlite:///{place.folder}/superset.db?check_same_thread=false"
    return kept | {
        "GRIDLAKE_SUPERSET_FOLDER": str(place.folder),
        "GRIDLAKE_SUPERSET_SNAPSHOT": str(current),
        "GRIDLAKE_SUPERSET_PORT": str(port),
        "GRIDLAKE_SUPERSET_DATABASE": database,
        "SUPERSET_HOME": str(place.folder),
        "SUPERSET_CONFIG_PATH": str(HERE / "superset_config.py"),
        "FLASK_APP": "superset",
        "PYTHONPATH": str(HERE),
        "PLAYWRIGHT_BROWSERS_PATH": str(place.folder / "browsers"),
        "NO_PROXY": LOOPBACK,
    }


def running(place: Place) -> str:
    """The address of the Superset that `start` recorded; '' where none runs."""
    return recorded(place.pid)


def answers(port: int) -> bool:
    """Whether Superset says at the port that it is well."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/health", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def stop(place: Place) -> bool:
    """End the process that `start` recorded, by its id; whether there was one."""
    return end_recorded(place.pid, SECONDS_TO_STOP, "Superset")


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex((LOOPBACK, port)) == 0:
            raise ServerError(f"port {port}: somebody listens there already; do: stop it, or give another --port")


def _make_secrets(place: Place) -> None:
    try:
        with os.fdopen(os.open(place.secrets, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(
                {name: secrets.token_urlsafe(48 if name != "admin_password" else 18) for name in ("secret_key", "guest_secret", "admin_password")},
                file,
            )
    except FileExistsError:
        return


def _populate(place: Place, python: Path, environment: Mapping[str, str]) -> None:
    done = subprocess.run([str(python), str(HERE / "populate.py")], env=environment, cwd=place.folder, capture_output=True, text=True, check=False)
    with place.log.open("a", encoding="utf-8") as log:
        log.write(done.stderr + done.stdout)
    if done.returncode:
        raise ServerError(f"Superset's metadata could not be brought up to date; {place.log} ends:\n{done.stderr[-3000:]}")
    print(f"superset: {done.stdout.strip().splitlines()[-1]}", file=sys.stderr)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Apache Superset on loopback.")
    parser.add_argument("--folder", type=Path, default=CHECKOUT / ".superset", help="metadata, secrets, caches, log, pid")
    commands = parser.add_subparsers(dest="command", required=True)
    starting = commands.add_parser("start", help="fill and start it, and return when it answers; prints its URL")
    starting.add_argument("--port", type=int, default=8088, help="0: any that is free")
    starting.add_argument("--home", type=Path, default=Settings().home, help="the lake whose current snapshot is shown")
    starting.add_argument("--python", type=Path, default=CHECKOUT / ".superset" / "venv" / "bin" / "python", help="of Superset's own environment")
    starting.add_argument("--map", type=Path, help="GeoJSON of the counties' outlines (property adcode or code), instead of hexagons")
    commands.add_parser("status", help="print its URL; exit code 1 where it does not answer")
    commands.add_parser("stop", help="end what start has started; what it stores stays")
    given = parser.parse_args()
    place = Place(given.folder.absolute())
    try:
        if given.command == "start":
            url = start(place, given.python.absolute(), given.home, os.environ, port=given.port, outlines=given.map)
            print(f"{url}     user admin, password in {place.secrets} (admin_password)")
        elif given.command == "status":
            address = running(place)
            if not address or not answers(int(address.rpartition(":")[2])):
                sys.exit(f"infra/superset: {address or place.folder}: no Superset answers; do: make superset")
            print(f"http://{address}")
        else:
            print("stopped" if stop(place) else "nothing ran")
    except (ServerError, assets.AssetError, OutlineError) as error:
        sys.exit(f"infra/superset: {error}")


if __name__ == "__main__":
    main()
