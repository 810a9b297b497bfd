"""Pushes over HTTP to a real server: who is let in, what is taken, what the receipt says, and what stands in the lake afterwards."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gridlake.credentials import Secrets
from gridlake.signatures import CLOCK_SKEW_S
from tests.streaming.conftest import Lake, lines, visit
from tests.streaming.pushing import CLIENT, CSV, JSON, NDJSON, PATH, NotStarted, Pusher, Server, counts, serving

PHONE = "13812345678"


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """One lake for the tests that do not count its tables."""
    return Lake(tmp_path_factory.mktemp("push"))


@pytest.fixture(scope="module")
def server(lake: Lake) -> Iterator[Server]:
    with serving(lake) as running:
        yield running


@pytest.fixture(scope="module")
def north(lake: Lake, server: Server) -> Pusher:
    return Pusher.of(lake, server)


def code(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    said: dict[str, str] = answer.json()
    assert said["expected"]
    assert said["do"]
    return said["code"]


def metric(server: Server, line: str) -> float:
    found = [text for text in CLIENT.get(server.url + "/metrics").text.splitlines() if text.startswith(line)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


def states(receipt: dict[str, Any]) -> list[str]:
    return [row["state"] for row in receipt["rows"]]


# Who is let in


def test_an_unsigned_or_forged_request_is_refused_counted_and_lands_nothing(server: Server, north: Pusher) -> None:
    body = lines(visit(1))
    assert code(CLIENT.post(server.url + PATH, content=body, headers={"content-type": NDJSON}), 401) == "signature_missing"
    before = metric(server, 'gridlake_push_unsigned_total{code="signature_wrong"}')
    forged = Pusher(server.url, "north", "not the key of north")
    assert code(forged.push(body), 401) == "signature_wrong"
    # A key is its owner's: south's signature under north's name is a forgery, and an unknown name looks the same.
    assert code(Pusher(server.url, "nobody", north.key).push(body), 401) == "signature_wrong"
    changed = north.signed("POST", PATH, body, {"content-type": NDJSON})
    assert code(CLIENT.post(server.url + PATH, content=body + b"\n{}", headers=changed), 401) == "digest_wrong"
    assert metric(server, 'gridlake_push_unsigned_total{code="signature_wrong"}') == before + 2


def test_an_expired_signature_is_refused(server: Server, north: Pusher) -> None:
    body = lines(visit(1))
    for created in (int(time.time()) - CLOCK_SKEW_S - 5, int(time.time()) + CLOCK_SKEW_S + 5):
        headers = north.signed("POST", PATH, body, {"content-type": NDJSON}, created=created)
        assert code(CLIENT.post(server.url + PATH, content=body, headers=headers), 401) == "signature_expired"


def test_a_replayed_request_is_refused(server: Server, north: Pusher) -> None:
    body = lines(visit(2))
    headers = north.signed("POST", PATH, body, {"content-type": NDJSON})
    assert CLIENT.post(server.url + PATH, content=body, headers=headers).status_code == 200
    assert code(CLIENT.post(server.url + PATH, content=body, headers=headers), 401) == "nonce_repeated"


def test_a_rotated_key_is_believed_at_once_beside_the_old_one_and_a_revoked_one_no_more(lake: Lake, server: Server) -> None:
    old = Pusher.of(lake, server, "south")
    kept = Secrets(lake.settings.secrets)
    new = Pusher(server.url, "south", kept.make("sender_south", datetime.now(UTC), timedelta(days=1)))
    body = lines(visit(1, region_code="2001"))
    assert old.push(body).status_code == new.push(body).status_code == 200
    kept.remove("sender_south")
    assert code(new.push(body), 401) == "signature_wrong"


def test_an_unknown_feed_and_a_sender_without_a_right_to_it_are_told_so(lake: Lake, server: Server, north: Pusher) -> None:
    assert code(north.push(lines(visit(1)), path="/feeds/office/none"), 404) == "unknown_feed"
    assert code(Pusher.of(lake, server, "old").push(lines(visit(1))), 403) == "not_entitled"
    assert not (lake.home / "journal" / "http" / "office__visit" / "old").exists()
    assert code(CLIENT.get(server.url + "/feeds"), 404) == "no_such_path"


def test_rows_outside_the_senders_regions_are_refused_in_the_receipt(north: Pusher) -> None:
    receipt = north.push(lines(visit(3), visit(4, region_code="2001"))).json()
    assert states(receipt) == ["accepted", "refused"]
    assert receipt["rows"][1]["reasons"][0]["field"] == "region_code"


# What is taken


def test_json_lines_json_and_csv_plain_and_gzipped_give_the_same_rows(north: Pusher) -> None:
    rows = [visit(10), visit(11, note="他说，“好”")]
    csv = "visit_id,region_code,started_at,source_version,note\n" + "".join(
        f"{r['visit_id']},{r['region_code']},{r['started_at']},{r['source_version']},{r.get('note', '')}\n" for r in rows
    )
    bodies = {NDJSON: lines(*rows), JSON: json.dumps(rows, indent=2).encode(), CSV: csv.encode(), f"{CSV}; charset=utf-8": csv.encode()}
    first, *others = [north.push(body, kind).json() for kind, body in bodies.items()]
    assert counts(first) == (2, 2, 0, 0)
    assert [counts(o) for o in others] == [(2, 0, 0, 2)] * 3, "equal payloads whatever they came in"
    zipped = north.push(gzip.compress(lines(visit(12))) + gzip.compress(lines(visit(13))), headers={"content-encoding": "gzip"}).json()
    assert counts(zipped) == (2, 2, 0, 0)
    single = north.push(json.dumps(visit(14)).encode(), JSON).json()
    assert counts(single) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("kind", "body", "rule"),
    [
        (NDJSON, b'{"visit_id": "V1"', "json"),
        (NDJSON, b"\xff\xfe{\x00", "encoding"),
        (NDJSON, b"[" * 5000, "json"),
        (JSON, b'[{"visit_id": "V1"}, ', "json"),
        (JSON, b'"text"', "json"),
        (JSON, b"[" * 5000, "json"),
        (CSV, b"no,known,column\n1,2,3\n", "header"),
    ],
)
def test_what_cannot_be_read_is_one_refused_row_with_its_rule(north: Pusher, kind: str, body: bytes, rule: str) -> None:
    receipt = north.push(body, kind).json()
    assert counts(receipt) == (1, 0, 1, 0)
    assert [r["rule"] for r in receipt["rows"][0]["reasons"]] == [rule]


def test_a_broken_a_cut_off_and_an_endless_gzip_are_told_and_nothing_is_kept(north: Pusher) -> None:
    whole = gzip.compress(lines(visit(20)))
    zipped = {"content-encoding": "gzip"}
    assert code(north.push(b"no gzip at all", headers=zipped), 400) == "gzip"
    assert code(north.push(whole[:-9], headers=zipped), 400) == "gzip"
    assert code(north.push(whole[:20] + b"\0\0\0" + whole[23:], headers=zipped), 400) == "gzip"
    assert code(north.push(gzip.compress(bytes(70 << 20)), headers=zipped), 413) == "unpacked_too_large"
    assert code(north.push(whole, headers={"content-encoding": "br"}), 415) == "content_encoding"


def test_a_huge_an_empty_and_a_wrongly_named_body_are_told(server: Server, north: Pusher) -> None:
    huge = bytes(17 << 20)
    assert code(north.push(huge), 413) == "too_large"
    headers = north.signed("POST", PATH, huge, {"content-type": NDJSON})
    chunks = (huge[at : at + (1 << 20)] for at in range(0, len(huge), 1 << 20))
    assert code(CLIENT.post(server.url + PATH, content=chunks, headers=headers), 413) == "too_large", "also where no length was announced"
    assert code(north.push(b"\n\n"), 400) == "empty"
    assert code(north.push(lines(visit(1)), "application/xml"), 415) == "content_type"
    assert code(north.push(lines(visit(1)), key="k" * 201), 400) == "key"


def test_a_row_too_large_to_carry_is_refused_and_its_neighbours_are_taken(north: Pusher) -> None:
    large = lines(visit(31, note="x" * (1 << 20)))
    for body, kind in ((lines(visit(30)) + large, NDJSON), (b"[" + lines(visit(32)).strip() + b"," + large.strip() + b"]", JSON)):
        receipt = north.push(body, kind).json()
        assert states(receipt) == ["accepted", "refused"]
        assert receipt["reasons"] == {"row_too_large": 1}


# What the receipt says


def test_the_receipt_tells_each_row_and_never_a_sensitive_value(north: Pusher) -> None:
    bad = visit(41, visitor_phone=PHONE + "9", visit_id="not an id")
    receipt = north.push(lines(visit(40, visitor_phone=PHONE), bad, visit(40, visitor_phone=PHONE), visit(42, visitor_count=200)), key="told").json()
    assert states(receipt) == ["accepted", "refused", "duplicate", "accepted"]
    assert counts(receipt) == (4, 2, 1, 1)
    assert receipt["reasons"] == {"pattern/visit_id": 1, "pattern/visitor_phone": 1}
    assert receipt["warnings"] == {"not_crowded": 1}
    assert [row["position"].rpartition("#")[2] for row in receipt["rows"]] == [
        f"{int(receipt['first_position'].rpartition('#')[2]) + n:010d}" for n in range(4)
    ]
    assert PHONE not in json.dumps(receipt)


def test_of_a_large_push_only_rows_that_were_not_accepted_are_told_one_by_one(north: Pusher) -> None:
    rows = [visit(50_000 + n) for n in range(3000)]
    rows[7]["visit_id"] = "bad"
    receipt = north.push(lines(*rows)).json()
    assert counts(receipt) == (3000, 2999, 1, 0)
    assert (receipt["rows_told"], [row["row"] for row in receipt["rows"]]) == ("not_accepted", [8])


def test_the_same_key_with_the_same_content_gives_the_same_receipt_and_with_other_content_a_conflict(north: Pusher) -> None:
    first = north.push(lines(visit(60)), key="once")
    again = north.push(lines(visit(60)), key="once")
    assert again.content == first.content
    assert again.headers["idempotent-replayed"] == "true"
    assert "idempotent-replayed" not in first.headers
    zipped = north.push(gzip.compress(lines(visit(60))), key='"once"', headers={"content-encoding": "gzip"})
    assert zipped.content == first.content, "the content counts, not how it was packed"
    assert code(north.push(lines(visit(61)), key="once"), 409) == "key_reused"
    assert north.receipt("once").content == first.content
    assert code(north.receipt("never"), 404) == "unknown_key"


def test_without_a_key_the_nonce_stands_for_it(server: Server, north: Pusher) -> None:
    body = lines(visit(62))
    headers = north.signed("POST", PATH, body, {"content-type": NDJSON}, nonce="a-nonce-of-north-0001")
    receipt = CLIENT.post(server.url + PATH, content=body, headers=headers).json()
    assert receipt["key"] == "a-nonce-of-north-0001"
    assert north.receipt("a-nonce-of-north-0001").json() == receipt


def test_many_at_once_under_one_key_land_once(lake: Lake, north: Pusher) -> None:
    with ThreadPoolExecutor(8) as at_once:
        answers = [*at_once.map(lambda _: north.push(lines(visit(63)), key="crowd"), range(8))]
    assert {a.status_code for a in answers} <= {200, 202}
    told = [a for a in answers if a.status_code == 200 and "idempotent-replayed" not in a.headers]
    assert len(told) == 1
    assert counts(told[0].json()) == (1, 1, 0, 0)


def test_the_interface_describes_itself_and_counts(server: Server, north: Pusher) -> None:
    north.push(lines(visit(64), visit(65, visit_id="bad")))
    described = CLIENT.get(server.url + "/openapi.json").json()
    assert set(described["paths"]) == {"/feeds/{source}/{feed}", "/feeds/{source}/{feed}/receipts/{key}", "/health", "/metrics"}
    assert metric(server, 'gridlake_push_rows_total{feed="office.visit",sender="north",state="refused"}') >= 1
    assert metric(server, 'gridlake_push_seconds_count{feed="office.visit"}') >= 1
    assert CLIENT.get(server.url + "/health").json()["state"] == "ok"


def test_a_second_server_on_the_same_lake_does_not_start(lake: Lake, server: Server) -> None:
    with pytest.raises(NotStarted, match=f"process {server.process.pid} writes these journals already"), serving(lake):
        pass


# What stands in the lake afterwards


def test_what_was_answered_is_in_the_lake_once_and_the_journal_is_empty(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    with serving(lake) as server:
        north, south = Pusher.of(lake, server), Pusher.of(lake, server, "south")
        told: dict[str, dict[str, Any]] = {}

        def send(number: int) -> None:
            pusher, region = (north, "1001") if number % 3 else (south, "2001")
            body = lines(visit(number, region_code=region, visitor_phone=PHONE), visit(number, visit_id="bad", note=PHONE))
            told[f"{pusher.sender}{number}"] = pusher.push(body, key=str(number)).json()

        with ThreadPoolExecutor(8) as at_once:
            [*at_once.map(send, range(60))]
    rows = {row["position"]: row["state"] for receipt in told.values() for row in receipt["rows"]}
    assert len(rows) == 120
    assert {r["_source_position"] for r in lake.bronze()} == {p for p, state in rows.items() if state == "accepted"}
    assert {r["_source_position"] for r in lake.quarantine()} == {p for p, state in rows.items() if state == "refused"}
    assert len(lake.bronze()) == len(lake.quarantine()) == 60
    receipts = lake.receipts()
    assert sum(r["received"] for r in receipts) == 120
    assert len(receipts) < 30, "pushes of one sender share a receipt in the table"
    assert b'"visit_id": "bad"' in lake.payload(lake.quarantine()[0])
    left = [p for p in (lake.home / "journal").rglob("*.log") if p.stat().st_size]
    assert left == []
    everything = b"".join(p.read_bytes() for p in lake.home.rglob("*") if p.is_file()) + (lake.folder / "server.log").read_bytes()
    assert PHONE.encode() not in everything


def test_files_and_pushes_of_the_same_rows_are_each_others_duplicates(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    now = datetime.now(UTC)
    lake.put("day.jsonl", [visit(1), visit(2)])
    lake.land(now)
    with serving(lake) as server:
        receipt = Pusher.of(lake, server).push(lines(visit(2), visit(3))).json()
        assert states(receipt) == ["duplicate", "accepted"]
    lake.put("next.jsonl", [visit(3)])
    assert lake.land(now)["feeds"]["office__visit"]["duplicate"] == 1
    assert [r["visit_id"] for r in lake.bronze()] == ["V1", "V2", "V3"]
