"""`gridlake run` on a simulated province: everything accounted for, nothing added by a repeat, nothing personal left behind."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from gridlake.settings import Settings
from gridlake.tables import Tables
from serving.api import create_app
from tests.e2e.conftest import NOW, Lake, copy_of, gridlake, succeed, text_of
from tests.lakes import content, differing
from tests.openlineage import validated


def test_every_row_received_is_accepted_refused_duplicate_or_waiting(lake: Lake) -> None:
    assert set(lake.document["feeds"]) >= {f"city_platform__{feed}" for feed in ("region", "grid", "team_member", "event", "event_step")}
    for feed, counts in lake.document["feeds"].items():
        assert counts["received"] > 0, feed
        assert counts["received"] == counts["accepted"] + counts["refused"] + counts["duplicate"] + counts["waiting"], feed


def test_tables_hold_what_the_counts_say(lake: Lake) -> None:
    for feed, counts in lake.document["feeds"].items():
        assert lake.tables.row_count(f"bronze.{feed}") == counts["accepted"]
        refused = lake.tables.read(f"quarantine.{feed}")
        assert refused.num_rows == counts["refused"] + counts["waiting"]
        assert all(reasons for reasons in refused.column("reasons").to_pylist())


def test_dirt_ends_where_the_simulator_says_it_must(lake: Lake) -> None:
    refused = {}
    for feed in lake.document["feeds"]:
        for row in lake.tables.read(f"quarantine.{feed}", columns=["_source_position", "reasons"]).to_pylist():
            refused[row["_source_position"].partition("@")[0], int(row["_source_position"].rpartition("#")[2])] = row["reasons"]
    truth = (
        duckdb.sql(f"select * from read_parquet('{lake.inbox}/_truth/dirt_truth.parquet') where expected_state = 'refused'")
        .to_arrow_table()
        .to_pylist()
    )
    assert len(truth) >= 10
    for row in truth:
        found = refused.get((f"files:{row['sender_code']}/{row['file_name']}", row["row_number"]))
        assert found is not None, row
        assert row["rule"] in {reason["rule"] for reason in found}, (row, found)


def test_findings_meet_the_injected_truth(lake: Lake) -> None:
    found = lake.document["findings"]["invalid_event"]
    assert found["count"] > 0
    assert found["precision"] >= 0.9
    assert found["recall"] >= 0.9


def asked(lake: Lake, query: str, *tables: str) -> list[tuple[Any, ...]]:
    """Rows of a query over tables of the lake, each under its bare name, and over `truth`, which says whose each record of a person is."""
    with duckdb.connect() as connection:
        connection.register("truth", pq.read_table(lake.inbox / "_truth" / "person_truth.parquet"))
        for name in tables:
            connection.register(name.partition(".")[2], lake.tables.read(name))
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("name", ["person", "house", "enterprise", "address"])
def test_departments_name_the_grids_that_the_cities_send(lake: Lake, name: str) -> None:
    query = f"""select count(*), count(r.grid_code), count(g.grid_id)
        from {name} as r left join grid as g using (grid_id, grid_code, region_code)"""
    ((rows, coded, found),) = asked(lake, query, f"theme.{name}", "theme.grid")
    assert coded == found > 0
    assert coded < rows, "some wait for somebody to say in which grid they lie"


def test_micro_grids_lie_below_their_grids_and_the_marts_still_end_there(lake: Lake) -> None:
    coded = "select count(*), count_if(micro_grid_code like grid_code || '____') from micro_grid left join grid using (grid_id)"
    ((micro_grids, below),) = asked(lake, coded, "theme.micro_grid", "theme.grid")
    assert micro_grids == below > lake.tables.row_count("theme.grid")
    above = "select distinct count(*), count(distinct ancestor_level) from region_closure where region_level = 7 group by region_code"
    assert asked(lake, above, "theme.region_closure") == [(7, 7)]
    assert asked(lake, "select max(region_level) from region_closure", "mart.region_closure") == [(6,)]
    counted = asked(lake, "select sum(grid_count)::bigint from team_staffing where month_date = '2026-10-01'", "mart.team_staffing")
    assert counted == [(lake.tables.row_count("theme.grid"),)]


MARTS_BY_REGION = {
    "event_daily": ("event_count", "business.event"),
    "visit_daily": ("visit_count", "business.visit"),
    "dispute_monthly": ("dispute_count", "business.dispute"),
    "task_progress": ("object_count", "business.task_object"),
    "loop_closure": ("finding_count", "finding.finding"),
}


@pytest.mark.parametrize("mart", MARTS_BY_REGION)
def test_the_province_is_the_sum_of_its_lowest_regions_and_nothing_is_counted_twice_or_lost(lake: Lake, mart: str) -> None:
    count, counted = MARTS_BY_REGION[mart]
    query = f"select sum({count})::bigint from {mart} join region_closure using (region_system, region_code) where ancestor_level = 1"
    assert asked(lake, query, f"mart.{mart}", "mart.region_closure") == [(lake.tables.row_count(counted),)]


def test_working_minutes_are_the_overlap_with_the_hours_of_working_days(lake: Lake) -> None:
    # Counted another way than the library does it, day by day; 9:00 to 17:30 in Shanghai. Jingning county has a holiday of its own.
    query = """
        with hours as (
            select epoch(calendar_date) + 3600 as opens, epoch(calendar_date) + 34200 as closes
            from work_calendar where region_code = '330000000000' and is_working_day
        ),
        closed as (
            select event_id, working_handling_minutes, floor(epoch(reported_at)) as starts, floor(epoch(closed_at)) as ends
            from event where closed_at is not null and region_code not like '331127%'
        ),
        counted as (
            select event_id, any_value(working_handling_minutes) as ours,
                coalesce(floor(sum(least(ends, closes) - greatest(starts, opens)) filter (opens is not null) / 60), 0) as theirs
            from closed left join hours on opens < ends and closes > starts group by event_id
        )
        select count(*), count_if(ours = theirs) from counted"""
    ((closed, alike),) = asked(lake, query, "business.event", "theme.work_calendar")
    assert closed == alike > 1000


def test_what_two_feeds_ask_of_the_same_persons_and_places_is_listed_with_its_evidence(lake: Lake) -> None:
    listed = lake.tables.read("sharing.duplicate_collection").to_pylist()
    found = {(r["feed"], r["column_name"], r["other_feed"], r["other_column_name"]): r for r in listed}
    person, key_person, member = "public_security__person", "city_platform__key_person", "city_platform__team_member"
    assert found.keys() >= {(key_person, name, person, name) for name in ("person_name", "phone", "sex_code", "birth_date")}
    assert found.keys() >= {(person, "phone", member, "phone"), (key_person, "home_address", person, "registered_address")}
    assert ("civil_affairs__address", "address_text", "market_supervision__enterprise", "address_text") in found
    told = "select count(distinct id_number_token) from key_person join person using (id_number_token) where key_person.phone_token is not null"
    counted = asked(lake, f"{told} and person.phone_token is not null", "theme.key_person", "theme.person")
    phone = found[key_person, "phone", person, "phone"]
    assert [(phone["told_count"],)] == counted
    assert f"{phone['told_count']} 个对象在两处都已填报，其中 {phone['alike_count']} 个内容相同" in phone["finding_zh"]
    names = {row[column] for row in listed for column in ("column_name", "other_column_name")}
    assert not names & {"changed_at", "source_version", "region_code", "grid_id", "grid_code", "status_code"}


def test_one_id_number_at_two_senders_is_one_person(lake: Lake) -> None:
    met = asked(
        lake,
        """select p.person = k.person from person join key_person using (id_number_token)
        join truth as p on p.feed = 'person' and p.sender_code = person.sender_code and p.local_id = person.local_id
        join truth as k on k.feed = 'key_person' and k.sender_code = key_person.sender_code and k.local_id = key_person.local_id""",
        "theme.person",
        "theme.key_person",
    )
    assert len(met) >= 5
    assert all(same for (same,) in met)


def test_records_of_the_province_are_joined_to_the_persons_that_they_are_of(lake: Lake) -> None:
    kinds = ("person", "key_person", "team_member")
    library = " union all ".join(f"select '{name}' as feed, sender_code, local_id, canonical_person_id as found from {name}" for name in kinds)
    counted = f"""with record as (select person, found from truth join ({library}) using (feed, sender_code, local_id)),
        pairs as (select 'true' as kind, count(*) as n from record group by person
            union all select 'said', count(*) from record group by found
            union all select 'right', count(*) from record group by person, found)
        select kind, sum(n * (n - 1) // 2) from pairs group by kind"""
    pairs = dict(asked(lake, counted, *(f"theme.{name}" for name in kinds)))
    assert pairs["true"] >= 30
    assert pairs["right"] / pairs["said"] >= 0.99
    assert pairs["right"] / pairs["true"] >= 0.95

    (link, *_) = asked(lake, "select left_entity, left_id, right_id, link_id from person_link where state_code = 'linked'", "resolved.person_link")
    document = succeed("explain", link[0], link[1], "--home", lake.home)
    (told,) = [r["person_links"] for r in document["records"] if r["canonical_id"] == link[1]]
    assert (link[2], link[3]) in {(one["right_id"], one["link_id"]) for one in told}


def test_reasons_of_a_finding_add_up_to_its_score(lake: Lake) -> None:
    findings = {r["finding_id"]: r["score"] for r in lake.tables.read("finding.finding", columns=["finding_id", "score"]).to_pylist()}
    sums = dict.fromkeys(findings, 0.0)
    for row in lake.tables.read("finding.reason", columns=["finding_id", "contribution"]).to_pylist():
        sums[row["finding_id"]] += row["contribution"]
    assert sums == pytest.approx(findings, abs=1e-9)


def test_the_same_command_again_adds_nothing_and_ends_in_the_same_tables(lake: Lake) -> None:
    before = content(lake.home)
    again = succeed("run", "--input", lake.inbox, "--home", lake.home, *NOW)
    assert sum(counts["accepted"] for counts in again["feeds"].values()) == 0
    assert differing(before, content(lake.home)) == {}
    assert again["snapshot"]["id"] == lake.document["snapshot"]["id"]


def test_snapshot_reports_and_pages_are_where_the_run_says(lake: Lake) -> None:
    snapshot = Path(lake.document["snapshot"]["path"])
    manifest = json.loads((snapshot / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["snapshot_id"] == lake.document["snapshot"]["id"]
    assert manifest["cut"]["bronze.city_platform__event"] >= 0
    assert (lake.home / "snapshots" / "current").resolve() == snapshot.resolve()
    suffixes = [Path(report).suffix for report in lake.document["reports"]]
    assert suffixes.count(".docx") >= 2
    assert suffixes.count(".html") >= 2
    assert (lake.home / "docs" / "checks" / "index.html").stat().st_size > 1000


def _everything_written(home: Path) -> Iterator[tuple[str, bytes]]:
    """Raw bytes of every file, and what a reader sees of packed ones: Parquet, DuckDB, docx."""
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes()
            if path.suffix == ".docx":
                with zipfile.ZipFile(path) as archive:
                    yield f"{path}!", b"".join(archive.read(n) for n in archive.namelist())
            if path.suffix == ".duckdb":
                with duckdb.connect(str(path), read_only=True) as snapshot:
                    for schema, table in snapshot.sql("select table_schema, table_name from information_schema.tables").fetchall():
                        yield f"{path}!{table}", text_of(snapshot.sql(f'select * from "{schema}"."{table}"').to_arrow_table())
    tables = Tables(home / "tables")
    for name in tables.names():
        yield name, text_of(tables.read(name))


def test_no_planted_id_number_phone_or_name_is_found_anywhere(lake: Lake) -> None:
    planted = json.loads((lake.inbox / "_truth" / "planted.json").read_text(encoding="utf-8"))
    values = sorted({value for group in planted.values() for value in group} if isinstance(planted, dict) else set(planted))
    assert len(values) >= 50
    inbox = "".join(p.read_bytes().decode("utf-8", errors="ignore") for p in lake.inbox.rglob("*.jsonl"))
    assert any(value in inbox for value in values), "the search would find a value where there is one"
    needles = [value.encode() for value in values]
    searched, leaks = 0, {}
    for place, found in chain(_everything_written(lake.home), _answers(lake)):
        searched += 1
        leaks |= {(place, needle): found.count(needle) for needle in needles if needle in found}
    assert searched > 100
    assert leaks == {}


def _answers(lake: Lake) -> Iterator[tuple[str, bytes]]:
    client = TestClient(create_app(Settings(home=lake.home, inbox=lake.inbox)))
    code = client.get("/regions").json()["regions"][0]["region_code"]
    for route in ("/", "/health", "/regions", f"/regions/{code}", f"/posture?region={code}", "/findings?limit=200", "/feeds", "/snapshots"):
        answer = client.get(route)
        assert answer.status_code == 200, (route, answer.text)
        yield f"API {route}", answer.content
    done = gridlake("explain", "event", _some_event(lake), "--home", lake.home, "--inbox", lake.inbox, "--json")
    assert done.returncode == 0, done.stderr
    yield "explain", (done.stdout + done.stderr).encode()


def _some_event(lake: Lake) -> str:
    event: str = lake.tables.read("business.event", columns=["event_id"]).column(0)[0].as_py()
    return event


TWICE = """-- one row per event, twice: the test of its key must fail
select event_id from {{ ref('event') }}
union all
select event_id from {{ ref('event') }}
"""
TWICE_TESTS = """models:
  - name: twice
    columns:
      - name: event_id
        data_tests: [unique]
"""


def test_a_broken_critical_suite_stops_publication_and_says_why(lake: Lake, tmp_path: Path) -> None:
    home = copy_of(lake, tmp_path)
    model = tmp_path / "contracts" / "models" / "business"
    model.mkdir(parents=True)
    (model / "twice.sql").write_text(TWICE)
    (model / "twice.yml").write_text(TWICE_TESTS)
    done = gridlake("run", "--input", lake.inbox, "--home", home, "--contracts", tmp_path / "contracts", *NOW)
    assert done.returncode == 1
    assert "twice" in done.stderr
    current = (home / "snapshots" / "current").resolve().name
    assert current == lake.document["snapshot"]["id"], "readers keep the snapshot that was good"


def test_every_column_of_every_table_has_its_row_in_the_dictionary(lake: Lake) -> None:
    folder = lake.home / "docs" / "dictionary"
    missing = []
    for name in lake.tables.names():
        schema, _, table = name.partition(".")
        # What lands and what is staged of a feed is on the page of its contract, whose columns `gridlake feed check` holds to be named.
        if schema in {"bronze", "quarantine"} or table.startswith("stg_"):
            missing += [] if (folder / f"{table.removeprefix('stg_')}.html").exists() else [name]
            continue
        page = (folder / f"{name}.html").read_text(encoding="utf-8")
        missing += [f"{name}.{column}" for column in lake.tables.schema(name).names if f'<code id="{column}">' not in page]
    assert missing == []


def test_the_run_is_told_in_openlineage_events(lake: Lake) -> None:
    # A file a run; other tests run on this lake too.
    file = lake.home / "lineage" / f"{lake.document['run_id']}.ndjson"
    told = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for event in told:
        validated(event)
    done = {e["job"]["name"]: e for e in told if e["eventType"] == "COMPLETE"}
    (daily,) = done["mart.mart.event_daily"]["outputs"]
    assert daily["facets"]["columnLineage"]["fields"]["overdue_count"]["inputFields"][0]["field"] == "is_overdue"
    checked = {i["name"]: i["inputFacets"]["dataQualityAssertions"]["assertions"] for i in done["check"]["inputs"]}
    assert len(checked["business.event"]) > 5


def test_rows_of_a_mart_lead_to_the_events_that_they_count(lake: Lake) -> None:
    day = lake.tables.read("mart.event_daily", columns=["business_date"]).column(0)[0].as_py()
    found = succeed("explain", "event_daily", f"business_date={day},region_code=330100000000", "--home", lake.home)
    made_of = found["made_of"]["business.event"]
    assert found["sums"]["event_count"] == made_of["row_count"] > 0
    event = succeed("explain", "event", made_of["first"][0], "--home", lake.home)
    assert event["records"][0]["library"]["business.event"][0]["business_date"] == str(day)
