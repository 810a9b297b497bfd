"""Files from the inbox to bronze, quarantine and receipts: what arrives, in what order, and that nothing is landed twice."""

from __future__ import annotations

import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA
from gridlake.runs import RunError
from tests.streaming.conftest import NOW, Lake, lines, visit

EVENING = datetime(2026, 5, 1, 22, 30, tzinfo=UTC)
FULL = visit(
    7,
    kind_code="ask",
    visitor_count=3,
    temperature_c=36.5,
    is_urgent=True,
    channel="door",
    visit_date="2026-05-01",
    started_at="2026-05-01 18:30:00",
    note="第一次来访",
)
HEADER = list(FULL)


def sheet(*rows: list[object], title: str = "visit") -> bytes:
    workbook = openpyxl.Workbook()
    workbook.active.title = title
    for row in rows:
        workbook.active.append(row)
    target = io.BytesIO()
    workbook.save(target)
    return target.getvalue()


def parquet(rows: list[dict[str, object]], folder: Path) -> bytes:
    path = folder / "scratch.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path.read_bytes()


def comma_separated(*rows: dict[str, object]) -> str:
    return "\n".join(
        [",".join(HEADER), *(",".join("" if row.get(h) is None else str(row[h]).replace("True", "true") for h in HEADER) for row in rows)]
    )


def test_every_format_gives_the_same_row_and_the_same_digest(lake: Lake, tmp_path: Path) -> None:
    typed = FULL | {"started_at": datetime(2026, 5, 1, 18, 30), "visit_date": date(2026, 5, 1)}
    contents = {
        "a.jsonl": lines(FULL),
        "b.jsonl.gz": gzip.compress(lines(FULL)),
        "c.csv": comma_separated(FULL).encode(),
        "d.csv": b"\xef\xbb\xbf" + comma_separated(FULL).replace("\n", "\r\n").encode(),
        "e.csv": comma_separated(FULL).encode("gb18030"),
        "f.csv.gz": gzip.compress(comma_separated(FULL).encode()),
        "g.xlsx": sheet(HEADER, [typed[h] for h in HEADER]),
        "h.parquet": parquet([typed], tmp_path),
        "i.parquet": parquet([FULL], tmp_path),
    }
    digests = []
    for number, (name, content) in enumerate(contents.items()):
        lake.put(name, content)
        landed = lake.land(NOW + number * timedelta(days=4))["feeds"]["office__visit"]
        assert (landed["accepted"], landed["refused"]) == (1, 0), (name, lake.refusals())
    for row in lake.bronze():
        digests.append(row["_payload_digest"])
        values = {name: row[name] for name in HEADER}
        assert values == FULL | {"started_at": EVENING, "visit_date": date(2026, 5, 1)}, row["_delivery_id"]
        assert row["_op"] == "upsert"
    assert len(digests) == len(contents)
    assert len(set(digests)) == 1


def test_bronze_says_where_each_row_came_from(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(1), visit(2)])
    lake.land()
    first, second = lake.bronze()
    assert first["_delivery_id"].startswith("files:north/day.jsonl@")
    assert second["_source_position"] == second["_delivery_id"] + "#0000000002"
    assert (first["_sender_code"], first["_contract_version"], first["_received_at"]) == ("north", "1.2.0", NOW)
    assert len(first["_payload_digest"]) == 32


def test_a_second_run_lands_nothing_and_counts_what_it_skipped(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(1), visit(2, region_code="nowhere")])
    lake.put("none.jsonl", b"")
    lake.put("refused.jsonl", [visit(3, source_version="12")])
    lake.put("a.jsonl", [visit(1)], sender="nobody")
    lake.put("a.jsonl", [visit(1)], feed="office/unheard_of")
    lake.land()
    versions = {name: lake.tables.version(name) for name in lake.tables.names()}
    again = lake.land(NOW + timedelta(hours=1))["feeds"]
    assert again["office__visit"] == dict.fromkeys(("received", "accepted", "refused", "duplicate", "waiting", "released", "deliveries"), 0) | {
        "already_landed": 4
    }
    assert again["office__unheard_of"]["already_landed"] == 1
    assert {name: lake.tables.version(name) for name in lake.tables.names()} == versions


def test_many_small_files_are_one_commit(lake: Lake) -> None:
    for day in range(1, 31):
        lake.put(f"2026-04-{day:02d}.jsonl", [visit(day)])
    before = 1  # creating the table
    lake.land()
    assert lake.tables.version("bronze.office__visit") == before
    assert len(lake.bronze()) == 30
    assert len(lake.receipts()) == 30


def test_deliveries_are_landed_by_sender_and_then_in_natural_order_of_their_names(lake: Lake) -> None:
    for name in ("10.jsonl", "9.jsonl"):
        lake.put(name, [visit(1)])
    lake.put("1.jsonl", [visit(1, region_code="2001")], sender="south")
    lake.land()
    told = {(r["sender_code"], r["file_name"]): r["duplicate"] for r in lake.receipts()}
    assert told == {("north", "9.jsonl"): 0, ("north", "10.jsonl"): 1, ("south", "1.jsonl"): 0}


def test_a_large_delivery_is_cut_into_chunks_with_a_receipt_each(lake: Lake) -> None:
    lake.put("year.jsonl", [visit(n, source_version="x" if n == 100_000 else 1) for n in range(1, 100_002)])
    counts = lake.land()["feeds"]["office__visit"]
    assert (counts["received"], counts["accepted"], counts["refused"], counts["deliveries"]) == (100_001, 100_000, 1, 1)
    told = sorted((r["batch"], r["first_row"], r["last_row"], r["received"], r["refused"]) for r in lake.receipts())
    assert told == [(1, 1, 100_000, 100_000, 1), (2, 100_001, 100_001, 1, 0)]
    assert sum(r["payload_bytes"] for r in lake.receipts()) == (lake.inbox / "office/visit/north/year.jsonl").stat().st_size


def test_a_file_landed_before_with_other_content_is_a_new_delivery(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(1)])
    lake.land()
    lake.put("day.jsonl", [visit(1), visit(2)])
    counts = lake.land(NOW + timedelta(hours=1))["feeds"]["office__visit"]
    assert counts == {"received": 2, "accepted": 1, "refused": 0, "duplicate": 1, "waiting": 0, "released": 0, "deliveries": 1, "already_landed": 0}


def test_the_same_file_for_two_feeds_gets_a_receipt_from_each(lake: Lake) -> None:
    for feed in ("office/visit", "office/tally"):
        lake.put("2026-05-01.jsonl", b"", feed=feed)
    lake.land()
    assert sorted((r["feed"], r["state"]) for r in lake.receipts()) == [("office__tally", "empty"), ("office__visit", "empty")]


def test_entries_beginning_with_underscore_or_dot_are_not_looked_at(lake: Lake) -> None:
    lake.put(".part.jsonl", [visit(1)])
    lake.put("_done", b"")
    lake.put("truth.jsonl", [visit(1)], feed="_truth/visit")
    assert lake.land()["feeds"]["office__visit"]["deliveries"] == 0
    assert lake.receipts() == []


def test_files_below_a_senders_folder_belong_to_the_sender(lake: Lake) -> None:
    lake.put("2026/05/01.jsonl", [visit(1)])
    lake.land()
    assert [(r["sender_code"], r["file_name"]) for r in lake.receipts()] == [("north", "2026/05/01.jsonl")]


def test_every_contract_has_its_tables_even_where_nothing_came(lake: Lake) -> None:
    result = lake.land()
    assert set(result["feeds"]) == {"office__tally", "office__visit"}
    tables = {f"{schema}.{feed}" for schema in ("bronze", "quarantine") for feed in ("office__tally", "office__visit")}
    assert set(lake.tables.names()) == tables | {"ops.receipt"}
    assert lake.tables.schema("ops.receipt").names == RECEIPT_SCHEMA.names
    assert lake.tables.schema("quarantine.office__visit").names == QUARANTINE_SCHEMA.names


def test_an_inbox_that_is_not_there_is_an_error_that_says_what_to_do(lake: Lake) -> None:
    lake.inbox.rmdir()
    with pytest.raises(RunError, match="expected an inbox of <inbox>/<source>/<feed>/<sender>/<file>"):
        lake.land()


def test_received_at_never_runs_backwards(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1)])
    lake.land(NOW)
    lake.put("b.jsonl", [visit(2)])
    lake.land(NOW - timedelta(days=1))
    assert [row["_received_at"] for row in lake.bronze()] == [NOW, NOW]


def test_a_delete_needs_its_key_and_version_and_nothing_else(lake: Lake) -> None:
    lake.put(
        "a.jsonl", [{"visit_id": "V1", "_op": "delete", "source_version": 2}, {"visit_id": "V2", "_op": "delete"}, {"visit_id": "V3", "_op": "drop"}]
    )
    lake.land()
    assert [(row["visit_id"], row["_op"]) for row in lake.bronze()] == [("V1", "delete")]
    first, second = lake.refusals()
    assert first == [("required", "source_version")]
    assert ("values", "_op") in second


def test_warnings_are_counted_on_the_receipt_and_refuse_nothing(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1, visitor_count=400), visit(2, visitor_count=4)])
    counts = lake.land()
    assert counts["feeds"]["office__visit"]["accepted"] == 2
    assert json.loads(lake.receipts()[0]["reasons"]) == {"warning:not_crowded": 1}
    assert (counts["refusals"], counts["warnings"]) == ({}, {"office__visit": {"not_crowded": 1}})


def test_a_delivery_below_its_minimum_is_refused_row_by_row_and_one_above_only_warned(lake: Lake) -> None:
    lake.put("few.jsonl", [{"tally_id": "1", "amount": 1}, {"tally_id": "2", "amount": "x"}], feed="office/tally")
    lake.put("many.jsonl", [{"tally_id": str(n), "amount": n} for n in range(10, 17)], feed="office/tally")
    counts = lake.land()["feeds"]["office__tally"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (9, 7, 2)
    few, many = lake.receipts()
    assert (few["state"], json.loads(few["reasons"])) == ("below_minimum", {"volume_min": 2, "type/amount": 1})
    assert (many["state"], json.loads(many["reasons"])) == ("landed", {"warning:volume_max": 2})
    assert lake.refusals("office__tally") == [[("volume_min", None)], [("type", "amount"), ("volume_min", None)]]


def test_a_new_column_of_the_contract_is_added_to_bronze_and_a_dropped_one_stays(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1)])
    lake.land()
    wider = lake.tables.schema("bronze.office__visit").append(pa.field("once_known", pa.string()))
    lake.tables.ensure("bronze.office__visit", wider)
    lake.put("b.jsonl", [visit(2)])
    lake.land()
    assert [row["once_known"] for row in lake.bronze()] == [None, None]
