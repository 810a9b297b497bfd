"""A replay judges refused rows by the contract now in force; every row ends once, and receipts say where."""

from __future__ import annotations

import datetime as dt
import json
import shutil
import signal
from datetime import timedelta
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.held import Wanted
from tests.streaming.conftest import NOW, visit
from tests.streaming.offices import Office

STRICT, MENDED = "maximum: 500", "maximum: 900"
LATER = NOW + timedelta(days=10)


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def crowded(*numbers: int) -> list[dict[str, object]]:
    return [visit(n, visitor_count=600) for n in numbers]


def test_rows_that_the_changed_contract_takes_are_landed_where_they_came_from(office: Office) -> None:
    office.put("1.jsonl", [visit(1), *crowded(2, 3), visit(4, source_version="x")])
    office.land()
    before = {r["_source_position"] for r in office.quarantine()}
    assert office.replay().entry()["accepted"] == 0, "nothing has changed yet"
    office.change(STRICT, MENDED)
    dry = office.replay(at=LATER, dry_run=True)
    assert (dry.rows, dry.accepted, dry.refused) == (3, 2, 1)
    assert len(office.bronze()) == 1
    done = office.replay(at=LATER)
    assert (done.rows, done.accepted, done.refused, dict(done.reasons)) == (3, 2, 1, {"type/source_version": 1})
    landed = {r["visit_id"]: r for r in office.bronze()}
    assert sorted(landed) == ["V1", "V2", "V3"]
    assert landed["V2"]["_source_position"] in before
    assert landed["V2"]["_delivery_id"] == landed["V1"]["_delivery_id"]
    assert (landed["V1"]["_received_at"], landed["V2"]["_received_at"]) == (NOW, LATER)
    assert sorted(office.states().values()) == ["refused", "released", "released"]
    assert office.told() == {"received": 4, "accepted": 3, "refused": 1, "duplicate": 0, "waiting": 0}
    (correction,) = [r for r in office.receipts() if r["state"] == "replayed"]
    assert json.loads(correction["reasons"]) == {"maximum/visitor_count": -2}
    assert correction["counted_at"] == NOW
    assert office.replay(at=LATER).accepted == 0
    assert len(office.bronze()) == 3


def test_every_format_is_read_again_as_it_was_sent(office: Office) -> None:
    """Each file has one row refused for its count alone and one that stays refused, for a value that another format would have taken."""
    office.put("1.jsonl", [*crowded(1), visit(11, visitor_count="600")])
    header = "visit_id,region_code,started_at,source_version,visitor_count,note"
    office.put("2.csv", f'{header}\nV2,1001,2026-05-01 09:00:00,1,600,"一,\n二"\nV12,1001,2026-05-01 09:00:00,1,600.5,甲\n'.encode())
    # These two characters in GB18030 are also valid UTF-8.
    office.put("3.csv", f"{header}\nV3,1001,2026-05-01 09:00:00,1,600,联通\nV13,1001,2026-05-01 09:00:00,1,x,甲乙丙丁戊\n".encode("gb18030"))
    sheet = openpyxl.Workbook()
    assert sheet.active is not None
    sheet.active.append(header.split(","))
    sheet.active.append(["V4", "1001", dt.datetime(2026, 5, 1, 9), 1, 600.0, "甲"])
    sheet.active.append(["V14", "1001", dt.datetime(2026, 5, 1, 9), 1, 600, "#N/A"])
    sheet.active["F3"].data_type = "e"
    (office.inbox / "office/visit/north").mkdir(parents=True, exist_ok=True)
    sheet.save(office.inbox / "office/visit/north/4.xlsx")
    table = pa.table(
        {
            "visit_id": ["V5", "V15"],
            "region_code": ["1001", "1001"],
            "started_at": pa.array([dt.datetime(2026, 5, 1, 13), None], pa.timestamp("us", "UTC")),
            "visit_date": [dt.date(2026, 5, 1)] * 2,
            "source_version": [1, 1],
            "visitor_count": [600, 600],
        }
    )
    pq.write_table(table, office.inbox / "office/visit/north/5.parquet")
    office.land()
    assert len(office.quarantine()) == 10
    assert office.bronze() == []
    office.change(STRICT, MENDED)
    done = office.replay()
    assert (done.accepted, done.refused, done.unreadable) == (5, 5, 0), done
    rows = {r["visit_id"]: r for r in office.bronze()}
    assert sorted(rows) == ["V1", "V2", "V3", "V4", "V5"]
    assert {r["started_at"].isoformat() for r in rows.values()} == {"2026-05-01T13:00:00+00:00"}
    assert rows["V2"]["note"] == "一,\n二"
    assert rows["V3"]["note"] == "联通"
    assert rows["V5"]["visit_date"] == dt.date(2026, 5, 1)


def test_a_row_is_judged_by_the_clock_of_its_first_receipt(office: Office) -> None:
    ahead = (NOW + timedelta(days=5)).strftime("%Y-%m-%d %H:%M:%S")
    office.put("1.jsonl", [visit(1, started_at=ahead)])
    office.land()
    assert office.replay(at=LATER).accepted == 0, "time alone mends no row"


def test_a_delivery_below_its_minimum_is_not_mended_row_by_row(office: Office) -> None:
    office.put("1.jsonl", [{"tally_id": "a", "amount": 1}, {"tally_id": "b", "amount": 2}], feed="office/tally")
    office.land()
    assert office.replay(feed="office__tally").entry()["refused"] == 2
    office.change("min: 3", "min: 2", "tally")
    assert office.replay(feed="office__tally").entry()["accepted"] == 2
    assert office.told("office__tally") == {"received": 2, "accepted": 2, "refused": 0, "duplicate": 0, "waiting": 0}


def test_what_was_sent_again_meanwhile_is_a_duplicate(office: Office) -> None:
    office.put("1.jsonl", crowded(1, 1, 2))
    office.land()
    office.change(STRICT, MENDED)
    office.put("2.jsonl", crowded(2))
    office.land(NOW + timedelta(hours=1))
    done = office.replay(at=NOW + timedelta(hours=2))
    assert (done.accepted, done.duplicate) == (1, 2)
    assert sorted(office.states().values()) == ["duplicate", "duplicate", "released"]
    assert office.told() == {"received": 4, "accepted": 2, "refused": 0, "duplicate": 2, "waiting": 0}


def test_only_the_rows_asked_for_are_replayed(office: Office) -> None:
    office.put("1.jsonl", [*crowded(1), visit(2, kind_code="??"), visit(3, visitor_count=600, kind_code="??")])
    office.put("1.jsonl", [visit(4, region_code="2001", visitor_count=600)], sender="south")
    office.land()
    assert office.replay(Wanted(("refused",), reason="maximum")).rows == 3
    assert office.replay(Wanted(("refused",), reason="maximum/visitor_count")).rows == 3
    assert office.replay(Wanted(("refused",), reason="maximum/note")).rows == 0
    assert office.replay(Wanted(("refused",), reason="code_list/kind_code", sender="north")).rows == 2
    assert office.replay(Wanted(("refused",), sender="south")).rows == 1
    assert office.replay(Wanted(("refused",), since=NOW + timedelta(seconds=1))).rows == 0


def test_a_sender_that_may_no_longer_send_stays_refused(office: Office) -> None:
    office.put("1.jsonl", crowded(1))
    office.land()
    office.change(STRICT, MENDED)
    sender = office.declared / "expectations/senders/north.yml"
    sender.write_text(sender.read_text().replace('office.visit: ">=1,<2", ', ""))
    done = office.replay()
    assert (done.not_entitled, done.accepted) == (1, 0)


def test_whole_files_that_were_refused_are_left(office: Office) -> None:
    office.put("1.csv", b"some,other,header\n1,2,3\n")
    office.land()
    assert office.replay().entry()["unreadable"] == 1


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Office:
    office = Office(tmp_path_factory.mktemp("begun"))
    office.put("1.jsonl", [visit(1), *crowded(2, 3), visit(4, source_version="x"), *crowded(2)])
    office.put("1.jsonl", [visit(1, region_code="2001", visitor_count=700)], sender="south")
    office.land()
    office.change(STRICT, MENDED)
    return office


# Three commits: bronze, the states, the corrections.
@pytest.mark.parametrize(
    "barrier", ["table.between_files_and_commit:1", "table.after_commit:1", "table.between_files_and_commit:3", "table.after_sync:3"]
)
def test_a_replay_killed_anywhere_is_finished_once(begun: Office, tmp_path: Path, barrier: str) -> None:
    office = Office.__new__(Office)
    shutil.copytree(begun.folder, tmp_path / "copy")
    office.folder = tmp_path / "copy"
    office.inbox, office.home, office.declared = office.folder / "inbox", office.folder / "lake", office.folder / "declared"
    (office.folder / "lake.keys.json").write_bytes(begun.settings.keys.read_bytes())
    killed = office.in_a_process("replay", GRIDLAKE_KILL_AT=barrier)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    if "after_commit" in barrier:
        office.land(NOW + timedelta(hours=1))  # finishes what it finds begun
        assert office.told()["accepted"] == 3 + 1
    office.replay(at=NOW + timedelta(hours=1))
    assert [r["visit_id"] for r in office.bronze()] == ["V1", "V2", "V3", "V1"]
    assert sorted(office.states().values()) == ["duplicate", "refused", "released", "released", "released"]
    assert office.told() == {"received": 6, "accepted": 4, "refused": 1, "duplicate": 1, "waiting": 0}
