"""The small pages: the overview drills, nothing is loaded from elsewhere, and no file outside the lake's pages is served."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from serving.reports import render_all
from serving.snapshots import Snapshot
from tests.serving import province


class _Links(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.targets: dict[str, str] = {}
        self.loaded: list[str] = []
        self._at: str | None = None
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self._at = given.get("href") if tag == "a" else self._at
        if tag in {"script", "link", "iframe", "img"}:
            self.loaded.append(given.get("src") or given.get("href") or "")

    def handle_data(self, data: str) -> None:
        if self._at and data.strip():
            self.targets[data.strip()] = self._at
            self._at = None


def test_the_overview_drills_from_the_province_to_a_village_and_back(client: TestClient) -> None:
    page = client.get("/").text
    assert "浙江省" in page
    for name in ("杭州市", "西湖区"):
        page = client.get(_Links(page).targets[name]).text
        assert f"<h1>{name}" in page
    assert f"<h1>{'浙江省'}" in client.get(_Links(page).targets["浙江省"]).text, "the path leads back up"


def test_the_overview_shows_what_the_interface_answers(client: TestClient) -> None:
    region = client.get("/regions/330100000000").json()["region"]
    page = client.get("/?region=330100000000").text
    for number in ("event_count", "open_count", "overdue_count", "member_count"):
        assert f"<b>{region[number]:,}</b>" in page
    assert "<polyline points=" in page


@pytest.mark.parametrize("url", ["/", "/?region=T/N 1", "/reports/", "/docs"])
def test_a_page_loads_nothing_from_elsewhere_and_names_its_snapshot(client: TestClient, snapshot: Snapshot, url: str) -> None:
    answer = client.get(url)
    assert answer.status_code == 200, answer.text
    assert snapshot.id in answer.text
    assert _Links(answer.text).loaded == []
    assert not re.search(r"url\(|@import|https?://", answer.text)
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")


def test_the_interface_page_lists_every_endpoint(client: TestClient) -> None:
    page = client.get("/docs").text
    assert all(path in page for path in client.get("/openapi.json").json()["paths"])


def test_dictionary_pages_are_served(client: TestClient) -> None:
    index = client.get("/dictionary/")
    assert index.status_code == 200
    assert client.get("/dictionary/town_hall__request.html").status_code == 200
    assert client.get("/dictionary", follow_redirects=False).headers["location"] == "/dictionary/"


def test_reports_are_listed_and_served(client: TestClient, home: Path) -> None:
    render_all(province.checked(province.Run.start(province.settings(home), quiet=True)))
    links = _Links(client.get("/reports/").text).targets
    assert sum(name.endswith(".docx") for name in links) >= 4
    for name, url in links.items():
        if name.startswith("weekly-"):
            answer = client.get(url)
            assert answer.status_code == 200, url
            assert len(answer.content) > 1000


@pytest.mark.parametrize(
    "path",
    ["../snapshots/current/manifest.json", "..%2f..%2flake.keys.json", "%2e%2e/%2e%2e/etc/passwd", "/etc/passwd", "a%00b", "", "."],
)
@pytest.mark.parametrize("folder", ["reports", "dictionary", "checks"])
def test_no_file_outside_the_pages_is_served(client: TestClient, home: Path, folder: str, path: str) -> None:
    (home.parent / "lake.keys.json").write_text("secret")
    answer = client.get(f"/{folder}/{path}")
    assert answer.status_code in {200, 404}
    assert "secret" not in answer.text
    assert "root:" not in answer.text
    assert '"cut"' not in answer.text
