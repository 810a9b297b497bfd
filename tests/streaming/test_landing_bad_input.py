"""Bad input: each a receipt or a refusal with its reason, nothing else lost, the bytes kept sealed, memory bounded."""

from __future__ import annotations

import gzip
import io
import json
import os
import zipfile
from pathlib import Path

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streaming.rows import LARGEST_ROW_BYTES
from tests.streaming.conftest import Lake, lines, visit

GOOD = visit(1)
AFTER = visit(2)
PLENTY_MB = 2000


def row(text: str) -> bytes:
    """A JSON line with `text` among an acceptable row's pairs."""
    return (json.dumps(visit(9))[:-1] + ", " + text + "}").encode()


LINES = {
    "text for an integer": (row('"visitor_count": "12"'), [("type", "visitor_count")]),
    "1.0 for an integer": (row('"visitor_count": 1.0'), [("type", "visitor_count")]),
    "1e2 for an integer": (row('"visitor_count": 1e2'), [("type", "visitor_count")]),
    "true for an integer": (row('"visitor_count": true'), [("type", "visitor_count")]),
    "true for a number": (row('"temperature_c": true'), [("type", "temperature_c")]),
    "1 for a boolean": (row('"is_urgent": 1'), [("type", "is_urgent")]),
    "an integer for text": (row('"visitor_name": 13800000001'), [("type", "visitor_name")]),
    "an object for text": (row('"note": {"a": 1}'), [("type", "note")]),
    "NaN": (row('"temperature_c": NaN'), [("type", "temperature_c")]),
    "Infinity": (row('"temperature_c": -Infinity'), [("type", "temperature_c")]),
    "a number beyond a double": (row('"temperature_c": 1e999'), [("type", "temperature_c")]),
    "an integer that a double loses": (row('"temperature_c": 9007199254740993'), [("type", "temperature_c")]),
    "an integer beyond 64 bits": (row('"visitor_count": 9223372036854775808'), [("type", "visitor_count")]),
    "an integer below 64 bits": (row('"visitor_count": -9223372036854775809'), [("type", "visitor_count")]),
    "an integer of 5,000 digits": (row('"visitor_count": ' + "9" * 5000), [("type", "visitor_count")]),
    "a key twice": (row('"note": "a", "note": "b"'), [("duplicate_key", "note")]),
    "a key twice with spaces": (row('"note" : "a", "note"\t:"b"'), [("duplicate_key", "note")]),
    "a key twice, once escaped": (row('"note": "a", "n\\u006fte": "b"'), [("duplicate_key", "note")]),
    "an unknown column": (row('"weather": "晴"'), [("unknown_column", "weather")]),
    "a phone number for a column": (row('"13800000001": 1'), [("unknown_column", "(not shown)")]),
    "NUL in text": (row('"note": "a\\u0000b"'), [("encoding", "note")]),
    "a NUL byte": (row('"note": "a\x00b"'), [("encoding", None)]),
    "no UTF-8": (row('"note": "a"').replace(b'"a"', b'"\xff\xfe"'), [("encoding", None)]),
    "GB18030 in JSON": (row('"note": "来访"').decode().encode("gb18030"), [("encoding", None)]),
    "half a surrogate pair": (row('"note": "\\ud800"'), [("encoding", "note")]),
    "an array": (b"[1, 2]", [("json", None)]),
    "a text": (b'"visit"', [("json", None)]),
    "two objects": (lines(visit(8)).strip() * 2, [("json", None)]),
    "nothing closed": (lines(visit(8)).strip()[:-5], [("json", None)]),
    "arrays in arrays": (b"[" * 100_000, [("json", None)]),
    "30 February": (row('"ended_at": "2026-02-30 09:00:00"'), [("type", "ended_at")]),
    "another notation": (row('"ended_at": "2026/05/02 09:00:00"'), [("type", "ended_at")]),
    "a day that is none": (row('"visit_date": "2026-5-1"'), [("type", "visit_date")]),
    "an hour that never was": (row('"ended_at": "2026-03-08 02:30:00"'), [("nonexistent_local_time", "ended_at")]),
    "a code that is none": (row('"kind_code": "shout"'), [("code_list", "kind_code")]),
    "a value that is none": (row('"channel": "window"'), [("values", "channel")]),
    "too many": (row('"visitor_count": 501'), [("maximum", "visitor_count")]),
    "too few": (row('"visitor_count": -1'), [("minimum", "visitor_count")]),
    "too long": (row(f'"note": "{"长" * 201}"'), [("length", "note")]),
    "too short": (row('"note": ""'), [("length", "note")]),
    "no phone number": (row('"visitor_phone": "0571-88888888"'), [("pattern", "visitor_phone")]),
    "ended before it began": (row('"ended_at": "2026-05-01 08:59:59"'), [("ended_after_started", None)]),
    "from the future": (lines(visit(9, started_at="2099-01-01 00:00:00")).strip(), [("not_from_the_future", None)]),
    "nothing required": (lines(visit(9, started_at=...)).strip(), [("required", "started_at")]),
    "null where required": (lines(visit(9, started_at=None)).strip(), [("required", "started_at")]),
    "no key": (lines(visit(9, visit_id="")).strip(), [("required", "visit_id"), ("pattern", "visit_id")]),
    "a region of another sender": (lines(visit(9, region_code="2001")).strip(), [("region_scope", "region_code")]),
    "a region above the sender's": (lines(visit(9, region_code="1")).strip(), [("region_scope", "region_code")]),
    "a region that is none": (lines(visit(9, region_code="9999")).strip(), [("region_unknown", "region_code")]),
    "all that is wrong": (
        lines(visit(9, region_code="2001", kind_code="x", visitor_count="many", source_version=...)).strip(),
        [("type", "visitor_count"), ("code_list", "kind_code"), ("required", "source_version"), ("region_scope", "region_code")],
    ),
}


@pytest.mark.parametrize("name", LINES)
def test_a_bad_line_is_refused_with_its_reasons_and_the_lines_about_it_are_accepted(lake: Lake, name: str) -> None:
    content, reasons = LINES[name]
    lake.put("day.jsonl", lines(GOOD) + content + b"\n" + lines(AFTER))
    counts = lake.land()["feeds"]["office__visit"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (3, 2, 1), lake.refusals()
    assert sorted(lake.refusals()[0], key=str) == sorted(reasons, key=str)
    assert [r["visit_id"] for r in lake.bronze()] == ["V1", "V2"]
    refused = lake.quarantine()[0]
    assert lake.payload(refused) == content
    assert refused["_source_position"].endswith("#0000000002")
    assert all(not any(value in (reason["detail"] or "") for value in ("13800000001", "晴", "0571")) for reason in refused["reasons"])


def test_an_ignored_column_is_let_pass_and_may_hold_anything(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(1, platform_url={"a": [1, {"b": None}]})])
    assert lake.land()["feeds"]["office__visit"]["accepted"] == 1


def test_a_colon_after_a_quote_inside_a_text_is_no_second_key(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(1, note='他说 "走" : "note": 好'), visit(2, note='":":":')])
    assert lake.land()["feeds"]["office__visit"]["accepted"] == 2


def test_a_file_cut_in_the_middle_loses_only_its_last_row(lake: Lake) -> None:
    lake.put("day.jsonl", lines(GOOD, AFTER, visit(3))[:-20])
    lake.land()
    assert [r["visit_id"] for r in lake.bronze()] == ["V1", "V2"]
    assert lake.refusals() == [[("json", None)]]


def test_an_empty_file_and_one_of_blank_lines_get_a_receipt(lake: Lake) -> None:
    lake.put("a.jsonl", b"")
    lake.put("b.jsonl", b"\n \r\n\n")
    lake.put("c.csv", b"visit_id,region_code\n")
    lake.put("d.csv", b"")
    counts = lake.land()["feeds"]["office__visit"]
    assert (counts["received"], counts["deliveries"]) == (0, 4)
    assert [(r["state"], r["received"]) for r in lake.receipts()] == [("empty", 0)] * 4


def test_a_line_longer_than_a_row_may_be_is_sealed_to_a_file_and_the_rest_landed(lake: Lake) -> None:
    long = b'{"visit_id": "V9", "note": "' + b"x" * (9 << 20) + b'"}'
    shorter = b'{"note": "' + b"y" * LARGEST_ROW_BYTES + b'"}'
    lake.put("day.jsonl", lines(GOOD) + long + b"\n" + shorter + b"\n" + lines(AFTER))
    counts = lake.land()["feeds"]["office__visit"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (4, 2, 2)
    assert lake.refusals() == [[("row_too_large", None)]] * 2
    first, second = lake.quarantine()
    assert first["payload_ref"].startswith("quarantine_blobs/office__visit/")
    assert first["payload_sealed"] is None
    assert lake.payload(first) == long
    assert lake.payload(second) == shorter
    assert b"xxxxxxxx" not in (lake.home / first["payload_ref"]).read_bytes()


@pytest.mark.parametrize("megabytes", [200, pytest.param(1024, marks=pytest.mark.deep)])
def test_one_endless_line_takes_bounded_memory(lake: Lake, megabytes: int) -> None:
    path = lake.put("day.jsonl", b"")
    with path.open("wb") as target:
        target.write(b'{"note": "')
        for _ in range(megabytes):
            target.write(b"z" * (1 << 20))
    lake.put("good.jsonl", [GOOD])
    done = lake.land_in_a_process()
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.split()[-1]) < 500
    assert lake.refusals() == [[("row_too_large", None)]]
    assert len(lake.bronze()) == 1
    assert (lake.home / lake.quarantine()[0]["payload_ref"]).stat().st_size > megabytes << 20


# --- whole deliveries


def refused_whole(lake: Lake, rule: str) -> None:
    counts = lake.land()["feeds"]["office__visit"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (2, 1, 1)
    receipt = next(r for r in lake.receipts() if r["state"] == "refused_whole")
    assert (receipt["received"], receipt["refused"], json.loads(receipt["reasons"])) == (1, 1, {rule: 1})
    assert receipt["message"].startswith("整件拒收：")
    kept = lake.quarantine()[0]
    assert [r["rule"] for r in kept["reasons"]] == [rule]
    assert lake.payload(kept) == (lake.inbox / "office/visit" / receipt["sender_code"] / receipt["file_name"]).read_bytes()
    assert len(lake.bronze()) == 1, "the other delivery is landed all the same"


@pytest.mark.parametrize(("sender", "rule"), [("nobody", "unknown_sender"), ("old", "not_entitled")])
def test_a_delivery_of_a_sender_that_may_not_send_it_is_refused_whole(lake: Lake, sender: str, rule: str) -> None:
    lake.put("day.jsonl", [GOOD, AFTER], sender=sender)
    lake.put("day.jsonl", [GOOD])
    refused_whole(lake, rule)


def test_a_file_beside_the_senders_folders_comes_from_nobody(lake: Lake) -> None:
    (lake.inbox / "office/visit").mkdir(parents=True)
    (lake.inbox / "office/visit/day.jsonl").write_bytes(lines(GOOD))
    lake.put("day.jsonl", [GOOD])
    refused_whole(lake, "unknown_sender")


def test_a_feed_that_no_contract_knows_is_refused_whole_and_kept(lake: Lake) -> None:
    path = lake.put("day.jsonl", [GOOD], feed="office/unheard_of")
    lake.put("day.jsonl", [GOOD])
    landed = lake.land()
    assert landed["feeds"]["office__unheard_of"]["refused"] == 1
    assert landed["refusals"]["office__unheard_of"] == {"unknown_feed": 1}
    assert landed["feeds"]["office__visit"]["accepted"] == 1
    kept = lake.tables.read("quarantine.unrouted").to_pylist()[0]
    assert lake.payload(kept) == path.read_bytes()


def workbook(*rows: list[object]) -> bytes:
    book = openpyxl.Workbook()
    for values in rows:
        book.active.append(values)
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


def zip_bomb() -> bytes:
    """A workbook of 50 KB whose sheet unpacks to 50 MB of zeros."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(workbook(["visit_id"]))) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in source.namelist():
            bomb.writestr(name, b"0" * 50_000_000 if name.endswith("sheet1.xml") else source.read(name))
    return target.getvalue()


def entity_bomb() -> bytes:
    target = io.BytesIO()
    entities = '<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><worksheet>&b;</worksheet>'
    with zipfile.ZipFile(io.BytesIO(workbook(["visit_id"]))) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in source.namelist():
            bomb.writestr(name, entities if name.endswith("sheet1.xml") else source.read(name))
    return target.getvalue()


def two_sheets() -> bytes:
    book = openpyxl.Workbook()
    for sheet in (book.active, book.create_sheet("other")):
        sheet.append(["visit_id"])
    target = io.BytesIO()
    book.save(target)
    return target.getvalue()


WHOLE = {
    "unknown format": ("day.pdf", b"%PDF", "format"),
    "no suffix": ("day", lines(GOOD), "format"),
    "zip bomb": ("day.xlsx", zip_bomb(), "archive_too_large"),
    "entities": ("day.xlsx", entity_bomb(), "format"),
    "workbook under a password": ("day.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\0" * 600, "format"),
    "workbook cut off": ("day.xlsx", workbook(list(GOOD), list(GOOD.values()))[:-200], "format"),
    "no workbook": ("day.xlsx", b"hello", "format"),
    "empty workbook file": ("day.xlsx", b"", "format"),
    "two sheets": ("day.xlsx", two_sheets(), "format"),
    "workbook without header": ("day.xlsx", workbook(["V1", "1001"], ["V2", "1001"]), "header"),
    "no Parquet": ("day.parquet", b"PAR1....PAR1", "format"),
    "empty Parquet file": ("day.parquet", b"", "format"),
    "no gzip": ("day.jsonl.gz", b"hello", "format"),
    "UTF-16": ("day.csv", "visit_id,region_code\nV1,1001\n".encode("utf-16"), "encoding"),
    "CSV without header": ("day.csv", b"V1,1001,2026-05-01 09:00:00,1\n", "header"),
    "other separator": ("day.csv", b"visit_id;region_code\nV1;1001\n", "header"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_that_cannot_be_read_is_refused_whole(lake: Lake, name: str) -> None:
    file_name, content, rule = WHOLE[name]
    lake.put(file_name, content)
    lake.put("good.jsonl", [GOOD])
    refused_whole(lake, rule)


def test_a_gzip_file_cut_off_loses_only_what_was_cut(lake: Lake) -> None:
    content = gzip.compress(lines(*(visit(n, note=str(hash((n, "salt")))) for n in range(60_000))))
    lake.put("day.jsonl.gz", content[: len(content) // 2])
    counts = lake.land()["feeds"]["office__visit"]
    assert counts["accepted"] > 10_000
    assert counts["refused"] == 1
    assert counts["received"] == counts["accepted"] + 1
    assert lake.receipts()[0]["state"] == "landed"
    assert lake.payload(lake.quarantine()[0]) == content[: len(content) // 2]


def test_a_gzip_bomb_is_stopped_before_it_fills_the_disk(lake: Lake) -> None:
    lake.put("day.jsonl.gz", gzip.compress(b"0" * (150 << 20)))
    assert lake.land()["feeds"]["office__visit"]["refused"] == 1
    assert lake.refusals() == [[("archive_too_large", None)]]
    assert sum(p.stat().st_size for p in lake.home.rglob("*.sealed")) < 1 << 20


# --- tables of text

HEADER = "visit_id,region_code,started_at,source_version,visitor_count,note"


def test_columns_in_any_order_and_left_out_are_read_by_the_header(lake: Lake) -> None:
    lake.put("a.csv", b"source_version,started_at,visit_id,region_code\n1,2026-05-01 09:00:00,V1,1001\n")
    lake.put("b.csv", b"started_at,visit_id,region_code\n2026-05-01 09:00:00,V2,1001\n")
    lake.land()
    assert [(r["visit_id"], r["source_version"]) for r in lake.bronze()] == [("V1", 1)]
    assert lake.refusals() == [[("required", "source_version")]]


RECORDS = {
    "too few columns": ("V9,1001,2026-05-01 09:00:00,1", [("column_count", None)]),
    "too many columns": ("V9,1001,2026-05-01 09:00:00,1,2,ok,more", [("column_count", None)]),
    "a fraction for an integer": ("V9,1001,2026-05-01 09:00:00,1,2.0,ok", [("type", "visitor_count")]),
    "leading zeros": ("V9,1001,2026-05-01 09:00:00,1,007,ok", [("type", "visitor_count")]),
    "a blank before a number": ("V9,1001,2026-05-01 09:00:00,1, 7,ok", [("type", "visitor_count")]),
    "beyond 64 bits": ("V9,1001,2026-05-01 09:00:00,1,9223372036854775808,ok", [("type", "visitor_count")]),
    "a stray quote": ('V9,1001,2026-05-01 09:00:00,1,2,"never closed', [("csv", None)]),
    "text after a quote": ('V9,1001,2026-05-01 09:00:00,1,2,"closed" and more', [("csv", None)]),
    "a NUL": ("V9,1001,2026-05-01 09:00:00,1,2,a\0b", [("encoding", "note")]),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_bad_record_is_refused_with_its_reason_and_the_records_about_it_are_accepted(lake: Lake, name: str) -> None:
    record, reasons = RECORDS[name]
    good = ["V1,1001,2026-05-01 09:00:00,1,500,", 'V2,1001,2026-05-01 09:00:00,1,0,"two\n\nlines, and ""quotes"""']
    lake.put("day.csv", "\n".join([HEADER, good[0], record, good[1], ""]).encode())
    counts = lake.land()["feeds"]["office__visit"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (3, 2, 1), lake.refusals()
    assert lake.refusals() == [reasons]
    assert [(r["visit_id"], r["note"]) for r in lake.bronze()] == [("V1", None), ("V2", 'two\n\nlines, and "quotes"')]
    assert lake.payload(lake.quarantine()[0]) == f"{HEADER}\n{record}".encode()


def test_a_few_broken_bytes_do_not_make_a_file_gb18030(lake: Lake) -> None:
    rows = [f"V{n},1001,2026-05-01 09:00:00,1,1,来访{n}".encode() for n in range(1, 6)]
    rows[2] = rows[2].replace("来".encode(), b"\xc0\xb4")
    lake.put("day.csv", b"\n".join([HEADER.encode(), *rows]))
    lake.land()
    assert [r["note"] for r in lake.bronze()] == ["来访1", "来访2", "来访4", "来访5"]
    assert lake.refusals() == [[("encoding", None)]]


def test_unknown_and_repeated_header_names_refuse_every_row(lake: Lake) -> None:
    lake.put("a.csv", (HEADER + ",weather\nV1,1001,2026-05-01 09:00:00,1,1,ok,fine\n").encode())
    lake.put("b.csv", (HEADER + ",note\nV2,1001,2026-05-01 09:00:00,1,1,ok,fine\n").encode())
    lake.put("c.csv", (HEADER + ",platform_url\nV3,1001,2026-05-01 09:00:00,1,1,ok,fine\n").encode())
    lake.land()
    assert lake.refusals() == [[("unknown_column", "weather")], [("duplicate_key", "note")]]
    assert [r["visit_id"] for r in lake.bronze()] == ["V3"]


def test_cells_of_a_sheet_are_taken_by_their_type(lake: Lake) -> None:
    header = ["visit_id", "region_code", "started_at", "source_version", "visitor_count", "is_urgent", "note"]
    lake.put(
        "day.xlsx",
        workbook(
            header,
            ["V1", "1001", "2026-05-01 09:00:00", 1, "12", True, "ok"],
            ["V2", 1001, "2026-05-01 09:00:00", 1, 12.5, 1, "=1/0"],
            [None] * 7,
            ["V3", "1001", "2026-05-01 09:00:00", 2.0, None, "false", "#N/A"],
            ["V4", "1001", "2026-05-01 09:00:00", 1, None, None, None, "beyond"],
        ),
    )
    counts = lake.land()["feeds"]["office__visit"]
    assert counts["received"] == 4
    assert [(r["visit_id"], r["visitor_count"], r["is_urgent"]) for r in lake.bronze()] == [("V1", 12, True)]
    second, third, fourth = lake.refusals()
    assert second == [("type", "is_urgent"), ("type", "region_code"), ("type", "visitor_count")]
    assert third == [("type", "note")]
    assert fourth == [("column_count", None)]


def test_columns_of_a_parquet_file_are_taken_by_their_type(lake: Lake, tmp_path: Path) -> None:
    table = pa.table(
        {
            "visit_id": pa.array(["V1", "V2", "V3"]).dictionary_encode(),
            "region_code": pa.array(["1001"] * 3, pa.large_string()),
            "started_at": pa.array([1777626000_000_000_000, 1777626000_000_000_001, None], pa.timestamp("ns", "UTC")),
            "source_version": pa.array([1, 1, 1], pa.int8()),
            "visitor_count": pa.array([1, 2, 2**64 - 1], pa.uint64()),
            "temperature_c": pa.array([36.5, float("nan"), 1.0], pa.float32()),
            "is_urgent": pa.array([1, 0, 1], pa.int32()),
        }
    )
    path = tmp_path / "scratch.parquet"
    pq.write_table(table.drop_columns(["is_urgent"]), path)
    lake.put("a.parquet", path.read_bytes())
    pq.write_table(table.slice(0, 1), path)
    lake.put("b.parquet", path.read_bytes())
    lake.land()
    assert [(r["visit_id"], r["started_at"].isoformat(), r["temperature_c"]) for r in lake.bronze()] == [("V1", "2026-05-01T09:00:00+00:00", 36.5)]
    second, third, other = lake.refusals()
    assert sorted(second) == [("type", "started_at"), ("type", "temperature_c")]
    assert sorted(third) == [("required", "started_at"), ("type", "visitor_count")]
    assert other == [("type", "is_urgent")]
    assert json.loads(lake.payload(lake.quarantine()[0]))["visit_id"] == "V2"


def test_a_file_written_while_it_is_read_is_left_for_the_next_run(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    from streaming import files

    path = lake.put("day.jsonl", [GOOD])
    read = files.read_json_lines

    def read_and_write(*arguments):  # type: ignore[no-untyped-def]
        yield from read(*arguments)
        with path.open("ab") as target:
            target.write(lines(AFTER))

    monkeypatch.setattr(files, "read_json_lines", read_and_write)
    assert lake.land()["feeds"]["office__visit"]["received"] == 0
    monkeypatch.undo()
    assert lake.land()["feeds"]["office__visit"]["accepted"] == 2


def test_a_row_that_is_too_large_is_refused_in_sheets_and_parquet_files_too(lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "scratch.parquet"
    pq.write_table(pa.Table.from_pylist([visit(1, note="a"), visit(9, note="x" * (LARGEST_ROW_BYTES + 1)), visit(2, note="b")]), path)
    lake.put("day.parquet", path.read_bytes())
    scratch = workbook(list(visit(1, note="")), list(visit(3, note="cell").values()), list(visit(9, note="long").values()))
    lake.put("day.xlsx", _with_long_cell(scratch))
    lake.land()
    assert sorted(r["visit_id"] for r in lake.bronze()) == ["V1", "V2", "V3"]
    assert lake.refusals() == [[("row_too_large", None)]] * 2
    assert lake.payload(lake.quarantine()[0]) == path.read_bytes()


def _with_long_cell(content: bytes) -> bytes:
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(target, "w") as changed:
        for name in source.namelist():
            changed.writestr(name, source.read(name).replace(b">long<", b">" + b"l" * 40_000 + b"<"))
    return target.getvalue()


def test_file_names_in_gb18030_are_read_as_such_and_worse_ones_do_no_harm(lake: Lake) -> None:
    lake.put("good.jsonl", [GOOD])
    folder = os.fsencode(lake.inbox / "office/visit/north")
    for number, name in enumerate(["五月来访".encode("gb18030"), b"\xff\xfe"]):
        Path(os.fsdecode(folder + b"/" + name + b".jsonl")).write_bytes(lines(visit(number + 10)))
    assert lake.land()["feeds"]["office__visit"]["accepted"] == 3
    assert {r["file_name"] for r in lake.receipts()} == {"good.jsonl", "五月来访.jsonl", "\\xff\\xfe.jsonl"}
    assert lake.land()["feeds"]["office__visit"]["already_landed"] == 3


def test_rows_that_each_name_another_unknown_column_are_refused_without_naming_them_all(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(n, **{f"column_{n}": 1}) for n in range(3000)])
    landed = lake.land()
    assert landed["feeds"]["office__visit"]["refused"] == 3000
    assert sum(landed["refusals"]["office__visit"].values()) == 3000
    assert len(landed["refusals"]["office__visit"]) < 200
