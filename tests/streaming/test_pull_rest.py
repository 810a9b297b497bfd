"""Rows pulled from a paged REST service: each once, whatever fails or is killed on the way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gridlake.contracts import ContractError
from gridlake.contracts.load import load
from tests.streaming.conftest import Lake, visit
from tests.streaming.sources import TOKEN, Portal, project, pull

CURSOR = {
    "sender": "north",
    "rows": "data.items",
    "cursor": {"path": "next", "parameter": "cursor"},
    "size": {"parameter": "limit", "rows": 4},
    "secret": "portal_token",
}
NUMBERED = {name: value for name, value in CURSOR.items() if name != "cursor"} | {"page": {"parameter": "page"}}


@pytest.fixture
def portal() -> Iterator[Portal]:
    running = Portal()
    yield running
    running.close()


def declared(url: str, how: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"server": "portal", "type": "api", "location": url, "customProperties": [{"property": "gridlake.pull", "value": how}]}]


def visits(lake: Lake) -> list[str]:
    return sorted(r["visit_id"] for r in lake.bronze())


@pytest.mark.parametrize("how", [CURSOR, NUMBERED], ids=["cursor", "page numbers"])
def test_pages_are_landed_once_and_the_next_pull_brings_only_what_is_new(tmp_path: Path, portal: Portal, how: dict[str, Any]) -> None:
    lake, made = Lake(tmp_path / "lake"), project(tmp_path, declared(portal.url, how))
    portal.rows = [visit(n, note="第\n行") for n in range(10)]
    portal.rows[3] = visit(3, visit_id="bad")
    code, (told,), said = pull(lake, made)
    assert code == 0, said
    assert (told["received"], told["accepted"], told["refused"], told["duplicate"]) == (10, 9, 1, 0)
    portal.rows += [visit(n) for n in range(10, 13)]
    _, (told,), _ = pull(lake, made)
    assert (told["received"], told["accepted"], told["seen_before"]) == (3, 3, 2), "the last page is asked for again, without what it had"
    _, (told,), _ = pull(lake, made)
    assert told["received"] == 0
    assert visits(lake) == sorted(f"V{n}" for n in range(13) if n != 3)
    assert sum(r["received"] for r in lake.receipts()) == 13
    assert {r["_sender_code"] for r in lake.bronze()} == {"north"}
    assert TOKEN not in said


def test_failures_are_tried_again_and_a_refusal_is_told_without_the_secret(tmp_path: Path, portal: Portal) -> None:
    lake, made = Lake(tmp_path / "lake"), project(tmp_path, declared(portal.url, CURSOR))
    portal.rows = [visit(n) for n in range(3)]
    portal.failures = [(503, {}), (429, {"retry-after": "1"})]
    code, (told,), _ = pull(lake, made)
    assert (code, told["accepted"]) == (0, 3)
    code, (told,), said = pull(lake, made, GRIDLAKE_SECRET_PORTAL_TOKEN="wrong token")
    assert code == 1
    assert "expected status 200, came 401" in told["error"]
    assert "wrong token" not in said


@pytest.mark.parametrize("point", ["pull.after_page", "pull.before_place:2", "landing.after_quarantine"])
def test_a_killed_pull_neither_loses_nor_doubles(tmp_path: Path, portal: Portal, point: str) -> None:
    lake, made = Lake(tmp_path / "lake"), project(tmp_path, declared(portal.url, CURSOR))
    portal.rows = [visit(n) for n in range(10)] + [visit(10, visit_id="bad")]
    code, _, said = pull(lake, made, GRIDLAKE_KILL_AT=point)
    assert code == -signal.SIGKILL, said
    code, _, said = pull(lake, made)
    assert code == 0, said
    assert visits(lake) == sorted(f"V{n}" for n in range(10))
    assert len(lake.quarantine()) == 1
    assert sum(r["received"] for r in lake.receipts()) == 11, "a page that was taken is not received again"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"cursor": None}, "expected one of cursor"),
        ({"page": {"parameter": "p"}}, "expected one of cursor"),
        ({"password": "x"}, "password: Extra inputs are not permitted"),
        ({"sender": None}, "sender: "),
    ],
)
def test_a_declaration_that_cannot_be_understood_is_named_with_what_was_expected(tmp_path: Path, change: dict[str, Any], problem: str) -> None:
    how = {name: value for name, value in (CURSOR | change).items() if value is not None}
    made = project(tmp_path, declared("http://127.0.0.1:1/x", how))
    with pytest.raises(ContractError, match=f"server portal: gridlake.pull: .*{problem}"):
        load(made / "expectations" / "contracts" / "office" / "visit.odcs.yaml")
