"""Adding a feed is adding one file: a throw-away contract reaches bronze, library, marts, API, report and dictionary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gridlake.settings import Settings
from serving.api import create_app
from tests.e2e.conftest import NOW, Lake, copy_of, succeed

CONTRACTS = Path(__file__).parent / "new_feeds"  # two contracts, their sender, one SQL file
PLACE = "330102001051"
CALLS = 40


@pytest.fixture(scope="module")
def with_new_feeds(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, dict[str, int]]:
    """The undisturbed lake, run again with two contracts and one SQL file that it has never seen."""
    folder = tmp_path_factory.mktemp("new_feeds")
    home, inbox = copy_of(lake, folder), folder / "inbox"
    calls = [
        {"call_no": f"C{n}", "kind": "noise", "place": PLACE, "said": f"第{n}号诉求", "called_at": f"2026-10-2{n % 5} 1{n % 9}:0{n % 6}"}
        for n in range(CALLS)
    ]
    calls.append({"call_no": "C99", "kind": 7, "place": PLACE, "said": "类别不是文字", "called_at": "2026-10-20 10:00"})
    answers = [{"answer_no": str(n), "place": PLACE, "score": 1 + n % 5} for n in range(10)]
    for name, rows in {"hotline/call/hotline_office/calls.jsonl": calls, "survey/answer/hotline_office/answers.jsonl": answers}.items():
        (inbox / name).parent.mkdir(parents=True)
        (inbox / name).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    before = {
        r["region_code"]: r["event_count"] for r in lake.tables.read("mart.region_overview", columns=["region_code", "event_count"]).to_pylist()
    }
    document = succeed("run", "--input", inbox, "--home", home, "--contracts", CONTRACTS, *NOW)
    return Lake(home, inbox, document), before


def test_a_new_contract_lands(with_new_feeds: tuple[Lake, dict[str, int]]) -> None:
    lake, _ = with_new_feeds
    counts = lake.document["feeds"]["hotline__call"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (CALLS + 1, CALLS, 1)


def test_a_new_contract_reaches_staging_library_and_marts(with_new_feeds: tuple[Lake, dict[str, int]]) -> None:
    lake, before = with_new_feeds
    assert lake.tables.row_count("staging.stg_hotline__call") == CALLS
    feeds = lake.tables.read("business.event", columns=["feed"]).column(0).to_pylist()
    assert feeds.count("hotline__call") == CALLS
    after = {r["region_code"]: r["event_count"] for r in lake.tables.read("mart.region_overview", columns=["region_code", "event_count"]).to_pylist()}
    assert after[PLACE] == before.get(PLACE, 0) + CALLS
    assert after["330000000000"] == before["330000000000"] + CALLS


def test_a_new_contract_reaches_api_and_report(with_new_feeds: tuple[Lake, dict[str, int]]) -> None:
    lake, before = with_new_feeds
    client = TestClient(create_app(Settings(home=lake.home, contracts=CONTRACTS)))
    assert "hotline__call" in client.get("/feeds").text
    overview = client.get("/regions/330000000000").json()
    assert str(before["330000000000"] + CALLS) in json.dumps(overview)
    pages = [Path(r).read_text(encoding="utf-8") for r in lake.document["reports"] if r.endswith(".html")]
    assert any("热线" in page for page in pages)


def test_a_new_contract_has_a_dictionary_page(with_new_feeds: tuple[Lake, dict[str, int]]) -> None:
    lake, _ = with_new_feeds
    page = (lake.home / "docs" / "dictionary" / "hotline__call.html").read_text(encoding="utf-8")
    assert "诉求类别" in page


def test_an_extra_table_needs_its_contract_and_one_sql_file(with_new_feeds: tuple[Lake, dict[str, int]]) -> None:
    lake, _ = with_new_feeds
    assert lake.tables.read("mart.satisfaction").to_pylist() == [{"region_code": PLACE, "answer_count": 10, "average_score": 3.0}]


def test_an_extra_table_has_a_dictionary_page_with_what_its_columns_are_made_of(with_new_feeds: tuple[Lake, dict[str, int]]) -> None:
    lake, _ = with_new_feeds
    page = (lake.home / "docs" / "dictionary" / "mart.satisfaction.html").read_text(encoding="utf-8")
    assert '<a href="survey__answer.html#score">' in page
    index = (lake.home / "docs" / "dictionary" / "index.html").read_text(encoding="utf-8")
    assert '"mart.satisfaction.average_score"' in index
