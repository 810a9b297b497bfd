"""A contract in a folder reaches staging, library and marts without another line; a broken model or test says what is broken."""

from __future__ import annotations

import json
from datetime import date, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from gridlake import transform
from gridlake.runs import Run
from gridlake.tables import Tables
from tests.engine.bronze import at, land, new_run

NOW = "2011-12-01 05:00:00"
REGIONS = """region_system,region_code,region_name,region_level,parent_code
cn,330000000000,浙江省,1,
us-boston,boston,Boston,2,
us-boston,02118,South End,3,boston
"""
COPLEY = (-71.0777, 42.3493)


def column(name: str, kind: str = "string", *, key: bool = False, **own: Any) -> dict[str, Any]:
    """A column of a contract; `own` are its gridlake properties."""
    said: dict[str, Any] = {"name": name, "businessName": name, "logicalType": kind, "classification": "L1"}
    if key:
        said |= {"primaryKey": True, "primaryKeyPosition": 1, "required": True}
    if own:
        said["customProperties"] = [{"property": f"gridlake.{k}", "value": v} for k, v in own.items()]
    return said


def contract(folder: Path, source: str, feed: str, columns: list[dict[str, Any]], version: str = "1.0.0", **own: Any) -> None:
    """Write a contract file into a folder of contracts; a later major version stands beside the first."""
    document = {
        "apiVersion": "v3.1.0",
        "kind": "DataContract",
        "id": f"{source}.{feed}",
        "name": feed,
        "version": version,
        "status": "active",
        "schema": [{"name": feed, "physicalType": "file", "properties": columns}],
        "customProperties": [{"property": f"gridlake.{k}", "value": v} for k, v in own.items()],
    }
    path = folder / source / (f"{feed}.odcs.yaml" if version.startswith("1.") else f"{feed}.v{version[0]}.odcs.yaml")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")


def declare(folder: Path) -> None:
    """Three feeds nobody here has heard of: events by a map, events by a SELECT, and an entity of its own; two further tables."""
    (folder / "vocabularies").mkdir(parents=True)
    (folder / "vocabularies" / "regions_cn.csv").write_text(REGIONS, encoding="utf-8")
    opened = [column("opened", "timestamp"), column("closed", "timestamp")]
    place = [column("zip"), column("lng", "number", position="longitude"), column("lat", "number", position="latitude")]
    boston = {"conformsTo": "event", "timeZone": "America/New_York", "regionSystem": "us-boston", "coordinateSystem": "WGS84"}
    contract(
        folder,
        "boston",
        "request",
        [column("case_id", "integer", key=True), column("type"), *opened, *place],
        **boston,
        map={
            "event_id": {"column": "case_id"},
            "class_code": {"column": "type", "codes": {"Pothole": "0301"}, "default": "0101"},
            "level_code": {"constant": "1"},
            "state_code": {"sql": "case when closed is null then 'handling' else 'closed' end"},
            "channel_code": {"constant": "citizen"},
            "description": {"column": "type"},
            "region_code": {"column": "zip"},
            "longitude": {"column": "lng"},
            "latitude": {"column": "lat"},
            "occurred_at": {"column": "opened"},
            "reported_at": {"column": "opened"},
            "closed_at": {"column": "closed"},
            "changed_at": {"sql": "coalesce(closed, opened)"},
            "source_version": {"constant": 1},
        },
    )
    contract(folder, "boston", "light", [column("pole", key=True), column("said"), *opened, *place], **boston)
    (folder / "boston" / "light.sql").write_text(
        # A lamp that is new is no event, and the SELECT says so; one that works it drops without a word.
        "select _source_position, pole as event_id, '0301' as class_code, '1' as level_code, 'reported' as state_code, 'video' as channel_code,\n"
        "    said as description, zip as region_code, opened as occurred_at, opened as reported_at, opened as changed_at, 1 as source_version,\n"
        "    case when said = 'new' then 'delete' else _op end as _op\n"
        "from {{ source }} where said <> 'works'\n",
        encoding="utf-8",
    )
    contract(
        folder,
        "city",
        "walk",
        [column("walk_id", key=True, localIdOf="walk"), column("grid_id", localIdOf="grid"), column("visited_on", "date")],
        defines="walk",
    )
    contract(
        folder,
        "city",
        "walk",
        [column("walk_no", key=True, localIdOf="walk"), column("day", "date")],
        version="2.0.0",
        conformsTo="walk",
        map={"walk_id": {"column": "walk_no"}, "visited_on": {"column": "day"}},
    )
    for name, sql in {
        "walk/daily": "-- one row per day\nselect visited_on, count(*) as walk_count\nfrom {{ ref('stg_walk') }}\ngroup by visited_on\n",
        "mart/pole": "-- one row per lamp\nselect local_id as pole_id\nfrom {{ ref('event') }}\nwhere feed = 'boston__light'\n",
    }.items():
        path = folder / "models" / f"{name}.sql"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(sql, encoding="utf-8")


def requests(run: Run) -> None:
    land(
        run,
        "boston__request",
        [
            # 01:30 stood on the clocks twice that night; which one it was, landing has decided.
            {"case_id": 1, "type": "Pothole", "opened": at("2011-11-06 05:30:00"), "zip": "02118", "lng": COPLEY[0], "lat": COPLEY[1]},
            {"case_id": 2, "type": "Graffiti", "opened": at("2011-11-06 04:30:00"), "closed": at("2011-11-07 04:30:00"), "zip": "02118"},
            {"case_id": 3, "type": "Graffiti", "opened": at("2011-11-06 03:30:00"), "zip": "02118"},
        ],
        delivery=1,
        received_at="2011-12-01 00:00:00",
        sender="boston",
    )
    lamps = [
        {"pole": "L1", "said": "dark", "opened": at("2011-11-08 12:00:00"), "zip": "02118"},
        {"pole": "L2", "said": "works", "opened": at("2011-11-08 12:00:00"), "zip": "02118"},
        {"pole": "L3", "said": "new", "opened": at("2011-11-08 12:00:00"), "zip": "02118"},
    ]
    land(run, "boston__light", lamps, delivery=1, received_at="2011-12-01 00:00:00", sender="boston")
    visits = [{"walk_id": "V1", "grid_id": "G1", "visited_on": date(2011, 11, 8)}, {"walk_id": "V2", "visited_on": date(2011, 11, 8)}]
    land(run, "city__walk", [*visits, {"walk_id": "V4", "visited_on": date(2011, 11, 8)}], delivery=1, received_at="2011-12-01 00:00:00")
    land(run, "city__walk", visits[:1], delivery=2, received_at="2011-12-01 00:00:00", sender="ningbo")
    # The city has gone over to the second major version: one walk anew, one corrected, one deleted; its neighbour has not.
    later = [{"walk_no": "V3", "day": date(2011, 11, 9)}, {"walk_no": "V1", "day": date(2011, 11, 9)}, {"walk_no": "V4", "_op": "delete"}]
    land(run, "city__walk_v2", later, delivery=3, received_at="2011-12-01 01:00:00")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tables, dict[str, dict[str, Any]]]:
    """The lake with the new feeds, and what each step returned."""
    folder = tmp_path_factory.mktemp("new_feeds")
    declare(folder / "declared")
    run = new_run(folder / "lake", NOW, folder / "declared")
    try:
        requests(run)
        return run.tables, {name: run.perform(name) for name in ("stage", "resolve", "build", "detect", "mart", "check")}
    finally:
        run.close()


Built = tuple[Tables, dict[str, dict[str, Any]]]


def by(tables: Tables, name: str, key: str) -> dict[Any, dict[str, Any]]:
    return {row[key]: row for row in tables.read(name).to_pylist()}


def test_a_mapped_feed_arrives_in_the_library(built: Built) -> None:
    tables, _ = built
    found = by(tables, "business.event", "event_id")
    assert set(found) == {"boston-1", "boston-2", "boston-3", "boston-L1", None}
    assert found["boston-1"]["class_code"] == "0301"
    assert found["boston-2"]["class_code"] == "0101"
    assert (found["boston-2"]["is_closed"], found["boston-2"]["handling_minutes"]) == (True, 1440)


def test_a_day_is_a_day_in_the_feeds_own_zone(built: Built) -> None:
    tables, _ = built
    days = {key: row["business_date"] for key, row in by(tables, "business.event", "event_id").items()}
    assert (days["boston-1"], days["boston-2"], days["boston-3"]) == (date(2011, 11, 6), date(2011, 11, 6), date(2011, 11, 5))


def test_positions_in_wgs84_stay_where_they_are(built: Built) -> None:
    tables, _ = built
    found = by(tables, "business.event", "event_id")["boston-1"]
    assert (found["longitude"], found["latitude"]) == COPLEY


def test_a_foreign_feed_counts_in_its_own_region_system(built: Built) -> None:
    tables, _ = built
    overview = by(tables, "mart.region_overview", "region_code")
    assert overview["boston"]["region_system"] == "us-boston"
    assert overview["boston"]["event_count"] >= 4
    assert overview["330000000000"]["event_count"] == 0


def test_a_row_that_the_feeds_select_drops_is_not_lost_unseen(built: Built) -> None:
    tables, returned = built
    staged = by(tables, "staging.stg_boston__light", "_source_key")
    assert (staged["L1"]["local_id"], staged["L2"]["local_id"], staged["L3"]["_op"]) == ("L1", None, "delete")
    broken = {(f["table"], f["column"], f["expectation"]): f["unexpected_count"] for f in returned["check"]["failures"]}
    assert broken["staging.stg_event", "event_id", "ExpectColumnValuesToNotBeNull"] == 1


def test_a_new_entity_has_its_union_and_its_ids(built: Built) -> None:
    tables, _ = built
    # Two senders have a V1 of their own.
    visits = by(tables, "staging.stg_city__walk", "walk_id")
    first, second = visits["hangzhou-V1"], visits["hangzhou-V2"]
    assert (first["local_id"], first["grid_id"], second["grid_id"]) == ("V1", "hangzhou-G1", None)


def test_further_tables_need_one_sql_file_each(built: Built) -> None:
    tables, returned = built
    assert tables.read("walk.daily").num_rows == 2
    assert set(tables.read("mart.pole").column("pole_id").to_pylist()) == {"L1", None}
    assert tables.row_count("mart.pole") == 2
    assert {"walk.daily", "mart.pole"} <= returned["mart"]["tables"].keys()


def test_a_feed_that_never_landed_is_an_empty_table(built: Built) -> None:
    tables, returned = built
    assert returned["stage"]["tables"]["staging.stg_city_platform__event_step"] == 0
    assert tables.row_count("business.event_step") == 0


def test_the_same_run_again_commits_nothing(built: Built, tmp_path: Path) -> None:
    tables, _ = built
    home = tables.root.parent
    before = {name: tables.version(name) for name in tables.names()}
    run = new_run(home, NOW, home.parent / "declared")
    try:
        for name in ("stage", "resolve", "build", "detect", "mart"):
            run.perform(name)
    finally:
        run.close()
    # A plain `table` model is replaced, as its file asks for it.
    changed = {name for name, version in before.items() if tables.version(name) != version}
    assert changed == {"mart.pole", "walk.daily"}


def test_a_model_that_cannot_be_built_is_named(built: Built, tmp_path: Path) -> None:
    declare(tmp_path / "declared")
    broken = tmp_path / "declared" / "models" / "staging" / "broken.sql"
    broken.parent.mkdir(parents=True)
    broken.write_text("-- one row\nselect no_such_column\nfrom {{ ref('stg_walk') }}\n", encoding="utf-8")
    run = new_run(tmp_path / "lake", NOW, tmp_path / "declared")
    try:
        requests(run)
        with pytest.raises(transform.TransformError, match=r"(?s)1 of \d+ models not built; staging\.broken: .*no_such_column"):
            run.perform("stage")
        broken.unlink()
        assert run.perform("stage")["tables"]["staging.stg_city__walk"] == 4
    finally:
        run.close()


def test_the_logs_and_the_ledger_hold_no_row(built: Built) -> None:
    tables, _ = built
    home = tables.root.parent
    texts = [
        path.read_text(encoding="utf-8")
        for folder in ("logs", "runs", "dbt")
        for path in (home / folder).rglob("*")
        if path.suffix in {".log", ".json"}
    ]
    assert len(texts) >= 3
    assert not any("Graffiti" in json.dumps(text) for text in texts)


def test_positions_and_times_keep_their_types(built: Built) -> None:
    tables, _ = built
    event = by(tables, "staging.stg_boston__request", "_source_key")["1"]
    assert isinstance(event["reported_at"], datetime)
    assert event["source_version"] == 1


def test_of_two_major_versions_a_key_is_current_in_the_newer_one_that_its_sender_has_sent_it_by(built: Built) -> None:
    tables, _ = built
    assert tables.row_count("staging.stg_city__walk") == 4
    assert tables.row_count("staging.stg_city__walk_v2") == 3
    # 8 November: V2 of the first version and the neighbour's V1; 9 November: V1 and V3 of the second. V4 was deleted by the second.
    daily = {row["visited_on"]: row["walk_count"] for row in tables.read("walk.daily").to_pylist()}
    assert daily == {date(2011, 11, 8): 2, date(2011, 11, 9): 2}
