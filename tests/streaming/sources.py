"""Real sources to pull from: a small REST service with a cursor, and a PostgreSQL server on loopback; a project that declares them."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import yaml
from click.testing import CliRunner

from gridlake.cli import main
from tests.streaming.conftest import DECLARATIONS, Lake

TOKEN = "a token of the portal"
PASSWORD = "a password of the reader"
_STARTS_WITHIN_S = 30


class Portal:
    """A REST service: rows in pages behind a cursor or numbered, a bearer token, and answers that fail when told so."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failures: list[tuple[int, dict[str, str]]] = []
        self.asked: list[dict[str, str]] = []
        portal = self

        class Answers(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = {name: values[0] for name, values in parse_qs(parts.query).items()}
                portal.asked.append(asked)
                status, headers, body = portal.answer(self.headers.get("authorization"), asked)
                self.send_response(status)
                for name, value in (headers | {"content-length": str(len(body))}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
        self.url = f"http://127.0.0.1:{self._server.server_port}/visits"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, authorization: str | None, asked: Mapping[str, str]) -> tuple[int, dict[str, str], bytes]:
        """(status, headers, body)."""
        if self.failures:
            status, headers = self.failures.pop(0)
            return status, headers, b"{}"
        if authorization != f"Bearer {TOKEN}":
            return 401, {}, b"{}"
        size = int(asked["limit"])
        first = (int(asked["page"]) - 1) * size if "page" in asked else int(asked.get("cursor", "0"))
        rows = self.rows[first : first + size]
        following = str(first + size) if first + size < len(self.rows) else None
        return 200, {}, json.dumps({"data": {"items": rows}, "next": following}, indent=1, ensure_ascii=False).encode()

    def close(self) -> None:
        """Stop answering."""
        self._server.shutdown()
        self._server.server_close()


class Postgres:
    """A PostgreSQL server with a database `source` and a user `reader`."""

    def __init__(self, folder: Path) -> None:
        self._bin = _binaries()
        self._data = folder / "postgres"
        self._user = "postgres" if os.geteuid() == 0 else None  # PostgreSQL does not run as root
        self._data.mkdir()
        if self._user:
            shutil.chown(self._data, self._user)
            for above in (folder, *folder.parents):
                if above.stat().st_uid == 0 and above != Path("/") and not above.stat().st_mode & 0o001:
                    above.chmod(above.stat().st_mode | 0o011)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._run("initdb", "--pgdata", str(self._data), "--username", "owner", "--auth-local", "trust", "--auth-host", "scram-sha-256", "--no-sync")
        settings = {"listen_addresses": "127.0.0.1", "port": str(self.port), "unix_socket_directories": str(self._data), "fsync": "off"}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        self._log = (folder / "postgres.log").open("w")
        command = [str(self._bin / "postgres"), "-D", str(self._data), *options]
        self._process = subprocess.Popen(command, user=self._user, cwd="/", stdout=self._log, stderr=self._log)
        self._wait()
        with self.owner("postgres") as connection:
            connection.execute("create database source")
            connection.execute(f"create user reader password '{PASSWORD}'")
        with self.owner() as connection:
            connection.execute("alter default privileges grant select on tables to reader")

    def owner(self, database: str = "source") -> psycopg.Connection[tuple[Any, ...]]:
        """A connection that may do all."""
        return psycopg.connect(host=str(self._data), port=self.port, user="owner", dbname=database, autocommit=True)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(timeout=30)
        self._log.close()

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run([str(self._bin / program), *arguments], user=self._user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def _wait(self) -> None:
        deadline = time.monotonic() + _STARTS_WITHIN_S
        while True:
            try:
                self.owner("postgres").close()
                return
            except psycopg.OperationalError:
                assert self._process.poll() is None, "the server ended; see postgres.log"
                assert time.monotonic() < deadline, "the server does not answer"
                time.sleep(0.05)


def needs_postgres() -> None:
    """Skip where there is no PostgreSQL server, but not in CI, which has to install it."""
    if _binaries() != Path():
        return
    missing = "no PostgreSQL server; do: apt-get install postgresql"
    if os.environ.get("CI"):
        pytest.fail(f"{missing}: CI must not pass without")
    pytest.skip(missing)


def _binaries() -> Path:
    """The folder of `initdb`, which Debian does not put on the path; an empty path where there is none."""
    found = [*sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True), *filter(None, [shutil.which("initdb")])]
    return Path(found[0]).parent if found else Path()


def project(folder: Path, servers: list[dict[str, Any]]) -> Path:
    """The declarations of these tests, with servers in the contract office.visit."""
    made = folder / "project"
    shutil.copytree(DECLARATIONS, made)
    contract = made / "expectations" / "contracts" / "office" / "visit.odcs.yaml"
    document = yaml.safe_load(contract.read_text(encoding="utf-8"))
    document["servers"] = servers
    contract.write_text(yaml.safe_dump(document, allow_unicode=True, sort_keys=False), encoding="utf-8")
    return made


def pull(lake: Lake, made: Path, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
    """(exit code, what it says, what it says to people) of one `gridlake land pull`; in a process of its own where it is to be killed."""
    given = {
        "GRIDLAKE_PROJECT": str(made), "GRIDLAKE_HOME": str(lake.home), "GRIDLAKE_INBOX": str(lake.inbox),
        "GRIDLAKE_SECRET_PORTAL_TOKEN": TOKEN, "GRIDLAKE_SECRET_READER": PASSWORD,
    } | environment  # fmt: skip
    arguments = ["land", "pull", "--json"]
    if "GRIDLAKE_KILL_AT" in given:
        command = [sys.executable, "-c", "from gridlake.cli import main; main()", *arguments]
        done = subprocess.run(command, env={**os.environ, **given}, capture_output=True, text=True, check=False, timeout=120)
        return done.returncode, [], done.stderr
    result = CliRunner().invoke(main, arguments, env=given)
    end = result.stdout.rfind("\n]") + 2
    return result.exit_code, json.loads(result.stdout[:end]) if result.stdout.startswith("[") else [], result.output
