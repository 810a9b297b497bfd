"""Dictionary pages of contracts are derived from them, complete, and show no value of class L4."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gridlake import contracts, dictionary, vocabularies
from gridlake.catalogue import EMPTY
from gridlake.contracts import Column, Contract, Contracts, Rejected
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies


@pytest.fixture(scope="module")
def built_in() -> Contracts:
    return contracts.load_all(Settings(contracts=None))


@pytest.fixture(scope="module")
def lists() -> Vocabularies:
    return vocabularies.load_all(Settings(contracts=None))


@pytest.fixture
def contract(built_in: Contracts) -> Contract:
    return built_in["city_platform__event"]


def test_a_page_tells_all_that_its_contract_says(built_in: Contracts, lists: Vocabularies) -> None:
    pages = dictionary.markdown_pages(built_in, lists, EMPTY)
    for contract in built_in.values():
        page = pages[f"{contract.id}.md"].replace("\\", "")
        said = [
            contract.title, contract.purpose, contract.owner, contract.version, contract.time_zone, contract.coordinate_system,
            *(text for c in contract.columns for text in (f"`{c.name}`", c.title, c.classification)),
            *(text for r in contract.rules for text in (r.name, r.description)),
            *(code for c in contract.columns if c.code_list for code in lists[c.code_list].rows.column("code").to_pylist()[:20]),
        ]  # fmt: skip
        assert [text for text in said if text.replace("\\", "") not in page] == [], contract.id


def test_html_pages_are_written_for_every_contract_and_stale_ones_go(built_in: Contracts, lists: Vocabularies, tmp_path: Path) -> None:
    (tmp_path / "gone__feed.html").write_text("old")
    written = dictionary.write_pages(built_in, lists, tmp_path, EMPTY)
    assert {p.name for p in tmp_path.iterdir()} == {p.name for p in written} == {f"{name}.html" for name in built_in} | {"index.html"}
    index = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert all(f'href="{name}.html"' in index for name in built_in)


def test_writing_again_touches_nothing(built_in: Contracts, lists: Vocabularies, tmp_path: Path) -> None:
    dictionary.write_pages(built_in, lists, tmp_path, EMPTY)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    dictionary.write_pages(built_in, lists, tmp_path, EMPTY)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before


def test_examples_show_no_value_of_class_l4(contract: Contract, lists: Vocabularies, tmp_path: Path) -> None:
    row = {"event_id": "E1", "reporter_name": "王建国", "reporter_phone": "13812345678"}
    given = replace(contract, accept=(row,), reject=(Rejected(row, "required", "class_code"),))
    [page, _] = [p.read_text(encoding="utf-8") for p in dictionary.write_pages(Contracts([given]), lists, tmp_path, EMPTY)]
    markdown = dictionary.markdown_pages(Contracts([given]), lists, EMPTY)[f"{given.id}.md"]
    document = str(dictionary.document(given))
    for text in (page, markdown, document):
        assert "王建国" not in text
        assert "13812345678" not in text
        assert "密封" in text


def test_words_of_a_contract_are_no_markup(contract: Contract, lists: Vocabularies, tmp_path: Path) -> None:
    given = replace(
        contract, title="<script>x</script>", columns=(Column("a|b", "甲|乙 <b>", "string", key_position=1, pattern="[a|b]*"),), mapping={}
    )
    page = dictionary.write_pages(Contracts([given]), lists, tmp_path, EMPTY)[0].read_text(encoding="utf-8")
    assert "<script>x" not in page
    assert "<b>" not in page
    table = [line for line in dictionary.markdown_pages(Contracts([given]), lists, EMPTY)[f"{given.id}.md"].splitlines() if line.startswith("| `a")]
    assert len(table) == 1
    assert table[0].replace("\\|", "").count("|") == 10, "nine cells"


def test_a_missing_code_list_is_said_on_the_page(contract: Contract) -> None:
    empty = Vocabularies([])
    page = dictionary.markdown_pages(Contracts([contract]), empty, EMPTY)[f"{contract.id}.md"]
    assert "没有名为 event\\_class 的代码表" in page


def test_a_mapped_feed_shows_what_each_canonical_column_is_taken_from(contract: Contract, lists: Vocabularies) -> None:
    mapping = {
        "class_code": {"column": "kind", "codes": {"noise": "0101"}, "default": "0199"},
        "level_code": {"constant": "1"},
        "x": {"sql": "a + b"},
    }
    given = replace(contract, defines=None, conforms_to="event", mapping=mapping, sql="select 1")
    page = dictionary.markdown_pages(Contracts([given]), lists, EMPTY)[f"{given.id}.md"]
    for said in ("kind：noise→0101；其余→0199", "常量 1", "a + b", "select 1", "staging.stg\\_event"):
        assert said in page
