"""One feed of the inbox landed by itself, as a scheduler does it: beside others, by sender, by day, and again."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gridlake.cli import main
from tests.streaming.conftest import DECLARATIONS, NOW, Lake, visit

AS_OF = f"{NOW:%Y-%m-%dT%H:%M:%SZ}"


def gridlake(lake: Lake, *arguments: str, succeeds: bool = True) -> Any:
    """What the command prints, on the lake's folders."""
    where = ["--home", str(lake.home), "--inbox", str(lake.inbox), "--as-of", AS_OF, "--json"]
    done = CliRunner().invoke(main, [*arguments, *where], env={"GRIDLAKE_PROJECT": str(DECLARATIONS)})
    assert (done.exit_code == 0) == succeeds, done.output
    return json.loads(done.stdout)


@pytest.fixture
def laid(lake: Lake) -> Lake:
    """Two days of two senders, and another feed."""
    for day in (1, 2):
        lake.put(f"visit-2026-05-0{day}.jsonl", [visit(day), visit(10 + day, region_code="9999")])
        lake.put(f"visit-2026-05-0{day}.jsonl", [visit(20 + day, region_code="2001")], sender="south")
    lake.put("tally.jsonl", [{"tally_id": "T1"}], feed="office/tally")
    return lake


def test_what_is_landed_of_one_sender_is_no_longer_pending_and_the_rest_is(laid: Lake) -> None:
    assert gridlake(laid, "land", "pending") == {"office__tally": {"north": 1}, "office__visit": {"north": 2, "south": 2}}
    landed = gridlake(laid, "land", "feed", "office.visit", "--sender", "north")
    assert {name: landed[name] for name in ("received", "accepted", "refused", "refused_pct")} == {
        "received": 4, "accepted": 2, "refused": 2, "refused_pct": 50.0,
    }  # fmt: skip
    assert sum(landed["refusals"].values()) == 2
    assert gridlake(laid, "land", "pending") == {"office__tally": {"north": 1}, "office__visit": {"south": 2}}
    again = gridlake(laid, "land", "feed", "office.visit", "--sender", "north")
    assert (again["received"], again["already_landed"]) == (0, 2)


def test_a_day_is_landed_by_the_names_of_its_files_and_one_that_is_not_there_is_an_error(laid: Lake) -> None:
    landed = gridlake(laid, "land", "feed", "office.visit", "--files", "visit-2026-05-02*", "--expect")
    assert (landed["deliveries"], landed["received"]) == (2, 3)
    refused = gridlake(laid, "land", "feed", "office.visit", "--files", "visit-2026-05-03*", "--expect", succeeds=False)
    assert "expected files of office.visit named visit-2026-05-03*" in refused["message"]
    assert "one of office.tally, office.visit" in gridlake(laid, "land", "feed", "office.visits", succeeds=False)["message"]


def test_feeds_landed_in_parts_and_side_by_side_end_in_the_tables_of_one_landing(laid: Lake, tmp_path: Path) -> None:
    whole = Lake(tmp_path / "whole")
    assert laid.keys
    shutil.copy(laid.home.with_name("lake.keys.json"), whole.folder)
    shutil.copytree(laid.inbox, whole.inbox, dirs_exist_ok=True)
    whole.land()
    given = {"GRIDLAKE_PROJECT": str(DECLARATIONS), "GRIDLAKE_HOME": str(laid.home), "GRIDLAKE_INBOX": str(laid.inbox), "GRIDLAKE_AS_OF": AS_OF}
    parts = [["office.tally"], ["office.visit", "--sender", "north"], ["office.visit", "--sender", "south"], ["office.visit"]]
    program = [sys.executable, "-c", "from gridlake.cli import main; main()", "land", "feed"]
    landers = [subprocess.Popen([*program, *part], env=os.environ | given, stderr=subprocess.PIPE, text=True) for part in parts]
    for lander in landers:
        _, said = lander.communicate(timeout=120)
        assert lander.returncode == 0, said
    assert laid.content() == whole.content()
