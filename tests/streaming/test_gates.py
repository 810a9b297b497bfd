"""A row that names what has not arrived waits, and lands by itself when it has; receipts and tables agree all the way."""

from __future__ import annotations

import signal
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridlake.regions import RegionTree
from streaming.feed_lander import FeedLander, prepare
from streaming.gates import in_order
from streaming.logs import Logs
from streaming.rows import Delivery, Lines
from tests.streaming.conftest import NOW, lines, visit
from tests.streaming.offices import Office

ERRAND, VISIT = "office__errand", "office__visit"


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path)


def errand(number: int, visit_number: int | None, **values: Any) -> dict[str, Any]:
    row = {"errand_id": f"E{number}", "visit_id": None if visit_number is None else f"V{visit_number}", "source_version": 1}
    return {k: v for k, v in (row | values).items() if v is not None}


def put(office: Office, name: str, *rows: dict[str, Any], sender: str = "north") -> None:
    office.put(name, rows, feed="office/errand", sender=sender)


def landed(office: Office) -> list[str]:
    return sorted(row["errand_id"] for row in office.bronze(ERRAND))


def logs_of(office: Office, feed: str) -> tuple[Logs, str]:
    run = office.run()
    prepare(run)
    logs = Logs(FeedLander(run, run.contracts[feed], RegionTree(run.vocabularies.regions)))
    log = Delivery(feed, "north", feed, f"kafka:{feed}/0", 0, is_log=True)
    logs.take_over([log])
    return logs, log.id


def test_feeds_land_after_those_that_their_gates_wait_for(office: Office) -> None:
    order = in_order(office.run().contracts)
    assert sorted(order) == sorted(office.run().contracts)
    assert order.index(VISIT) < order.index(ERRAND)


def test_a_row_waits_for_its_senders_own_thing_and_lands_with_it(office: Office) -> None:
    put(office, "1.jsonl", errand(1, 1), errand(2, 2), errand(3, None), errand(4, 1, source_version="x"), errand(5, 2, _op="delete", visit_id=None))
    office.put("1.jsonl", [visit(2, region_code="2001")], sender="south")
    done = office.land()
    assert done["feeds"][ERRAND] | {"deliveries": 0} == {
        "received": 5, "accepted": 2, "refused": 1, "duplicate": 0, "waiting": 2, "released": 0, "deliveries": 0, "already_landed": 0,
    }  # fmt: skip
    assert done["waits"] == {ERRAND: {"reference/visit_id": 2}}
    assert done["refusals"][ERRAND] == {"type/source_version": 1}
    assert landed(office) == ["E3", "E5"]
    office.put("2.jsonl", [visit(1)])
    assert office.land(NOW + timedelta(hours=1))["feeds"][ERRAND]["released"] == 1
    assert landed(office) == ["E1", "E3", "E5"]
    (released,) = [r for r in office.bronze(ERRAND) if r["errand_id"] == "E1"]
    assert released["_received_at"] == NOW + timedelta(hours=1)
    assert released["_source_position"].endswith("#0000000001")
    assert sorted(office.states(ERRAND).values()) == ["refused", "released", "waiting"]
    assert office.told(ERRAND) == {"received": 5, "accepted": 3, "refused": 1, "duplicate": 0, "waiting": 1}
    assert office.land(NOW + timedelta(hours=2))["feeds"][ERRAND]["released"] == 0


def test_in_one_run_the_order_of_feeds_does_not_matter(office: Office) -> None:
    put(office, "1.jsonl", errand(1, 1))
    office.put("1.jsonl", [visit(1)])
    assert office.land()["feeds"][ERRAND]["waiting"] == 0
    assert landed(office) == ["E1"]
    assert office.quarantine(ERRAND) == []


def test_equal_rows_that_waited_are_one_row_and_a_repeat(office: Office) -> None:
    put(office, "1.jsonl", errand(1, 1), errand(1, 1))
    office.land()
    office.put("1.jsonl", [visit(1)])
    office.land(NOW + timedelta(hours=1))
    assert landed(office) == ["E1"]
    assert office.told(ERRAND) == {"received": 2, "accepted": 1, "refused": 0, "duplicate": 1, "waiting": 0}


def test_a_row_that_waits_is_judged_by_the_contract_in_force_when_its_gate_opens(office: Office) -> None:
    put(office, "1.jsonl", errand(1, 1), errand(2, 1, runner_name="某"))
    office.land()
    office.change("runner_name, logicalType: string,", "runner_name, logicalType: string, logicalTypeOptions: {minLength: 2},", "errand")
    office.put("1.jsonl", [visit(1)])
    office.land(NOW + timedelta(hours=1))
    assert landed(office) == ["E1"]
    assert sorted(office.states(ERRAND).values()) == ["refused", "released"]
    assert office.told(ERRAND) == {"received": 2, "accepted": 1, "refused": 1, "duplicate": 0, "waiting": 0}


def test_rows_wait_no_more_when_the_contract_drops_the_gate(office: Office) -> None:
    put(office, "1.jsonl", errand(1, 1))
    office.land()
    office.change(", {property: gridlake.gate, value: true}", "", "errand")
    assert office.replay(feed=ERRAND).rows == 0, "it is not refused"
    assert office.let_go(ERRAND) == 1
    assert landed(office) == ["E1"]


def test_landers_of_logs_open_gates_by_themselves_whichever_commits_first(office: Office) -> None:
    errands, errand_log = logs_of(office, ERRAND)
    visits, visit_log = logs_of(office, VISIT)
    errands.add(errand_log, np.arange(3), Lines([lines(errand(n, n)).strip() for n in range(3)]))
    (receipt,) = errands.land(NOW)
    assert (receipt.waiting, receipt.accepted) == (3, 0)
    visits.add(visit_log, np.arange(2), Lines([lines(visit(n)).strip() for n in range(2)]))
    visits.land(NOW)
    assert landed(office) == ["E0", "E1"]
    # Judged as waiting, and what it waits for comes before it is committed.
    errands.add(errand_log, np.arange(3, 4), Lines([lines(errand(3, 3)).strip()]))
    (judged,) = errands.judge(NOW)
    visits.add(visit_log, np.arange(2, 4), Lines([lines(visit(n)).strip() for n in (2, 3)]))
    visits.land(NOW)
    assert landed(office) == ["E0", "E1", "E2"]
    errands.commit(judged)
    assert landed(office) == ["E0", "E1", "E2", "E3"]
    assert office.told(ERRAND) == {"received": 4, "accepted": 4, "refused": 0, "duplicate": 0, "waiting": 0}


@pytest.mark.parametrize("barrier", ["landing.after_quarantine:2", "landing.after_receipt:2", "landing.after_bronze:2"])
def test_what_a_killed_lander_told_to_wait_waits_though_its_gate_has_opened(office: Office, barrier: str) -> None:
    office.land()  # creates the tables, so that barriers count from the errands' batch
    put(office, "1.jsonl", errand(1, 1), errand(2, 2), errand(3, None))
    office.put("1.jsonl", [visit(9)])
    killed = office.in_a_process("land", GRIDLAKE_KILL_AT=barrier)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    office.put("2.jsonl", [visit(1)])
    office.land(NOW + timedelta(hours=1))
    assert landed(office) == ["E1", "E3"]
    assert list(office.states(ERRAND).values()) == ["released", "waiting"]
    assert office.told(ERRAND) == {"received": 3, "accepted": 2, "refused": 0, "duplicate": 0, "waiting": 1}
