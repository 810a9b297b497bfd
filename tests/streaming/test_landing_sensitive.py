"""Class L4 leaves the lander only as ciphertext and token: no planted value stands in any file of the lake."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.streaming.conftest import Lake, lines, visit

NAMES = ["欧阳明月", "司徒清风", "上官婉转"]
PHONES = ["13812345671", "13912345672", "15012345673"]
ID_NUMBER = "330106199001011237"


@pytest.fixture
def landed(lake: Lake) -> Lake:
    people = list(zip(NAMES, PHONES, strict=True))
    good = [visit(n, visitor_name=name, visitor_phone=phone, note=f"{name}来电{phone}，证件{ID_NUMBER}") for n, (name, phone) in enumerate(people)]
    bad = [visit(n + 10, visitor_name=name, visitor_phone=phone, source_version=phone) for n, (name, phone) in enumerate(people)]
    lake.put("good.jsonl", good)
    lake.put("bad.jsonl", lines(*bad) + f'{{"{PHONES[0]}": "{NAMES[0]}", "note": "{ID_NUMBER}'.encode())
    lake.put("keys.jsonl", [{**visit(20), NAMES[0]: 1, PHONES[1]: 2}])
    lake.put("headless.csv", f"V1,1001,{NAMES[0]},{PHONES[0]}\n".encode())
    lake.put("day.jsonl", bad, sender="nobody")
    lake.put("day.csv.gz", gzip.compress(f"visit_id,{NAMES[1]}\n1,{PHONES[1]}".encode()))
    lake.land()
    return lake


def test_no_planted_value_stands_in_any_file_of_the_lake(landed: Lake) -> None:
    searched = 0
    for path in landed.home.rglob("*"):
        if path.is_file():
            content = path.read_bytes() + _unpacked(path)
            searched += 1
            for value in [*NAMES, *PHONES, ID_NUMBER]:
                assert value.encode() not in content, path
    assert searched > 10
    assert len(landed.quarantine()) == 8


def test_what_is_sealed_opens_again_with_its_context(landed: Lake) -> None:
    rows = landed.tables.read("bronze.office__visit").sort_by("visit_id")
    for column, expected in (("visitor_name", NAMES), ("visitor_phone", PHONES)):
        opened = landed.keys.open(rows.column(f"{column}_sealed").combine_chunks(), f"office__visit.{column}")
        assert opened.to_pylist()[:3] == expected
        assert rows.column(f"{column}_token").combine_chunks().equals(landed.keys.token(opened))
    notes = landed.keys.open(rows.column("note_sealed").combine_chunks(), "office__visit.note").to_pylist()
    assert notes[0] == f"{NAMES[0]}来电{PHONES[0]}，证件{ID_NUMBER}"
    assert rows.column("note").to_pylist()[0] == "[姓名或地址]来电[电话]，证件[证件号]"


def test_text_with_nothing_to_hide_is_not_sealed(lake: Lake) -> None:
    lake.put("day.jsonl", [visit(1, note="巡查正常"), visit(2)])
    lake.land()
    assert [(r["note"], r["note_sealed"]) for r in lake.bronze()] == [("巡查正常", None), (None, None)]


def test_a_digest_gives_nothing_away_to_who_knows_all_but_one_value(lake: Lake, tmp_path: Path) -> None:
    """The same row in two lakes: were the digest anyone's to compute, it would be the same."""
    digests = set()
    for one in (lake, Lake(tmp_path / "other")):
        one.put("day.jsonl", [visit(1, visitor_phone=PHONES[0])])
        one.land()
        digests |= {row["_payload_digest"] for row in one.bronze()}
    assert len(digests) == 2


def _unpacked(path: Path) -> bytes:
    """A Parquet file's texts: a byte search would miss what is compressed."""
    if path.suffix == ".parquet":
        return repr(pq.read_table(path).to_pylist()).encode()
    if path.suffix == ".gz":
        return zlib.decompress(path.read_bytes(), wbits=31)
    return b""
