"""Contracts change while landers run: what is additive takes effect between two batches, what breaks senders does not, and nothing is lost."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gridlake import contracts, senders, vocabularies
from gridlake.contracts import in_force
from gridlake.contracts.in_force import InForce
from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.settings import Settings
from streaming.feed_lander import FeedLander, prepare
from streaming.inbox_watcher import Arrivals
from streaming.inbox_watcher import _land as look_once
from streaming.landing import land
from streaming.logs import Logs
from streaming.quarantine import Vault
from streaming.rows import Delivery, Lines
from tests.streaming.broker import KafkaLanding, TestBroker
from tests.streaming.conftest import DECLARATIONS, NOW, Lake, lines, visit
from tests.streaming.pushing import Pusher, serving

FEED = "office__visit"
RELEASED = ("version: 1.2.0", "version: 1.3.0")
DEMANDED = ("name: visitor_count, logicalType: integer", "name: visitor_count, required: true, logicalType: integer")
COUNT = "{name: visitor_count, logicalType: integer, logicalTypeOptions: {minimum: 0, maximum: 500}, classification: L1}"
MAP = 'gridlake.map, value: {visitor_count: {sql: "cast(visitor_count as bigint)"}}}\n  - {property: gridlake.ignoredColumns'
CROWD = "{name: not_crowded, type: custom, engine: gridlake, description: 有人数, severity: warning, implementation: visitor_count is not null}"
WEATHER = "      - {name: weather, businessName: 天气, logicalType: string, logicalTypeOptions: {maxLength: 20}, classification: L1}\n"


class OwnLake(Lake):
    """A lake whose declarations are a copy that may be changed."""

    @property
    def project(self) -> Path:
        return self.folder / "project"

    @property
    def settings(self) -> Settings:
        return super().settings.model_copy(update={"project": self.project})

    @property
    def contract(self) -> Path:
        return self.project / "expectations/contracts/office/visit.odcs.yaml"

    def edit(self, *changes: tuple[str, str], path: Path | None = None) -> None:
        """Change the contract's text, whole at once, as an editor or a checkout does."""
        path = path or self.contract
        text = path.read_text(encoding="utf-8")
        for before, after in changes:
            assert before in text
            text = text.replace(before, after)
        fresh = path.with_suffix(".new")
        fresh.write_text(text, encoding="utf-8")
        fresh.replace(path)

    def add_weather(self) -> None:
        self.edit(("version: 1.2.0", "version: 1.3.0"), ("    quality:\n", WEATHER + "    quality:\n"))


@pytest.fixture
def own(tmp_path: Path) -> OwnLake:
    shutil.copytree(DECLARATIONS, tmp_path / "project")
    return OwnLake(tmp_path)


@pytest.fixture(autouse=True)
def looks_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_force, "LOOK_EVERY_S", 0.0)


def watch(lake: OwnLake) -> InForce:
    known = lake.settings
    return InForce(known, contracts.load_all(known), senders.load_all(known), vocabularies.load_all(known), time.time_ns())


def test_a_new_optional_column_with_its_minor_version_takes_effect(own: OwnLake) -> None:
    found = watch(own)
    assert found.look() == ([], [])
    own.add_weather()
    taken, withheld = found.look()
    assert ([t.feeds for t in taken], withheld) == ([(FEED,)], [])
    assert "1.2.0 → 1.3.0" in taken[0].what
    assert "weather" in [c.name for c in found.contracts[FEED].columns]
    assert found.look() == ([], [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ([RELEASED, ("value: visit_kind", "value: no_such_list")], "problems"),
        ([RELEASED, DEMANDED], "at least 2.0.0 expected"),
        ([("version: 1.2.0", "version: 2.0.0"), ("maximum: 500", "maximum: 50")], "put the new major version beside it as visit.v2.odcs.yaml"),
        ([("    quality:\n", WEATHER + "    quality:\n")], "version 1.2.0 came, at least 1.3.0 expected"),
        ([("version: 1.2.0", "version: [1")], "not an ODCS document"),
        ([RELEASED, ("ended_at >= started_at", "ended_at >= begun_at")], "problems"),
    ],
)  # fmt: skip
def test_a_change_that_may_not_take_effect_is_told_and_the_contract_before_stays(own: OwnLake, changes: list[tuple[str, str]], said: str) -> None:
    found = watch(own)
    before = found.contracts[FEED]
    original = own.contract.read_text(encoding="utf-8")
    own.edit(*changes)
    taken, withheld = found.look()
    assert taken == []
    assert [w.path for w in withheld] == [own.contract]
    assert said in str(withheld[0])
    assert found.contracts[FEED] is before
    assert found.look() == ([], []), "told once, not each second"
    own.contract.write_text(original, encoding="utf-8")
    assert found.look() == ([], [])
    assert found.withheld == {}


def test_a_contract_leaves_in_two_steps(own: OwnLake) -> None:
    found = watch(own)
    tally = own.contract.with_name("tally.odcs.yaml")
    text = tally.read_text(encoding="utf-8")
    tally.unlink()
    _, withheld = found.look()
    assert "set status: deprecated first" in str(withheld[0])
    assert "office__tally" in found.contracts
    version = next(line for line in text.splitlines() if line.startswith("version:"))
    tally.write_text(text.replace("status: active", "status: deprecated").replace(version, version + "1"), encoding="utf-8")
    assert [t.feeds for t in found.look()[0]] == [("office__tally",)]
    tally.unlink()
    assert [t.feeds for t in found.look()[0]] == [("office__tally",)]
    assert "office__tally" not in found.contracts


def test_a_list_may_gain_codes_and_not_lose_them(own: OwnLake) -> None:
    found, words = watch(own), own.project / "expectations/vocabularies/visit_kind.csv"
    text = words.read_text(encoding="utf-8")
    words.write_text(text.rstrip("\n") + "\nparcel,包裹,Parcel\n", encoding="utf-8")
    taken, _ = found.look()
    assert [t.feeds for t in taken] == [(FEED,)]
    assert "parcel" in found.vocabularies["visit_kind"].codes
    words.write_text(text, encoding="utf-8")
    taken, withheld = found.look()
    assert taken == []
    assert "codes gone: parcel" in str(withheld[0])
    assert "parcel" in found.vocabularies["visit_kind"].codes


def test_a_sender_comes_and_a_broken_one_does_not(own: OwnLake) -> None:
    found, folder = watch(own), own.project / "expectations/senders"
    shutil.copy(folder / "north.yml", folder / "east.yml")
    assert "senders east" in found.look()[0][0].what
    assert "east" in found.senders
    (folder / "east.yml").write_text("name: [", encoding="utf-8")
    assert found.look()[0] == []
    assert "east" in found.senders


# -- landers ----------------------------------------------------------------------------------------------------------------------------------


def logs_of(lake: OwnLake) -> tuple[Run, Logs]:
    run = Run.start(lake.settings, quiet=True)
    prepare(run)
    logs = Logs(FeedLander(run, run.contracts[FEED], RegionTree(run.vocabularies.regions)))
    logs.take_over([Delivery(FEED, "north", "a", "kafka:a/0", 0, is_log=True)])
    return run, logs


def add(logs: Logs, *rows: tuple[int, dict[str, Any]]) -> None:
    logs.add("kafka:a/0", np.array([n for n, _ in rows]), Lines([lines(row).rstrip(b"\n") for _, row in rows]))


def test_a_column_is_filled_from_the_batch_after_the_contract_has_it(own: OwnLake) -> None:
    run, logs = logs_of(own)
    add(logs, (1, visit(1)), (2, visit(2, weather="小雨")))
    logs.land(NOW)
    # Judged by the contract before, committed after the change: by what it was judged by.
    add(logs, (3, visit(3)), (4, visit(4, weather="小雨")))
    (judged,) = logs.judge(NOW)
    own.add_weather()
    add(logs, (5, visit(5)), (6, visit(6, weather="小雨")))
    (later,) = logs.judge(NOW)
    logs.commit(judged)
    logs.commit(later)
    rows = {row["visit_id"]: (row["weather"], row["_contract_version"]) for row in own.bronze()}
    assert rows == {"V1": (None, "1.2.0"), "V3": (None, "1.2.0"), "V5": (None, "1.3.0"), "V6": ("小雨", "1.3.0")}
    assert [(r["_source_position"][-2:], r["reasons"][0]["rule"], r["_contract_version"]) for r in own.quarantine()] == [
        ("02", "unknown_column", "1.2.0"), ("04", "unknown_column", "1.2.0"),
    ]  # fmt: skip
    assert run.withheld == []


def test_a_lander_goes_on_when_another_process_has_added_the_column(own: OwnLake) -> None:
    _, logs = logs_of(own)
    own.add_weather()
    prepare(Run.start(own.settings, quiet=True))
    own.edit(("version: 1.3.0", "version: 1.2.0"), (WEATHER, ""))  # it reads the contract as it was
    add(logs, (1, visit(1)))
    assert [(r.accepted, r.contract_version) for r in logs.land(NOW)] == [(1, "1.2.0")]
    assert own.bronze()[0]["weather"] is None


def test_a_breaking_change_is_told_and_rows_are_judged_as_before(own: OwnLake, monkeypatch: pytest.MonkeyPatch) -> None:
    run, logs = logs_of(own)
    said: list[str] = []
    monkeypatch.setattr(run.progress, "say", said.append)
    own.edit(RELEASED, DEMANDED)
    add(logs, (1, visit(1)))
    assert [(r.accepted, r.contract_version) for r in logs.land(NOW)] == [(1, "1.2.0")]
    assert len(run.withheld) == 1
    assert "at least 2.0.0 expected" in run.withheld[0]
    assert [s.startswith("NOT IN FORCE") for s in said] == [True]


@pytest.mark.parametrize("stricter", [False, True])
def test_a_batch_that_a_killed_lander_began_ends_as_it_was_told_though_the_contract_has_changed(
    own: OwnLake, stricter: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, logs = logs_of(own)
    rows = [(1, visit(1, visitor_count=80)), (2, visit(2, visitor_count=900)), (3, visit(3))]
    add(logs, *rows)
    (judged,) = logs.judge(NOW)
    with monkeypatch.context() as broken:
        broken.setattr(FeedLander, "_commit_receipts", killed)
        with pytest.raises(KeyboardInterrupt):
            logs.commit(judged)
    assert (len(own.bronze()), len(own.quarantine())) == (0, 1)
    own.edit(("maximum: 500", "maximum: 50" if stricter else "maximum: 5000"))
    _, again = logs_of(own)
    add(again, *rows)
    receipts = again.land(NOW)
    where = sorted(row["_source_position"][-2:] for row in [*own.bronze(), *own.quarantine()])
    assert where == ["01", "02", "03"], "each in one place"
    assert sorted(row["_source_position"][-2:] for row in own.quarantine()) == (["01", "02"] if stricter else ["02"])
    assert [(r.received, r.accepted, r.refused) for r in receipts] == [(3, 1, 2) if stricter else (3, 2, 1)]


def test_a_served_feed_gains_a_column_under_load_without_restart_or_loss(own: OwnLake) -> None:
    """The push server, a process of its own, goes on through the change; every row told of is where it was told to be."""
    total, changed, told = 60, threading.Event(), {}
    with serving(own, GRIDLAKE_PROJECT=str(own.project)) as server:
        pushers = [Pusher.of(own, server) for _ in range(3)]

        def push_all(pusher: Pusher, numbers: range) -> None:
            for number in numbers:
                with_weather = changed.is_set()
                answer = pusher.push(lines(visit(number, **({"weather": "小雨"} if with_weather else {}))))
                assert answer.status_code == 200, answer.text
                told[number] = (answer.json(), with_weather)
                if number == numbers.start + 10 and pusher is pushers[0]:
                    own.add_weather()
                    changed.set()

        threads = [threading.Thread(target=push_all, args=(p, range(n * 1000, n * 1000 + total))) for n, p in enumerate(pushers, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        # The file is looked at once a second: push until it has been.
        more = iter(range(9000, 9999))
        wait_until(lambda: pushers[0].push(lines(visit(next(more), weather="晴"))).json()["contract_version"] == "1.3.0")
        assert not server.is_gone
    rows = {int(row["visit_id"][1:]): row for row in own.bronze()}
    refused = {int(json.loads(payload)["visit_id"][1:]) for payload in (own.keys.open_bytes(r["payload_sealed"]) for r in own.quarantine())}
    assert len(told) == 3 * total
    for number, (receipt, with_weather) in told.items():
        assert (number in rows) == (receipt["accepted"] == 1)
        assert (number in refused) == (receipt["refused"] == 1)
        if number in rows:
            assert rows[number]["weather"] == ("小雨" if with_weather else None)
            assert rows[number]["_contract_version"] == receipt["contract_version"]
        else:
            assert with_weather, "only a row that was ahead of the contract is refused"
            assert receipt["contract_version"] == "1.2.0"


def test_a_lander_of_a_topic_under_load_fills_a_new_column_from_then_on_without_restart_or_loss(own: OwnLake, broker: TestBroker, topic: str) -> None:
    """Rows without the column come first, rows with it from when the contract has it; some of those are ahead of the lander, and are replayed."""
    landing, numbers = KafkaLanding(own, broker), iter(range(10**6))
    sent: dict[int, bool] = {}
    with_weather, ended = threading.Event(), threading.Event()

    def send() -> None:
        while not ended.is_set():
            some = [next(numbers) for _ in range(50)]
            weather = {"weather": "小雨"} if with_weather.is_set() else {}
            broker.send(topic, [visit(n, **weather) for n in some], partition=some[0] // 50 % 2)
            sent.update(dict.fromkeys(some, bool(weather)))

    lander, load = landing.start("--every", "200ms"), threading.Thread(target=send)
    load.start()
    try:
        landing.wait_for(lambda: len(landing.rows()) > 500, "the first rows")
        own.add_weather()
        with_weather.set()
        filled = f"column weather of bronze.{FEED}"
        landing.wait_for(lambda: "weather" in own.tables.schema(f"bronze.{FEED}").names and _weathers(own) > 500, filled)
        assert lander.poll() is None
    finally:
        ended.set()
        load.join()
        landing.wait_for(lambda: _received(own) == len(sent), "every row that was sent")
        lander.terminate()
        assert lander.wait(60) == 0, landing.said()
        lander.communicate()
    told_too_early = own.tables.row_count(f"quarantine.{FEED}")
    assert {reason["rule"] for row in own.quarantine() for reason in row["reasons"]} <= {"unknown_column"}
    landing.run("replay", "--feed", "office.visit")
    rows = {int(row["visit_id"][1:]): row["weather"] for row in own.bronze()}
    assert rows == {number: "小雨" if has_weather else None for number, has_weather in sent.items()}
    assert len(own.bronze()) == len(sent) > told_too_early


def _weathers(own: OwnLake) -> int:
    return own.tables.read(f"bronze.{FEED}", columns=["weather"]).column("weather").drop_null().length()


def _received(own: OwnLake) -> int:
    return sum(row["received"] for row in own.receipts())


def killed(*_: object) -> None:
    """Stands for a lander that ends here."""
    raise KeyboardInterrupt


def wait_until(holds: Callable[[], bool], tries: int = 400) -> None:
    for _ in range(tries):
        if holds():
            return
    raise AssertionError("it did not come to hold")


# -- two major versions side by side ------------------------------------------------------------------------------------------------------


V2 = [
    ("version: 1.2.0", "version: 2.0.0"),
    (COUNT, "{name: visitor_count, logicalType: string, classification: L1}"),
    ("gridlake.defines, value: visit", "gridlake.conformsTo, value: visit"),
    ("gridlake.ignoredColumns", MAP),
    ("{name: ended_after_started,", "{name: ended_after_started, description: 结束不早于开始,"),
    ("{name: not_from_the_future,", "{name: not_from_the_future, description: 不在将来,"),
    ("{name: not_crowded, type: custom, engine: gridlake, severity: warning, implementation: visitor_count is null or visitor_count <= 100}", CROWD),
]
EXAMPLES = """\
  - {property: gridlake.volume, value: {min: 1, origin: a test}}
  - property: gridlake.accept
    value: [{visit_id: V1, region_code: "1001", started_at: "2026-05-01 09:00:00", source_version: 1}]
  - property: gridlake.reject
    value: [{rule: required, field: started_at, row: {visit_id: V1, region_code: "1001", source_version: 1}}]
"""


def put_second_major(own: OwnLake) -> None:
    beside = own.contract.with_name("visit.v2.odcs.yaml")
    shutil.copy(own.contract, beside)
    own.edit(*V2, path=beside)
    with beside.open("a", encoding="utf-8") as text:
        text.write(EXAMPLES)


def test_a_second_major_version_comes_while_a_lander_runs_and_each_sender_goes_by_its_range(own: OwnLake) -> None:
    found = watch(own)
    put_second_major(own)
    taken, withheld = found.look()
    assert (withheld, [t.feeds for t in taken]) == ([], [("office__visit_v2",)])
    own.edit(('office.visit: ">=1,<2"', 'office.visit: ">=1,<3"'), path=own.project / "expectations/senders/north.yml")
    own.put("1.jsonl", [visit(1, visitor_count=3)])
    own.put("2.jsonl", [visit(2, visitor_count="3")], feed="office/visit_v2")
    own.put("3.jsonl", [visit(3, visitor_count="3", region_code="2001")], feed="office/visit_v2", sender="south")
    done = own.land()
    assert {feed: (c["accepted"], c["refused"]) for feed, c in done["feeds"].items() if c["received"]} == {FEED: (1, 0), "office__visit_v2": (1, 1)}
    assert [r["visitor_count"] for r in own.bronze("office__visit_v2")] == ["3"]
    assert own.quarantine("office__visit_v2")[0]["reasons"][0]["rule"] == "not_entitled"


def test_a_retired_version_takes_nothing_more_in(own: OwnLake) -> None:
    put_second_major(own)
    own.edit(("status: active", "status: retired"))
    own.put("1.jsonl", [visit(1)])
    assert own.land()["feeds"][FEED]["refused"] == 1
    assert own.quarantine()[0]["reasons"][0]["rule"] == "retired"
    assert "停用" in own.receipts()[0]["message"]


def test_a_file_name_and_its_version_say_the_same_major(own: OwnLake) -> None:
    shutil.copy(own.contract, own.contract.with_name("visit.v2.odcs.yaml"))
    with pytest.raises(contracts.ContractError, match="expected the major version that the file's name says"):
        contracts.load_all(own.settings)


def test_landing_from_files_uses_the_contract_of_its_start(own: OwnLake) -> None:
    own.put("1.jsonl", [visit(1)])
    run = Run.start(own.settings, quiet=True)
    land(run)
    own.add_weather()
    own.put("2.jsonl", [visit(2, weather="小雨")])
    own.land()
    assert [row["weather"] for row in own.bronze()] == [None, "小雨"]


def test_the_inbox_watcher_goes_by_the_contract_in_force(own: OwnLake) -> None:
    run = Run.start(own.settings, quiet=True)
    vault = Vault(own.home, run.keys)
    arrivals = Arrivals(own.inbox, run.contracts, run.senders, vault, run.progress.say, run.tables, 0.0)
    own.put("1.jsonl", [visit(1)])
    assert look_once(run, arrivals)[FEED].accepted == 1
    own.add_weather()
    own.put("2.jsonl", [visit(2, weather="小雨")])
    assert look_once(run, arrivals)[FEED].accepted == 1
    assert [row["weather"] for row in own.bronze()] == [None, "小雨"]
