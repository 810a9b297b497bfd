"""Every built-in contract passes `gridlake feed check`; adding a contract adds its test."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gridlake import senders, vocabularies
from gridlake.cli import main
from gridlake.contracts import load
from gridlake.contracts.check import check_files, contract_files
from gridlake.settings import Settings

SETTINGS = Settings(contracts=None)
CONTRACTS = contract_files([SETTINGS.expectations / "contracts"])


def _id(path: Path) -> str:
    return f"{path.parent.name}.{path.name.partition('.')[0]}"


@pytest.mark.parametrize("path", CONTRACTS, ids=_id)
def test_contract_passes_feed_check(path: Path) -> None:
    others = [p for p in CONTRACTS if p != path]
    problems = check_files([path], vocabularies.load_all(SETTINGS), others)
    assert [str(p) for p in problems] == []


@pytest.mark.parametrize("path", CONTRACTS, ids=_id)
def test_somebody_may_send_the_feed(path: Path) -> None:
    contract = load(path)
    assert any(s.may_send(contract.source, contract.feed, contract.version) for s in senders.load_all(SETTINGS).values())


def test_feed_list_names_every_contract_its_senders_and_what_is_sensitive() -> None:
    outcome = CliRunner().invoke(main, ["feed", "list", "--json"])
    listed = {row["id"]: row for row in json.loads(outcome.stdout)}
    assert set(listed) == {load(p).id for p in CONTRACTS}
    event = listed["city_platform__event"]
    assert event["entity"] == "event"
    assert set(event["sealed_columns"]) == {"address", "reporter_name", "reporter_phone"}
    assert len(event["senders"]) == 11
    table = CliRunner().invoke(main, ["feed", "list"])
    assert table.exit_code == 0
    assert "city_platform__event" in table.output
