"""The same rows by Kafka, by HTTP and as files end in the same bronze, the same quarantine and the same receipts."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from gridlake import contracts
from streaming.reasons import NAMED_BY_SENDERS
from streaming.receipt_rows import OUTCOMES
from tests.streaming.broker import KafkaLanding, TestBroker
from tests.streaming.conftest import lines, visit
from tests.streaming.mutations import payloads
from tests.streaming.offices import Office
from tests.streaming.pushing import Pusher, serving

VISIT, ERRAND = "visit", "errand"
SENDERS = {"north": "1001", "south": "2001"}
# Where a row came from and when; everything else is the same however it came.
OF_THE_WAY = {"_source_position", "_delivery_id", "_received_at"}
STATES = ("received", "accepted", "refused", "duplicate", "waiting")

Sent = list[tuple[str, str, list[bytes]]]
Way = Callable[[Office, Sent], None]


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Sent:
    """(feed, sender, rows) in the order of sending: errands before the visits that they wait for, good rows among mutated ones, and repeats."""
    office = Office(tmp_path_factory.mktemp("declared"))
    plain = visit(1, region_code="1001", visitor_name="王某", kind_code="ask", visitor_count=2, temperature_c=36.5, is_urgent=True)
    contract = replace(contracts.load_all(office.settings)["office__visit"], accept=(plain,))
    errands = [{"errand_id": f"E{n}", "visit_id": f"V{n}", "runner_name": "某某", "source_version": 1} for n in range(0, 60, 2)]
    found: Sent = [(ERRAND, sender, lines(*errands).splitlines()) for sender in SENDERS]
    for sender, region in SENDERS.items():
        chance = Random(sender)
        good = lines(*(visit(n, region_code=region, visitor_name="王某", note="来过") for n in range(50))).splitlines()
        mutated = [line for line in payloads(contract, 450, 11) if len(line) < 1 << 15]
        mixed = [*good, *mutated, *chance.choices(good, k=40), *chance.choices(mutated, k=40)]
        chance.shuffle(mixed)
        # What stands at the head of a file or body may be a mark of its encoding: each part begins with a row that has none.
        for start in range(0, len(mixed), 200):
            found.append((VISIT, sender, [b"{}", *mixed[start : start + 200]]))
    return found


def as_files(office: Office, sent: Sent) -> None:
    for feed, parts in groupby(sent, key=itemgetter(0)):
        for number, (_, sender, rows) in enumerate(parts):
            office.put(f"{number:03}.jsonl", b"\n".join(rows) + b"\n", sender=sender, feed=f"office/{feed}")
        office.land()


def by_http(office: Office, sent: Sent) -> None:
    with serving(office, GRIDLAKE_PROJECT=str(office.declared)) as server:
        for feed, sender, rows in sent:
            answer = Pusher.of(office, server, sender).push(b"\n".join(rows) + b"\n", path=f"/feeds/office/{feed}")
            assert answer.status_code == 200, answer.text
            assert answer.json()["received"] == len(rows)


@pytest.fixture(scope="module")
def by_kafka(broker: TestBroker) -> Iterator[Way]:
    def land(office: Office, sent: Sent) -> None:
        for feed, parts in groupby(sent, key=itemgetter(0)):
            for sender in SENDERS:
                broker.topic(f"office.{feed}.{sender}", partitions=2)  # as in other tests: the producer remembers how many there were
            for _, sender, rows in parts:
                broker.send(f"office.{feed}.{sender}", rows)
            KafkaLanding(office, broker).caught_up("--batch-rows", "150")

    yield land
    broker.delete_all("office.")


def multiset(rows: Sequence[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(row, sort_keys=True, default=str, ensure_ascii=False) for row in rows)


def bronze(office: Office, feed: str) -> Counter[str]:
    return multiset([{k: v for k, v in row.items() if k not in OF_THE_WAY} for row in office.bronze(f"office__{feed}")])


def quarantine(office: Office, feed: str) -> Counter[str]:
    """Sender, bytes, reasons and state of each held row, and what it waits for."""
    found = []
    for row in office.quarantine(f"office__{feed}"):
        # How many names of its senders a batch tells apart depends on what else is in it.
        why = [reason | ({"field": None} if reason["rule"] in NAMED_BY_SENDERS else {}) for reason in row["reasons"]]
        # Rows that waited are let go by as many replays as there were batches, so the number of each tells nothing here.
        told = {name: row[name] for name in ("_sender_code", "_contract_version", "state", "waits_for")}
        payload = repr(office.payload(row)) if row["payload_sealed"] else None  # a new state of a row repeats no bytes
        found.append(told | {"payload": payload, "reasons": [reason for reason, _ in groupby(why)]})
    return multiset(found)


def receipts(office: Office) -> tuple[Counter[tuple[str, str, str]], Counter[tuple[str, str, str]]]:
    """By feed and sender: the sums of the states and of the reasons that name the contract's columns, and how often each outcome was told."""
    sums: Counter[tuple[str, str, str]] = Counter()
    outcomes: Counter[tuple[str, str, str]] = Counter()
    for receipt in office.receipts():
        place = (receipt["feed"], receipt["sender_code"])
        sums.update({(*place, state): receipt[state] for state in STATES})
        why = json.loads(receipt["reasons"] or "{}")
        sums.update({(*place, reason): rows for reason, rows in why.items() if reason.partition("/")[0] not in NAMED_BY_SENDERS})
        if receipt["received"]:  # not of a row that moved later
            outcomes.update((*place, chr(letter)) for letter in receipt["row_outcomes"] or b"")
    return sums, outcomes


def test_the_same_rows_end_alike_by_every_way(tmp_path: Path, sent: Sent, by_kafka: Way) -> None:
    ways: dict[str, Way] = {"files": as_files, "http": by_http, "kafka": by_kafka}
    lakes = {way: Office(tmp_path / way) for way in ways}
    files = lakes["files"]
    for way, office in lakes.items():
        if way != "files":
            # Tokens and digests are alike only under the same keys.
            shutil.copy(files.settings.keys, office.settings.keys)
        ways[way](office, sent)
    sums, outcomes = receipts(files)
    for feed in (VISIT, ERRAND):
        for sender in SENDERS:
            rows = sum(len(rows) for f, s, rows in sent if (f, s) == (feed, sender))
            assert sums[f"office__{feed}", sender, "received"] == rows
            assert rows == sum(sums[f"office__{feed}", sender, state] for state in STATES[1:])
    # Each state is met, and rows that waited have landed.
    visits = {state: outcomes["office__visit", "north", OUTCOMES[state].decode()] for state in ("accepted", "refused", "duplicate")}
    assert min(visits.values()) > 20, visits
    assert outcomes["office__errand", "north", OUTCOMES["waiting"].decode()] == 30 > sums["office__errand", "north", "waiting"] > 0
    for way in ("http", "kafka"):
        for feed in (VISIT, ERRAND):
            for table in (bronze, quarantine):
                came, expected = table(lakes[way], feed), table(files, feed)
                assert (list(came - expected)[:3], list(expected - came)[:3]) == ([], []), (way, feed)
        assert receipts(lakes[way]) == (sums, outcomes), way
