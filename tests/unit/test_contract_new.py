"""`gridlake feed new`: a first contract from a sample, without a word of what is sensitive in it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner, Result

from gridlake import vocabularies
from gridlake.cli import main
from gridlake.contracts import Contract, load
from gridlake.contracts.sample import guess, read
from gridlake.settings import Settings

HEADER = ["visit_no", "联系人", "电话", "证件", "village", "kind", "visited_at", "minutes", "note", "class_code"]
NAMES = ["张示例", "王示范", "李样本", "赵范例", "钱样例"]


def _rows() -> list[list[str]]:
    rows = []
    for n in range(60):
        note = f"{NAMES[n % 5]}来电，号码1390000{n:04d}，反映楼道堆放杂物多日无人清理，请尽快处理并给予答复，多谢"
        sensitive = [NAMES[n % 5], f"1380000{n:04d}", f"33010619{50 + n % 40}0101{100 + n:03d}X"]
        clock = f"2026-03-{n % 28 + 1:02d} 10:00:00"
        rows.append([f"V{n:04d}", *sensitive, "330106002051", "电话" if n % 3 else "上门", clock, str(n % 7 + 1), note, "0101"])
    return rows


def _sensitive() -> set[str]:
    return {value for row in _rows() for value in row[1:4]} | {f"1390000{n:04d}" for n in range(60)}


def _new(sample: Path, tmp_path: Path, *more: str) -> Result:
    return CliRunner().invoke(
        main, ["feed", "new", "--from", str(sample), "--source", "test", "--feed", "visit", "--output", str(tmp_path / "out"), *more]
    )


def _csv(tmp_path: Path, encoding: str = "utf-8", delimiter: str = ",") -> Path:
    path = tmp_path / "sample.csv"
    path.write_text("\n".join(delimiter.join(row) for row in [HEADER, *_rows()]) + "\n", encoding=encoding)
    return path


def _jsonl(tmp_path: Path) -> Path:
    path = tmp_path / "sample.jsonl"
    rows = [{**dict(zip(HEADER, row, strict=True)), "minutes": int(row[7])} for row in _rows()]
    path.write_text("\n".join(json.dumps(r, ensure_ascii=False) for r in rows) + "\n", encoding="utf-8")
    return path


def _xlsx(tmp_path: Path) -> Path:
    path, book = tmp_path / "sample.xlsx", openpyxl.Workbook()
    for row in [HEADER, *[[*r[:7], int(r[7]), *r[8:]] for r in _rows()]]:
        book.active.append(row)
    book.save(path)
    return path


def _parquet(tmp_path: Path) -> Path:
    path, rows = tmp_path / "sample.parquet", _rows()
    columns: dict[str, Any] = {name: [r[i] for r in rows] for i, name in enumerate(HEADER)}
    columns["minutes"] = [int(m) for m in columns["minutes"]]
    columns["visited_at"] = pa.array([datetime(2026, 3, 1, tzinfo=UTC)] * len(rows), pa.timestamp("us", "UTC"))
    pq.write_table(pa.table(columns), path)
    return path


@pytest.mark.parametrize("make", [_csv, _jsonl, _xlsx, _parquet], ids=["csv", "jsonl", "xlsx", "parquet"])
def test_a_sample_of_any_format_gives_a_contract_that_passes_feed_check(make: Any, tmp_path: Path) -> None:
    outcome = _new(make(tmp_path), tmp_path, "--json")
    assert outcome.exit_code == 0, outcome.output
    document = json.loads(outcome.stdout)
    assert document["problems"] == []
    contract = load(Path(document["path"]))
    assert [c.name for c in contract.columns] == HEADER
    assert [c.name for c in contract.key] == ["visit_no"]
    assert {c.name for c in contract.sealed_columns} == {"联系人", "电话", "证件"}
    assert _of(contract, "visited_at") == ("timestamp", "yyyy-MM-dd HH:mm:ss")
    assert contract.column("minutes").logical_type == "integer"
    assert contract.column("kind").values == ("上门", "电话")
    assert contract.column("note").redact
    assert contract.column("village").is_region
    assert contract.column("class_code").code_list == "event_class"
    assert all(c.required for c in contract.columns)


@pytest.mark.parametrize("make", [_csv, _jsonl, _xlsx, _parquet], ids=["csv", "jsonl", "xlsx", "parquet"])
def test_no_sensitive_value_of_the_sample_is_written_or_printed(make: Any, tmp_path: Path) -> None:
    outcome = _new(make(tmp_path), tmp_path)
    text = (tmp_path / "out" / "test" / "visit.odcs.yaml").read_text(encoding="utf-8") + outcome.output
    assert [value for value in _sensitive() if value in text] == []


def _of(contract: Contract, name: str) -> tuple[str, str | None]:
    return contract.column(name).logical_type, contract.column(name).format


def test_gb18030_and_semicolons_are_read_as_what_they_are(tmp_path: Path) -> None:
    sample = read(_csv(tmp_path, "gb18030", ";"))
    assert sample.encoding == "gb18030"
    assert list(sample.columns) == HEADER
    assert sample.columns["kind"][0].as_py() == "上门"


@pytest.mark.parametrize(
    ("values", "kind", "form"),
    [
        (["2026-03-01T09:00:00+08:00", "2026-03-01T09:00:00Z"], "timestamp", "yyyy-MM-dd'T'HH:mm:ssXXX"),
        (["2026/3/1 9:05", "2026/12/31 19:05"], "timestamp", "yyyy/M/d H:mm"),
        (["20260301", "20261231"], "date", "yyyyMMdd"),
        (["2026年3月1日", "2026年12月31日"], "date", "yyyy年M月d日"),
        (["03/04/2026", "12/11/2026"], "date", "MM/dd/yyyy"),
        (["31/04/2026", "30/02/2026"], "string", None),
        (["1", "-20"], "integer", None),
        (["1.5", "2"], "number", None),
        (["0101", "0202"], "string", None),
        (["100200", "300400"], "string", None),
        (["true", "False"], "boolean", None),
    ],
)
def test_types_and_formats_are_those_of_the_values(values: list[str], kind: str, form: str | None, tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("thing\n" + "\n".join(values) + "\n", encoding="utf-8")
    (guessed,) = guess(read(path), vocabularies.load_all(Settings()))
    assert (guessed.logical_type, guessed.format) == (kind, form)


def test_days_that_could_be_months_are_a_question(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("day\n03/04/2026\n12/11/2026\n", encoding="utf-8")
    (guessed,) = guess(read(path), vocabularies.load_all(Settings()))
    assert "dd/MM/yyyy" in guessed.decide[0]


def test_a_key_of_two_columns_is_found_and_no_key_is_a_question(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("team_no,day\nT1,2026-03-01\nT1,2026-03-02\nT2,2026-03-01\n", encoding="utf-8")
    guessed = guess(read(path), vocabularies.load_all(Settings()))
    assert {g.name: g.key_position for g in guessed} == {"team_no": 1, "day": 2}
    path.write_text("team_no,day\nT1,2026-03-01\nT1,2026-03-01\n", encoding="utf-8")
    guessed = guess(read(path), vocabularies.load_all(Settings()))
    assert any("what names one thing?" in q for g in guessed for q in g.decide)


def test_an_id_with_several_versions_is_the_key_and_the_version_orders_it(tmp_path: Path) -> None:
    path = tmp_path / "sample.csv"
    path.write_text("case_id,version,updated_at\nA,1,2026-03-01 09:00:00\nA,2,2026-03-02 09:00:00\nB,1,2026-03-01 09:00:00\n", encoding="utf-8")
    guessed = {g.name: g for g in guess(read(path), vocabularies.load_all(Settings()))}
    assert guessed["case_id"].key_position == 1
    assert (guessed["version"].version_order, guessed["updated_at"].version_order) == (1, 2)


def test_conforming_to_an_entity_begins_its_map_and_says_what_is_left(tmp_path: Path) -> None:
    outcome = _new(_csv(tmp_path), tmp_path, "--conforms-to", "event", "--json")
    document = json.loads(outcome.stdout)
    contract = load(Path(document["path"]))
    assert contract.conforms_to == "event"
    assert contract.mapping["event_id"] == {"column": "visit_no"}
    assert contract.mapping["class_code"] == {"column": "class_code"}
    assert contract.mapping["region_code"] == {"column": "village"}
    assert contract.key[0].local_id_of == "event"
    left = {p["expected"].split()[3] for p in document["problems"]}
    assert left == {"level_code", "occurred_at", "reported_at", "state_code", "channel_code", "source_version", "changed_at"}
    assert all(any(f"DECIDE: {name} " in line for line in document["decide"]) for name in left)


def test_an_existing_contract_is_never_written_over(tmp_path: Path) -> None:
    sample = _csv(tmp_path)
    assert _new(sample, tmp_path).exit_code == 0
    again = _new(sample, tmp_path)
    assert again.exit_code == 1
    assert "is there already" in again.output


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.doc", b"x", "expected a sample ending in"),
        ("a.csv", b"", "at least one row"),
        ("a.csv", b"only_header\n", "at least one row"),
        ("a.csv", b"a,b\n1,2\n3\n", "same number of fields"),
        ("a.csv", b"a\n\xff\xff\xff\n", "neither UTF-8 nor GB18030"),
        ("a.jsonl", b'{"a": 1\n', "line 1: not JSON"),
        ("a.jsonl", b"[1]\n", "line 1: expected one JSON object"),
    ],
)
def test_a_sample_that_cannot_be_read_is_refused_with_the_reason(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    outcome = _new(path, tmp_path)
    assert outcome.exit_code == 1
    assert said in outcome.output


def test_the_skeleton_is_yaml_with_its_questions_as_comments(tmp_path: Path) -> None:
    _new(_csv(tmp_path), tmp_path)
    text = (tmp_path / "out" / "test" / "visit.odcs.yaml").read_text(encoding="utf-8")
    assert text.count("# DECIDE") > 5
    assert yaml.safe_load(text)["id"] == "test.visit"
