"""The connection manual of every contract: it opens, says all that the contract says, and leaves nothing to be filled in."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from docx import Document

from gridlake import contracts, senders, vocabularies
from gridlake.cli import main
from gridlake.contracts import guide
from gridlake.contracts.check import FIELD_RULES
from gridlake.contracts.refusals import REFUSALS
from gridlake.settings import Settings

DECLARED = Settings(contracts=None)
CONTRACTS = contracts.load_all(DECLARED)
LISTS = vocabularies.load_all(DECLARED)
SENDERS = senders.load_all(DECLARED)
PLACEHOLDER = re.compile(r"\{\{|\}\}|\{[A-Za-z_一-鿿]+\}|TODO|TBD|XXX|待定|待补|\bNone\b|\bnan\b|<[A-Za-z一-鿿_]+>")


def read(content: bytes) -> tuple[str, list[list[list[str]]]]:
    """(all text, the tables by row and cell) of a Word file."""
    document = Document(io.BytesIO(content))
    tables = [[[cell.text for cell in row.cells] for row in table.rows] for table in document.tables]
    text = "\n".join([*(p.text for p in document.paragraphs), *("\t".join(row) for table in tables for row in table)])
    return text, tables


@pytest.mark.parametrize("feed", list(CONTRACTS))
def test_a_manual_says_all_that_its_contract_says(feed: str) -> None:
    contract = CONTRACTS[feed]
    content = guide.write(contract, LISTS)
    text, tables = read(content)
    columns = next(table for table in tables if table[0][:2] == ["序号", "字段名"])
    assert [row[1:3] for row in columns[1:]] == [[c.name, c.title] for c in contract.columns]
    assert [row[4] == "是" for row in columns[1:]] == [bool(c.required or c.key_position) for c in contract.columns]
    assert [row[5] for row in columns[1:]] == [c.classification for c in contract.columns]
    said = [
        contract.title, contract.purpose, contract.version, contract.owner, f"POST /feeds/{contract.source}/{contract.feed}",
        *(c.code_list for c in contract.columns if c.code_list), *(c.format for c in contract.columns if c.format),
        *(word for r in contract.rules for word in (r.name, r.description, r.predicate)),
        *(rejected.rule for rejected in contract.reject), *(r.what for r in contract.releases), *(r.date.isoformat() for r in contract.releases),
    ]  # fmt: skip
    assert [word for word in said if word not in text] == []
    for name in {c.code_list for c in contract.columns if c.code_list}:
        rows = LISTS[name].rows.slice(0, guide.CODES_PRINTED)
        assert [code for code in rows.column("code").to_pylist() if code not in text] == []
    assert PLACEHOLDER.findall(text) == []
    assert text.count("第") > 16
    if feed == "city_platform__event":
        assert content == guide.write(contract, LISTS), "equal contracts, equal bytes"


def test_a_manual_shows_no_value_of_class_l4() -> None:
    contract = CONTRACTS["city_platform__event"]
    text, _ = read(guide.write(contract, LISTS))
    assert "13800000001" not in text
    assert "示例路 1 号" not in text


def test_a_senders_manual_has_its_addresses_and_regions() -> None:
    text, _ = read(guide.write(CONTRACTS["city_platform__event"], LISTS, SENDERS["330200000000"]))
    assert "city_platform/event/330200000000/" in text
    assert "city_platform.event.330200000000" in text
    assert "宁波市（330200000000）" in text
    assert "〔报送单位代码〕" not in text


def test_every_refusal_has_words_and_a_remedy() -> None:
    for refusal in REFUSALS.values():
        assert all((refusal.meaning, refusal.meaning_en, refusal.remedy, refusal.remedy_en)), refusal.code
    assert REFUSALS.keys() >= FIELD_RULES


def test_manuals_are_written_for_a_sender_and_for_named_feeds(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["feed", "guide", "--sender", "zj_civil_affairs", "--out", str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    assert [Path(p).name for p in json.loads(done.stdout)["manuals"]] == ["civil_affairs.address-1.0.0.docx"]
    assert CliRunner().invoke(main, ["feed", "guide", "event", "--out", str(tmp_path)]).exit_code == 0
    assert (tmp_path / "city_platform.event-1.0.0.docx").exists()
    failed = CliRunner().invoke(main, ["feed", "guide", "weather", "--out", str(tmp_path)])
    assert failed.exit_code == 1
    assert "no feed weather" in failed.stderr
