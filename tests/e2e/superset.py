"""A Superset of its own for tests, over a lake's snapshots, and what its users see through the interface that its pages use."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

CHECKOUT = Path(__file__).parents[2]
ROOM = CHECKOUT / "infra" / "superset"
PASSWORD = "a-password-of-tests"
WITHIN = 60.0


@dataclass
class TestSuperset:
    """Superset in a folder of its own, at a port of its own."""

    __test__ = False
    folder: Path
    home: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    url: str = ""
    said: str = ""

    def start(self) -> TestSuperset:
        """Start it, or bring a running one up to date."""
        self.said = self._server("start", "--home", str(self.home), "--port", "0")
        self.url = self.said.split()[0]
        return self

    def stop(self) -> str:
        """Stop it; what it stores stays."""
        return self._server("stop")

    @property
    def pid(self) -> int:
        """Of its first process."""
        return int((self.folder / "superset.pid").read_text(encoding="ascii").split()[0])

    def admin(self) -> Client:
        """A session of the first user."""
        return Client(self.url, "admin", json.loads((self.folder / "secrets.json").read_text(encoding="utf-8"))["admin_password"])

    def _server(self, *arguments: str) -> str:
        command = [sys.executable, str(ROOM / "server.py"), "--folder", str(self.folder), *arguments]
        done = subprocess.run(command, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=400, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


class Client:
    """A user's session; `sign_in` none: a guest with this token."""

    def __init__(self, url: str, name: str, password: str, guest: str = "") -> None:
        self.http = httpx.Client(base_url=url, timeout=WITHIN, follow_redirects=True, headers={"Referer": url})
        if guest:
            self.http.headers["X-GuestToken"] = guest
            return
        signed_in = self.http.post("/api/v1/security/login", json={"username": name, "password": password, "provider": "db", "refresh": False})
        assert signed_in.status_code == 200, signed_in.text
        self.http.headers["Authorization"] = f"Bearer {signed_in.json()['access_token']}"
        self.http.headers["X-CSRFToken"] = token = self.http.get("/api/v1/security/csrf_token/").json()["result"]
        # The old pages know no bearer.
        self.http.post("/login/", data={"username": name, "password": password, "csrf_token": token})
        self.http.headers["X-CSRFToken"] = self.http.get("/api/v1/security/csrf_token/").json()["result"]

    def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request."""
        return self.http.request(method, path, **options)

    def all_of(self, kind: str) -> list[dict[str, Any]]:
        """Every chart, dataset, dashboard … that the user may see."""
        answer = self.ask("GET", f"/api/v1/{kind}/", params={"q": "(page_size:500)"})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["result"])

    def rows(self, dataset: int, columns: list[str], metrics: list[Any] | None = None, *, force: bool = True, **query: Any) -> httpx.Response:
        """A query as a chart asks it."""
        asked = {"columns": columns, "metrics": metrics or [], "row_limit": 1000, **query}
        body = {"datasource": {"id": dataset, "type": "table"}, "force": force, "queries": [asked], "result_format": "json", "result_type": "full"}
        return self.ask("POST", "/api/v1/chart/data", json=body)

    def chart(self, chart: Mapping[str, Any]) -> tuple[int, str]:
        """(rows, SQL) of a chart asked anew; the map asks by the old way, as its page does."""
        if chart["viz_type"] == "country_map":
            params = json.loads(self.ask("GET", f"/api/v1/chart/{chart['id']}").json()["result"]["params"])
            form = {**params, "slice_id": chart["id"], "datasource": f"{chart['datasource_id']}__table"}
            answer = self.ask("POST", "/superset/explore_json/", params={"force": "true"}, data={"form_data": json.dumps(form)})
            assert answer.status_code == 200, (chart["slice_name"], answer.text[:1000])
            return len(answer.json()["data"]), str(answer.json()["query"])
        answer = self.ask("GET", f"/api/v1/chart/{chart['id']}/data/", params={"force": "true"})
        assert answer.status_code == 200, (chart["slice_name"], answer.text[:1000])
        result = answer.json()["result"][0]
        return int(result["rowcount"]), str(result["query"])

    def make_user(self, name: str, role: str) -> None:
        """A user of that role, with the password of tests."""
        roles = {r["name"]: r["id"] for r in self.all_of("security/roles")}
        body = {"username": name, "first_name": name, "last_name": name, "email": f"{name}@localhost", "active": True, "password": PASSWORD}
        answer = self.ask("POST", "/api/v1/security/users/", json={**body, "roles": [roles[role]]})
        assert answer.status_code == 201, answer.text
