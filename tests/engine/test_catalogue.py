"""The dictionary of tables: every column described, up to date in the repository, and its way back to the contracts in three clicks."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import pytest

from gridlake import catalogue, contracts, dictionary, outbox, quality, reference, vocabularies
from gridlake.catalogue import Catalogue
from gridlake.contracts import Contracts
from gridlake.contracts.compile import RECEIPT_SCHEMA
from gridlake.lineage import Column
from gridlake.settings import CHECKOUT, Settings
from spark_jobs import detect, quality_of_findings, resolve
from spark_jobs.resolve import crosswalk, grid_codes, persons, places, regions
from streaming import opened_logs
from streaming.kafka import relay

BUILT_IN = Settings(contracts=None)


@pytest.fixture(scope="module")
def feeds() -> Contracts:
    return contracts.load_all(BUILT_IN)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compiled") / "lake"


@pytest.fixture(scope="module")
def known(home: Path) -> Catalogue:
    return catalogue.of_project(BUILT_IN, home)


@pytest.fixture(scope="module")
def pages(known: Catalogue, feeds: Contracts, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("pages")
    written = dictionary.write_pages(feeds, vocabularies.load_all(BUILT_IN), folder, known)
    return {path.name: path.read_text(encoding="utf-8") for path in written}


def test_every_column_of_every_table_is_described_and_every_description_has_its_column(known: Catalogue) -> None:
    assert len(known.tables) > 60
    assert list(known.gaps) == []


def test_a_column_without_a_description_and_a_description_without_a_column_are_named(known: Catalogue, home: Path, feeds: Contracts) -> None:
    queries = {table: made.sql for table, made in known.lineage.items() if made.sql}
    planted = "count(*) as event_count, 1 as planted"
    queries["mart.event_daily"] = queries["mart.event_daily"].replace("count(*) as event_count", planted).replace("as invalid_count", "as void_count")
    gaps = catalogue.read(BUILT_IN, feeds, queries, home / "dbt" / "target" / "manifest.json").gaps
    assert [gap.partition(":")[0] for gap in gaps] == [f"mart.event_daily.{name}" for name in ("planted", "void_count", "invalid_count")]
    assert all("dbt/models/mart/mart.yml" in gap for gap in gaps)


def test_what_is_said_of_tables_that_no_model_makes_is_what_their_writers_write(known: Catalogue) -> None:
    written = {
        "staging.code_list": reference.CODE_LIST, "staging.region_vocabulary": reference.REGION, "staging.work_calendar": reference.CALENDAR,
        "staging.sender": reference.SENDER, "staging.feed": reference.FEED,
        "resolved.region": regions.REGION, "resolved.region_closure": regions.CLOSURE, "resolved.grid_code": grid_codes.GRID_CODE,
        "resolved.micro_grid_code": grid_codes.MICRO_GRID_CODE, "resolved.crosswalk": crosswalk.CROSSWALK, "resolved.problem": resolve.PROBLEM,
        "resolved.person_record": persons.PERSON_RECORD, "resolved.person_link": persons.PERSON_LINK, "resolved.address_link": places.ADDRESS_LINK,
        "factor.event": detect.FACTOR, "finding.finding": detect.FINDING, "finding.reason": detect.REASON, "finding.evidence": detect.EVIDENCE,
        "finding.model_quality": quality_of_findings.SCHEMA, "ops.receipt": RECEIPT_SCHEMA, "ops.check_result": quality.SCHEMA,
        "ops.log": opened_logs.SCHEMA, "outbox.message": outbox.SCHEMA, "outbox.relayed": relay.SCHEMA,
    }  # fmt: skip
    said = {table: list(known.tables[table].columns) for table in written}
    assert said == {table: schema.names for table, schema in written.items()}, "describe them in dbt/models/sources.yml, in the order of the schema"


def test_pages_in_the_repository_are_up_to_date(known: Catalogue, feeds: Contracts) -> None:
    present = {p.name: p.read_text(encoding="utf-8") for p in (CHECKOUT / "docs" / "dictionary").glob("*.md")}
    wanted = dictionary.markdown_pages(feeds, vocabularies.load_all(BUILT_IN), known)
    stale = sorted(name for name in present.keys() | wanted.keys() if present.get(name) != wanted.get(name))
    assert stale == [], "run `make dictionary` and commit docs/dictionary"


def test_a_count_leads_back_to_the_columns_of_contracts(known: Catalogue) -> None:
    column = Column("mart.event_daily", "overdue_count")
    assert [str(o.column) for o in known.lineage.origins(column)] == ["business.event.is_overdue"]
    sources = {str(s.column): s.kind for s in known.lineage.sources(column)}
    assert sources["bronze.city_platform__event.deadline_at"] == "AGGREGATION"
    assert sources["bronze.city_platform__event.closed_at"] == "AGGREGATION"
    assert "mart.region_overview.overdue_count" in [str(u.column) for u in known.lineage.used_by(column)]
    assert any(reader.startswith("报告 weekly/") for reader in known.readers[column])


def test_where_a_count_comes_from_is_found_in_three_clicks(pages: dict[str, str]) -> None:
    # First: the result of the search, which is in the first page.
    (found,) = re.findall(r'\["mart\.event_daily\.overdue_count","超期数","[^"]*","([^"]+)"\]', pages["index.html"])
    page, _, anchor = found.partition("#")
    # Second: the row of the column, with what it is made of and the contract's columns at the end.
    (row,) = re.findall(rf'<tr><td><code id="{anchor}">.*?</tr>', pages[page])
    links = dict(re.findall(r'<a href="([^"]+)">([^<]+)</a>', unescape(row)))
    assert links["business.event.html#is_overdue"].startswith("business.event.is_overdue")
    # Third: the contract's column.
    contract, _, column = next(link for link in links if link.endswith("__event.html#deadline_at")).partition("#")
    assert f'<code id="{column}">' in pages[contract]


def test_every_link_of_every_page_leads_somewhere(pages: dict[str, str]) -> None:
    lost = set()
    for name, text in pages.items():
        for target in re.findall(r'href="([^"]+)"', text):
            page, _, anchor = unescape(target).partition("#")
            if (page and page not in pages) or (page and anchor and f'id="{anchor}"' not in pages[page]):
                lost.add((name, target))
    assert lost == set()


def test_no_page_gives_an_example_of_what_is_sensitive(known: Catalogue) -> None:
    shown = {(table.name, c.name) for table in known.tables.values() for c in table.columns.values() if c.example}
    assert len(shown) > 50
    assert [c for table, c in shown if known.tables[table].columns[c].classification not in ("L1", "L2")] == []
