"""Adding a feed is adding one file: a throw-away contract reaches bronze, library, marts, API, report and dictionary."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from gridlake.settings import Settings
from serving.api import create_app
from tests.e2e.conftest import Lake, copy_of, succeed

CONTRACT = """apiVersion: v3.1.0
kind: DataContract
id: hotline.call
name: 热线来电
version: 1.0.0
status: active
domain: 运行管理
description: {purpose: 市民热线转来的诉求, usage: 事件分析}
team: {name: 热线办}
schema:
  - name: call
    physicalType: file
    properties:
      - {name: call_no, businessName: 来电编号, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1, classification: L1,
         customProperties: [{property: gridlake.localIdOf, value: event}]}
      - {name: kind, businessName: 诉求类别, logicalType: string, required: true, classification: L1}
      - {name: place, businessName: 村社区代码, logicalType: string, required: true, classification: L1, customProperties: [{property: gridlake.region, value: true}]}
      - {name: said, businessName: 诉求内容, logicalType: string, required: true, classification: L3, customProperties: [{property: gridlake.redact, value: true}]}
      - {name: called_at, businessName: 来电时间, logicalType: timestamp, logicalTypeOptions: {format: "yyyy-MM-dd HH:mm"}, required: true, classification: L1,
         customProperties: [{property: gridlake.versionOrder, value: 1}]}
customProperties:
  - {property: gridlake.conformsTo, value: event}
  - {property: gridlake.timeZone, value: Asia/Shanghai}
  - {property: gridlake.volume, value: {min: 1, max: 1000, origin: a test}}
  - property: gridlake.map
    value:
      event_id: {column: call_no}
      class_code: {column: kind, codes: {noise: CLASS, rubbish: CLASS}}
      level_code: {constant: LEVEL}
      region_code: {column: place}
      description: {column: said}
      occurred_at: {column: called_at}
      reported_at: {column: called_at}
      changed_at: {column: called_at}
      state_code: {constant: STATE}
      channel_code: {constant: CHANNEL}
      source_version: {constant: 1}
  - property: gridlake.accept
    value: [{call_no: A1, kind: noise, place: "PLACE", said: 夜间施工, called_at: "2026-10-20 22:10"}]
  - property: gridlake.reject
    value: [{rule: required, field: kind, row: {call_no: A2, place: "PLACE", said: 夜间施工, called_at: "2026-10-20 22:10"}}]
"""
SENDER = """name: 热线办
name_en: Hotline office
region_system: cn
regions: ["*"]
feeds: {hotline.call: ">=1,<2", survey.answer: ">=1,<2"}
"""
SURVEY = """apiVersion: v3.1.0
kind: DataContract
id: survey.answer
name: 满意度问卷
version: 1.0.0
status: active
schema:
  - name: answer
    physicalType: file
    properties:
      - {name: answer_no, businessName: 编号, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1, classification: L1}
      - {name: place, businessName: 村社区代码, logicalType: string, required: true, classification: L1, customProperties: [{property: gridlake.region, value: true}]}
      - {name: score, businessName: 评分, logicalType: integer, logicalTypeOptions: {minimum: 1, maximum: 5}, required: true, classification: L1}
customProperties:
  - {property: gridlake.volume, value: {min: 1, max: 1000, origin: a test}}
  - property: gridlake.accept
    value: [{answer_no: "1", place: "PLACE", score: 5}]
  - property: gridlake.reject
    value: [{rule: maximum, field: score, row: {answer_no: "1", place: "PLACE", score: 6}}]
"""
SATISFACTION = """-- one row per region that answered
select place as region_code, count(*) as answer_count, cast(avg(cast(score as double)) as double) as average_score
from {{ ref('stg_survey__answer') }}
where _op <> 'delete'
group by place
"""
CALLS = 40


@pytest.fixture(scope="module")
def with_new_feeds(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> tuple[Lake, Path, str, dict[str, int]]:
    """The undisturbed lake, run again with two contracts and one SQL file that it has never seen."""
    folder = tmp_path_factory.mktemp("new_feeds")
    home, inbox, contracts = copy_of(lake, folder), folder / "inbox", folder / "contracts"
    regions = lake.tables.read("mart.region").to_pylist()
    place = next(r["region_code"] for r in regions if r["region_system"] == "cn" and r["region_level"] == 5)
    codes = lake.tables.read("business.event", columns=["class_code", "level_code", "state_code", "channel_code"]).to_pylist()[0]
    filled = CONTRACT.replace("PLACE", place)
    for name, value in codes.items():
        filled = filled.replace(name.removesuffix("_code").upper(), f'"{value}"')
    for name, text in {
        "hotline/call.odcs.yaml": filled,
        "survey/answer.odcs.yaml": SURVEY.replace("PLACE", place),
        "senders/hotline_office.yml": SENDER,
        "models/mart/satisfaction.sql": SATISFACTION,
    }.items():
        (contracts / name).parent.mkdir(parents=True, exist_ok=True)
        (contracts / name).write_text(text, encoding="utf-8")
    calls = [
        {"call_no": f"C{n}", "kind": "noise", "place": place, "said": f"第{n}号诉求", "called_at": f"2026-10-2{n % 5} 1{n % 9}:0{n % 6}"}
        for n in range(CALLS)
    ]
    calls.append({"call_no": "C99", "kind": 7, "place": place, "said": "类别不是文字", "called_at": "2026-10-20 10:00"})
    answers = [{"answer_no": str(n), "place": place, "score": 1 + n % 5} for n in range(10)]
    for name, rows in {"hotline/call/hotline_office/calls.jsonl": calls, "survey/answer/hotline_office/answers.jsonl": answers}.items():
        (inbox / name).parent.mkdir(parents=True)
        (inbox / name).write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows), encoding="utf-8")
    before = {
        r["region_code"]: r["event_count"] for r in lake.tables.read("mart.region_overview", columns=["region_code", "event_count"]).to_pylist()
    }
    document = succeed("run", "--input", inbox, "--home", home, "--contracts", contracts)
    return Lake(home, inbox, document), contracts, place, before


def test_a_new_contract_lands(with_new_feeds: tuple[Lake, Path, str, dict[str, int]]) -> None:
    lake, *_ = with_new_feeds
    counts = lake.document["feeds"]["hotline__call"]
    assert (counts["received"], counts["accepted"], counts["refused"]) == (CALLS + 1, CALLS, 1)


def test_a_new_contract_reaches_staging_library_and_marts(with_new_feeds: tuple[Lake, Path, str, dict[str, int]]) -> None:
    lake, _, place, before = with_new_feeds
    assert lake.tables.row_count("staging.stg_hotline__call") == CALLS
    feeds = lake.tables.read("business.event", columns=["feed"]).column(0).to_pylist()
    assert feeds.count("hotline__call") == CALLS
    after = {r["region_code"]: r["event_count"] for r in lake.tables.read("mart.region_overview", columns=["region_code", "event_count"]).to_pylist()}
    assert after[place] == before.get(place, 0) + CALLS
    assert after["330000000000"] == before["330000000000"] + CALLS


def test_a_new_contract_reaches_api_and_report(with_new_feeds: tuple[Lake, Path, str, dict[str, int]]) -> None:
    lake, contracts, _, before = with_new_feeds
    client = TestClient(create_app(Settings(home=lake.home, contracts=contracts)))
    assert "hotline__call" in client.get("/feeds").text
    overview = client.get("/regions/330000000000").json()
    assert str(before["330000000000"] + CALLS) in json.dumps(overview)
    pages = [Path(r).read_text(encoding="utf-8") for r in lake.document["reports"] if r.endswith(".html")]
    assert any("热线" in page for page in pages)


def test_a_new_contract_has_a_dictionary_page(with_new_feeds: tuple[Lake, Path, str, dict[str, int]]) -> None:
    lake, *_ = with_new_feeds
    page = (lake.home / "docs" / "dictionary" / "hotline__call.html").read_text(encoding="utf-8")
    assert "诉求类别" in page


def test_an_extra_table_needs_its_contract_and_one_sql_file(with_new_feeds: tuple[Lake, Path, str, dict[str, int]]) -> None:
    lake, _, place, _ = with_new_feeds
    assert lake.tables.read("mart.satisfaction").to_pylist() == [{"region_code": place, "answer_count": 10, "average_score": 3.0}]
