"""One day of the simulated province streamed through Kafka by its clock: the run on it ends in the tables of the same day landed from files."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from gridlake.tables import Tables
from tests.e2e.conftest import FULL, GRIDLAKE, Lake, copy_of, succeed
from tests.lakes import content, differing
from tests.streaming.broker import TestBroker

DAY = "2026-10-31"
PROVINCE = ("--days", "40", *(("--events", "20000") if FULL else ("--events", "2000", "--villages", "20")))
# So many seconds of the senders in one of ours: a day in half an hour, or in some seconds.
PACE = "50" if FULL else "8000"
# Where a row came from; and of an id or a link, since when and how long the lake knew it.
OF_THE_WAY = {"_source_position", "_delivery_id"}
KNOWN = {"resolved.crosswalk": {"valid_from", "valid_to"}, "resolved.person_link": {"linked_at", "unlinked_at"}}
# A receipt for a file, or for what came of a log in some seconds; the logs of topics.
RECEIPTS = "ops.receipt"
OF_LOGS = {RECEIPTS, "ops.log"}
STATES = ("received", "accepted", "refused", "duplicate", "waiting")


def told(home: Path) -> Counter[tuple[str, str, str]]:
    """The sums of all receipts, by feed, sender and state."""
    rows = Tables(home / "tables").read(RECEIPTS, columns=["feed", "sender_code", *STATES]).to_pylist()
    return sum((Counter({(row["feed"], row["sender_code"], state): row[state] for state in STATES}) for row in rows), Counter())


@pytest.mark.deep
def test_a_day_by_kafka_and_the_same_day_by_files_end_in_the_same_tables(tmp_path: Path, broker: TestBroker) -> None:
    whole, inbox = tmp_path / "whole", tmp_path / "inbox"
    stream = ("simulate", *PROVINCE, "--inbox", whole, "--stream")
    succeed(*stream, "--before", DAY, "--into", inbox)
    for table in (p for p in whole.glob("[!_]*/*/*/*") if p.suffix in {".csv", ".xlsx"}):
        there = inbox / table.relative_to(whole)
        there.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(table, there)
    # Without --as-of: the landers of a stream receive rows when they come.
    before = Lake(tmp_path / "before" / "lake", inbox, succeed("run", "--input", inbox, "--home", tmp_path / "before" / "lake"))
    streamed = copy_of(before, tmp_path / "streamed")
    filed = copy_of(before, tmp_path / "filed")

    environment = {"GRIDLAKE_KAFKA": broker.address}
    land = ("land", "kafka", "--home", streamed)
    with (tmp_path / "lander.log").open("w") as log:
        lander = subprocess.Popen([GRIDLAKE, *land, "--every", "500ms"], env=environment, stdout=log, stderr=log)
        try:
            succeed(*stream, "--since", DAY, "--pace", PACE, "--to", f"kafka://{broker.address}", timeout=3600)
        finally:
            lander.terminate()
            assert lander.wait(60) == 0, (tmp_path / "lander.log").read_text()[-3000:]
    succeed(*land, "--until-caught-up", env=environment)
    succeed("run", "--input", inbox, "--home", streamed)

    succeed(*stream, "--since", DAY, "--into", inbox)
    succeed("run", "--input", inbox, "--home", filed)

    one, other = told(filed), told(streamed)
    assert one == other
    assert (one - told(before.home)).total() > 100
    assert differences(filed, streamed) == {}


def differences(filed: Path, streamed: Path) -> dict[str, str]:
    """The tables that differ but for the way that rows came and the time at which they came."""
    one, other = content(filed, OF_THE_WAY), content(streamed, OF_THE_WAY)
    ids = [{name: content(home, OF_THE_WAY | times)[name] for name, times in KNOWN.items()} for home in (filed, streamed)]
    found = differing(one, other) | dict.fromkeys(KNOWN, "") | differing(*ids)
    return {name: what for name, what in found.items() if name not in OF_LOGS and what}
