"""Topics landed from a real broker: every record once, from where bronze is, and what is missing is said."""

from __future__ import annotations

import json
import signal
import time
import urllib.request
from datetime import datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer

from gridlake import outbox
from gridlake.outbox import Message
from streaming.kafka.broker import Connection
from streaming.kafka.sink import Sink
from streaming.simulator.replay import Sent
from tests.streaming.broker import WITHIN, KafkaLanding, TestBroker
from tests.streaming.conftest import DECLARATIONS, Lake, visit

RUNBOOK = "infra/runbooks/kafka-records-missing.md"


def ids(*numbers: int) -> list[str]:
    return sorted(f"V{n}" for n in numbers)


@pytest.mark.parametrize("client", ["python", "confluent"])
def test_what_is_in_a_topic_is_landed_once_and_the_next_lander_goes_on_from_bronze(
    landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str, client: str
) -> None:
    broker.send(topic, [visit(n) for n in range(1, 21)], partition=0)
    broker.send(topic, [visit(n) for n in range(21, 31)], partition=1)
    first = landing.caught_up(GRIDLAKE_KAFKA_CLIENT=client)
    states = ("received", "accepted", "refused", "duplicate", "waiting")
    assert [first["feeds"]["office__visit"][state] for state in states] == [30, 30, 0, 0, 0]
    broker.send(topic, [visit(31), visit(5)], partition=1)
    second = landing.caught_up(GRIDLAKE_KAFKA_CLIENT=client)
    assert (second["feeds"]["office__visit"]["accepted"], second["feeds"]["office__visit"]["duplicate"]) == (1, 1)
    assert landing.rows() == ids(*range(1, 32))
    topic_id = broker.admin.describe_topics([topic])[0]["topic_id"]
    positions = {row["visit_id"]: row["_source_position"] for row in lake.bronze()}
    assert positions["V1"] == f"kafka:{topic}/{topic_id}/0#0000000000"
    assert positions["V31"] == f"kafka:{topic}/{topic_id}/1#0000000010"
    assert landing.caught_up(GRIDLAKE_KAFKA_CLIENT=client)["feeds"] == {}


def test_a_sender_is_who_its_topic_says_and_what_is_no_row_is_kept_with_a_reason(
    landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str
) -> None:
    broker.send(topic, [b"no json", visit(1), None, visit(2, region_code="2001"), b"[1]"], key=b"K1")
    broker.send(topic, ["楼道".encode("gb18030")])
    for name in ("office.visit.nobody", "office.visit.old", "office.unheard_of.north"):
        broker.topic(name)
        broker.send(name, [visit(3), visit(4)])
    broker.topic("office.visit.north.receipt")
    broker.topic("somebody-elses")
    landed = landing.caught_up()
    assert landed["feeds"]["office__visit"]["received"] == 10
    assert landed["refusals"]["office__visit"] == {
        "encoding": 1,
        "json": 2,
        "no_value": 1,
        "not_entitled": 2,
        "region_scope/region_code": 1,
        "unknown_sender": 2,
    }
    assert landed["refusals"]["office__unheard_of"] == {"unknown_feed": 2}
    assert landing.rows() == ["V1"]
    kept = [lake.payload(row) for row in lake.quarantine()]
    assert {b"no json", b"K1", b"[1]", "楼道".encode("gb18030")} < set(kept)
    unrouted = lake.quarantine("unrouted")
    assert [json.loads(lake.payload(row))["visit_id"] for row in unrouted] == ["V3", "V4"]
    told = [(r["received"], r["accepted"] + r["refused"] + r["duplicate"] + r["waiting"]) for r in lake.receipts()]
    assert sum(received for received, _ in told) == 12
    assert all(received == states for received, states in told)
    assert landing.caught_up()["feeds"] == {}


@pytest.mark.parametrize("moment", ["landing.after_quarantine", "landing.after_receipt", "landing.after_bronze"])
def test_a_lander_killed_between_its_commits_leaves_nothing_out_and_nothing_twice(
    landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str, moment: str
) -> None:
    broker.send(topic, [visit(n, source_version="x" if n % 5 == 0 else 1) for n in range(1, 21)])
    broker.send(topic, [visit(n) for n in range(21, 31)], partition=1)
    killed = landing.start("--until-caught-up", GRIDLAKE_KILL_AT=moment)
    killed.communicate(timeout=WITHIN)
    assert killed.returncode == -signal.SIGKILL
    broker.send(topic, [visit(n) for n in range(31, 41)], partition=0)
    landing.caught_up()
    assert landing.rows() == ids(*(n for n in range(1, 41) if n > 20 or n % 5))
    assert sorted(json.loads(lake.payload(row))["visit_id"] for row in lake.quarantine()) == ids(5, 10, 15, 20)
    assert sum(r["received"] for r in lake.receipts()) == 40
    assert sum(r["accepted"] for r in lake.receipts()) == 36


def test_a_lander_outlives_a_broker_that_is_restarted_and_stops_when_told(landing: KafkaLanding, broker: TestBroker, topic: str) -> None:
    broker.send(topic, [visit(n) for n in range(1, 11)])
    lander = landing.start("--every", "200ms")
    landing.wait_for(lambda: len(landing.rows()) == 10, "the first rows")
    broker.stop()
    broker.start_again()
    broker.send(topic, [visit(n) for n in range(11, 21)], partition=1)
    landing.wait_for(lambda: len(landing.rows()) == 20, "the rows sent after the restart")
    lander.send_signal(signal.SIGTERM)
    out, _ = lander.communicate(timeout=WITHIN)
    assert lander.returncode == 0, landing.said()
    assert json.loads(out)["feeds"]["office__visit"]["accepted"] == 20
    assert landing.rows() == ids(*range(1, 21))


def test_records_that_retention_took_before_they_were_landed_are_an_error_until_somebody_accepts_it(
    landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str
) -> None:
    broker.send(topic, [visit(n) for n in range(1, 11)])
    landing.caught_up()
    broker.send(topic, [visit(n) for n in range(11, 21)])
    broker.send(topic, [visit(n) for n in range(21, 26)], partition=1)
    broker.forget(topic, before=15)
    said = landing.caught_up(expected=1)
    assert said["error"] == "RecordsMissing"
    assert RUNBOOK in said["message"]
    assert f"--accept-missing {topic}/0:10-14" in said["message"]
    assert (Path(__file__).parents[2] / RUNBOOK).exists()
    # The other partition has nothing to do with it.
    assert landing.rows() == ids(*range(1, 11), *range(21, 26))
    assert "error" in landing.caught_up("--accept-missing", f"{topic}/0:10-13", expected=1)
    landing.caught_up("--accept-missing", f"{topic}/0:10-14")
    assert landing.rows() == ids(*range(1, 11), *range(16, 26))
    gap = [(r["first_row"], r["last_row"], r["received"]) for r in lake.receipts() if r["state"] == "gap"]
    assert gap == [(10, 14, 0)]
    assert landing.caught_up()["feeds"] == {}


def test_a_topic_that_was_made_again_is_an_error_until_somebody_accepts_it(landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str) -> None:
    broker.send(topic, [visit(n) for n in range(1, 11)])
    landing.caught_up()
    old = broker.admin.describe_topics([topic])[0]["topic_id"]
    broker.delete(topic)
    new = broker.topic(topic, partitions=2)
    broker.send(topic, [visit(n) for n in range(11, 31)])
    said = landing.caught_up(expected=1)
    assert said["error"] == "RecordsMissing"
    assert RUNBOOK in said["message"]
    assert old in said["message"]
    assert new in said["message"]
    assert landing.rows() == ids(*range(1, 11))
    landing.caught_up("--accept-missing", f"{topic}@{old}")
    assert landing.rows() == ids(*range(1, 31))
    assert [r["state"] for r in lake.receipts() if r["_delivery_id"].split("/")[1] == old].count("ended") == 2
    assert landing.caught_up()["feeds"] == {}


def test_two_landers_of_a_group_share_the_partitions_and_one_goes_on_where_the_other_was_killed(
    landing: KafkaLanding, broker: TestBroker, topic: str
) -> None:
    landers = [landing.start("--group", "share", "--every", "200ms", "--lost-after", "6s") for _ in range(2)]
    try:
        landing.wait_for(lambda: broker.members("share") == 2, "both landers to be in the group")
        broker.send(topic, [visit(n) for n in range(1, 101)], partition=0)
        broker.send(topic, [visit(n) for n in range(101, 201)], partition=1)
        landing.wait_for(lambda: len(landing.rows()) == 200, "the rows of both partitions")
        landers[0].kill()
        broker.send(topic, [visit(n) for n in range(201, 211)], partition=0)
        broker.send(topic, [visit(n) for n in range(211, 221)], partition=1)
        landing.wait_for(lambda: len(landing.rows()) == 220, "one lander to land both partitions")
        assert landing.rows() == ids(*range(1, 221))
    finally:
        for lander in landers:
            lander.kill()
            lander.communicate()


def test_a_second_lander_without_a_group_fences_the_first(landing: KafkaLanding, broker: TestBroker, topic: str) -> None:
    first = landing.start("--every", "200ms")
    broker.send(topic, [visit(1)])
    landing.wait_for(lambda: landing.rows() == ids(1), "the first lander's row")
    second = landing.start("--every", "200ms")
    try:
        broker.send(topic, [visit(2)])
        n = 3
        until = time.monotonic() + WITHIN
        while first.poll() is None and time.monotonic() < until:
            broker.send(topic, [visit(n)])
            n += 1
            time.sleep(0.2)
        first.communicate(timeout=WITHIN)
        assert first.returncode == 1
        assert "another process lands it now" in landing.said()
        landing.wait_for(lambda: landing.rows() == ids(*range(1, n)), "the second lander to land every row")
    finally:
        second.kill()
        second.communicate()


def test_prometheus_reads_from_a_running_lander_what_it_lands(landing: KafkaLanding, broker: TestBroker, topic: str) -> None:
    broker.send(topic, [visit(1), b"no json"])
    lander = landing.start("--every", "200ms", "--metrics-port", "0")
    try:
        landing.wait_for(lambda: "/metrics\n" in landing.said(), "the address of the metrics")
        address = landing.said().split()[1]

        def told() -> str:
            with urllib.request.urlopen(address, timeout=5) as answer:
                return str(answer.read().decode())

        landing.wait_for(lambda: "gridlake_refused_share{" in told(), "the first batch in the metrics")
        assert 'gridlake_landed_rows_total{feed="office__visit",sender="north",state="refused"} 1.0' in told()
        assert 'gridlake_refused_share{feed="office__visit",sender="north"} 0.5' in told()
        assert "gridlake_freshness_seconds{" in told()
        assert "gridlake_log_lag_records{" in told()
    finally:
        lander.send_signal(signal.SIGINT)
        assert lander.wait(WITHIN) == 0
        lander.communicate()


def test_status_tells_freshness_refusals_and_lag_even_without_a_broker(landing: KafkaLanding, broker: TestBroker, topic: str) -> None:
    broker.send(topic, [visit(1), visit(2), visit(3), b"no json"])
    landing.caught_up()
    broker.send(topic, [visit(4), visit(5)])
    told = landing.run("land", "status")
    (feed,) = told["feeds"]
    assert (feed["feed"], feed["sender"], feed["received"], feed["accepted"], feed["refused_share"]) == ("office__visit", "north", 4, 3, 0.25)
    assert 0 <= feed["freshness_seconds"] < WITHIN
    assert feed["rate"] > 0
    assert [(log["landed"], log["end"], log["lag"], log["missing"]) for log in told["logs"]] == [(3, 6, 2, 0), (None, 0, 0, 0)]
    away = landing.run("land", "status", "--bootstrap", "127.0.0.1:1")
    assert away["kafka"].startswith("does not answer")
    assert [log["lag"] for log in away["logs"]] == [None, None]
    assert away["feeds"][0]["received"] == 4


def test_receipts_and_the_messages_of_the_outbox_go_out_in_order_and_a_killed_relay_repeats_them_with_the_same_ids(
    landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str
) -> None:
    broker.topic("office.dispatch")
    broker.send(topic, [visit(1), b"no json"])
    landing.caught_up()
    outbox.put(lake.tables, [Message(f"D{n}", "office.dispatch", "north", json.dumps({"n": n})) for n in range(3)])
    assert landing.run("relay", "kafka", "--until-caught-up")["published"] == {"ops.receipt": 1, "outbox.message": 3}
    outbox.put(lake.tables, [Message("D3", "office.dispatch", "north", json.dumps({"n": 3}))])
    broker.send(topic, [visit(2)])
    landing.caught_up()
    # Between publishing and remembering.
    killed = landing.start_command("relay", "kafka", "--until-caught-up", GRIDLAKE_KILL_AT="table.between_files_and_commit")
    killed.communicate(timeout=WITHIN)
    assert killed.returncode == -signal.SIGKILL
    landing.run("relay", "kafka", "--until-caught-up")
    assert landing.run("relay", "kafka", "--until-caught-up")["published"] == {}
    told = broker.read(f"{topic}.receipt")
    assert [(r["accepted"], r["refused"], r["reasons"], r["sender_code"]) for _, r in told[:1]] == [(1, 1, {"json": 1}, "north")]
    assert len(told) == 3
    assert told[1] == told[2]
    assert list(dict.fromkeys(message_id for message_id, _ in broker.read("office.dispatch"))) == ["D0", "D1", "D2", "D3"]


def test_a_stream_of_the_simulator_goes_into_topics_that_are_made_for_it(landing: KafkaLanding, broker: TestBroker, topic: str) -> None:
    rows = [
        Sent(datetime(2026, 5, 1, 9), "office", "visit", sender, json.dumps(visit(n, region_code=region)).encode())
        for n, (sender, region) in enumerate([("north", "1001"), ("south", "2001")] * 20)
    ]
    assert Sink(Connection(broker.address, {}), partitions=2).send(rows) == 40
    made = {t["name"]: len(t["partitions"]) for t in broker.admin.describe_topics(["office.visit.north", "office.visit.south"])}
    assert made == {topic: 2, "office.visit.south": 2}
    landing.caught_up()
    assert landing.rows() == ids(*range(40))


def test_what_came_before_its_feed_had_a_contract_is_not_received_a_second_time(
    landing: KafkaLanding, lake: Lake, broker: TestBroker, topic: str, tmp_path: Path
) -> None:
    early = topic.replace("visit", "walk")
    broker.topic(early)
    broker.send(early, [visit(1), visit(2)])
    assert landing.caught_up()["refusals"] == {"office__walk": {"unknown_feed": 2}}
    more = tmp_path / "more"
    (more / "office").mkdir(parents=True)
    (more / "senders").mkdir()
    contract = (DECLARATIONS / "expectations/contracts/office/visit.odcs.yaml").read_text(encoding="utf-8")
    contract = contract.replace("id: office.visit", "id: office.walk").replace("  - name: visit\n", "  - name: walk\n")
    (more / "office/walk.odcs.yaml").write_text(contract.replace("  - {property: gridlake.defines, value: visit}\n", ""), encoding="utf-8")
    sender = (DECLARATIONS / "expectations/senders/north.yml").read_text(encoding="utf-8")
    (more / "senders/north.yml").write_text(sender.replace("feeds: {", 'feeds: {office.walk: ">=1,<2", '), encoding="utf-8")
    broker.send(early, [visit(3), b"no json"])
    landed = landing.caught_up("--contracts", str(more))
    assert (landed["feeds"]["office__walk"]["accepted"], landed["feeds"]["office__walk"]["refused"]) == (1, 1)
    assert [row["visit_id"] for row in lake.bronze("office__walk")] == ["V3"]
    assert len(lake.quarantine("unrouted")) == 2
    assert sum(r["received"] for r in lake.receipts()) == 4


def test_rows_of_aborted_transactions_are_not_landed_and_the_marks_of_finished_ones_hold_nothing_up(
    landing: KafkaLanding, broker: TestBroker, topic: str
) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, transactional_id="t")
    producer.init_transactions()
    for number, is_kept in enumerate([True, False, True]):
        producer.begin_transaction()
        for n in range(3):
            producer.send(topic, json.dumps(visit(10 * number + n)).encode(), partition=0)
        producer.flush()
        producer.commit_transaction() if is_kept else producer.abort_transaction()
    producer.close()
    assert landing.caught_up()["is_caught_up"]
    assert landing.rows() == ids(0, 1, 2, 20, 21, 22)
    assert landing.caught_up()["feeds"] == {}


def test_without_a_topic_of_a_feed_there_is_nothing_to_land_until_one_is_made(landing: KafkaLanding, broker: TestBroker) -> None:
    assert landing.caught_up()["is_caught_up"]
    lander = landing.start("--every", "200ms")
    landing.wait_for(lambda: "0 topics of feeds" in landing.said(), "the first look")
    broker.topic("office.visit.north")
    broker.send("office.visit.north", [visit(1)])
    landing.wait_for(lambda: landing.rows() == ids(1), "the row of the new topic")
    broker.topic("office.visit.south")
    broker.send("office.visit.south", [visit(2, region_code="2001")])
    landing.wait_for(lambda: landing.rows() == ids(1, 2), "the row of another new topic")
    lander.terminate()
    assert lander.wait(WITHIN) == 0
    lander.communicate()
    for name in ("office.visit.north", "office.visit.south"):
        broker.delete(name)
