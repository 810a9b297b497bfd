"""The main job on data nobody here wrote: Boston's 311 requests of 2011, counted again from the file by DuckDB and pandas alone."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pandas as pd
import pytest
import yaml
from docx import Document
from fastapi.testclient import TestClient

from gridlake.contracts import load
from gridlake.settings import Settings
from gridlake.tables import Tables
from serving.api import create_app
from tests.e2e.conftest import succeed
from tests.lakes import content, differing, rows_of

CHECKOUT = Path(__file__).parents[2]
CONTRACTS = Path(__file__).parent / "contracts"
REALDATA = Path(os.environ.get("GRIDLAKE_REALDATA", CHECKOUT.parent / "shared" / "realdata"))
FILE = REALDATA / "boston311" / "boston_311_2011.csv.gz"
FEED, ROWS = "boston311__request", 58_251

pytestmark = [
    pytest.mark.realdata,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE} is not here; put the public file there or name its folder in GRIDLAKE_REALDATA"),
]

# One row a case, as text; `place` is the region, `hour` what is needed of time comparisons. Nothing of ours is used.
TRUTH = f"""
create table request as
select
    *,
    department || coalesce('/' || nullif(trim(neighborhood), ''), '') as place,
    open_dt[:10]::date as day,
    case_status = 'Open' as is_open,
    case when target_dt = '' then false when closed_dt <> '' then closed_dt > target_dt else target_dt < '2012-01-01 00:00:00' end as is_overdue
from read_csv('{FILE}', all_varchar = true, header = true, nullstr = 'no such text')
"""


@dataclass(frozen=True)
class Boston:
    """A finished run over the file, and the file itself."""

    home: Path
    inbox: Path
    document: dict[str, Any]
    truth: duckdb.DuckDBPyConnection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the lake, as `rows_of` gives them."""
        return rows_of(self.home, sql)

    def counted(self, sql: str) -> list[tuple[Any, ...]]:
        """Rows of the file."""
        return self.truth.execute(sql).fetchall()


def run(inbox: Path, home: Path) -> dict[str, Any]:
    return succeed("run", "--input", inbox, "--contracts", CONTRACTS, "--home", home)


@pytest.fixture(scope="module")
def boston(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Boston]:
    folder = tmp_path_factory.mktemp("boston")
    inbox = folder / "inbox"
    delivery = inbox / "boston311" / "request" / "boston" / FILE.name
    delivery.parent.mkdir(parents=True)
    delivery.symlink_to(FILE.resolve())
    with duckdb.connect() as truth:
        truth.execute(TRUTH)
        yield Boston(folder / "lake", inbox, run(inbox, folder / "lake"), truth)


# --- the contract beside the file, no run needed


def header() -> list[str]:
    with gzip.open(FILE, "rt", encoding="utf-8", newline="") as lines:
        return next(csv.reader(lines))


def test_every_column_of_the_file_is_in_the_contract_or_ignored_by_name() -> None:
    contract = load(CONTRACTS / "boston311" / "request.odcs.yaml")
    known = [c.name for c in contract.columns]
    assert sorted([*known, *contract.ignored_columns]) == sorted(header())


def test_every_place_of_the_file_is_a_region_and_every_region_a_place() -> None:
    with (CONTRACTS / "vocabularies" / "regions_us_boston.csv").open(encoding="utf-8", newline="") as lines:
        regions = {row["region_code"] for row in csv.DictReader(lines)}
    with duckdb.connect() as truth:
        truth.execute(TRUTH)
        places = {code for pair in truth.execute("select distinct place, department from request").fetchall() for code in pair}
    assert regions == places | {"boston"}


def test_rows_made_wrong_are_refused_each_with_its_reason(tmp_path: Path) -> None:
    with gzip.open(FILE, "rt", encoding="utf-8", newline="") as lines:
        rows = [row for _, row in zip(range(200), csv.DictReader(lines), strict=False)]
    rows[3] |= {"latitude": rows[3]["longitude"], "longitude": rows[3]["latitude"]}
    rows[5] |= {"department": "NASA"}
    rows[7] |= {"closed_dt": "2011-06-30 23:59:59"}
    rows[11] |= {"target_dt": "2012-03-11 02:30:00"}
    rows[13] |= {"case_status": "Reopened"}
    rows[17] |= {"open_dt": "07/01/2011"}
    rows[19] |= {"case_enquiry_id": ""}
    written = io.StringIO()
    writer = csv.DictWriter(written, header())
    writer.writeheader()
    writer.writerows(rows)
    delivery = tmp_path / "inbox" / "boston311" / "request" / "boston" / "wrong.csv"
    delivery.parent.mkdir(parents=True)
    delivery.write_text(written.getvalue(), encoding="utf-8")

    landed = succeed("land", "--inbox", tmp_path / "inbox", "--home", tmp_path / "lake", "--contracts", CONTRACTS)
    assert {k: landed["feeds"][FEED][k] for k in ("received", "accepted", "refused")} == {"received": 200, "accepted": 193, "refused": 7}
    refused = Tables(tmp_path / "lake" / "tables").read(f"quarantine.{FEED}", columns=["_source_position", "reasons"]).to_pylist()
    reasons = {int(r["_source_position"].rpartition("#")[2]) - 1: {(x["rule"], x["field"]) for x in r["reasons"]} for r in refused}
    assert reasons == {
        3: {("minimum", "latitude"), ("maximum", "longitude")},
        5: {("region_unknown", "department")},
        7: {("closed_after_opened", None)},
        11: {("nonexistent_local_time", "target_dt")},
        13: {("values", "case_status")},  # a rule over a value that is refused already says nothing more
        17: {("type", "open_dt")},
        19: {("required", "case_enquiry_id")},
    }


# --- the run


def test_every_row_of_the_file_is_accounted_for(boston: Boston) -> None:
    counts = boston.document["feeds"][FEED]
    assert counts["received"] == ROWS == boston.counted("select count(*) from request")[0][0]
    assert counts["accepted"] + counts["refused"] + counts["duplicate"] + counts["waiting"] == ROWS
    # The file breaks no rule that refuses: counted over the file as the contract words its rules.
    broken = """
        select count(*) from request
        where closed_dt <> '' and closed_dt < open_dt
            or (case_status = 'Closed') <> (closed_dt <> '')
            or latitude::double not between 42.2 and 42.45 or longitude::double not between -71.25 and -70.8
            or not regexp_full_match(case_enquiry_id, '1010[0-9]{8}')
    """
    assert counts["refused"] == boston.counted(broken)[0][0] == 0
    assert [reason for reason in boston.document["refusals"].get(FEED, {}) if not reason.startswith("warning:")] == []
    assert boston.rows(f"select count(*), count(distinct case_enquiry_id) from {{bronze.{FEED}}}") == [(ROWS, ROWS)]


def test_the_receipt_counts_the_deadlines_that_lie_before_their_opening(boston: Boston) -> None:
    warned = boston.counted("select count(*) from request where target_dt <> '' and target_dt < open_dt")[0][0]
    assert warned == 3
    (reasons,) = boston.rows("select reasons from {ops.receipt} where feed = 'boston311__request'")[0]
    assert {key: n for key, n in json.loads(reasons).items() if "target_after_opened" in key} == {"warning:target_after_opened": warned}


def test_the_runs_clock_is_the_midnight_after_the_last_opening(boston: Boston) -> None:
    assert boston.counted("select max(day) from request") == [(date(2011, 12, 31),)]
    assert boston.document["as_of"] == "2012-01-01T05:00:00+00:00", "closings run on to 2019 and must not carry the clock along"


def test_the_overview_counts_every_department_and_neighbourhood_as_the_file_does(boston: Boston) -> None:
    counted = boston.counted("""
        with place as (
            select 'boston' as region_code, * from request
            union all select department, * from request
            union all select place, * from request where place <> department
        )
        select
            region_code, count(*), count_if(is_open), count_if(is_overdue),
            count_if(day between date '2011-12-25' and date '2011-12-31'), count_if(day between date '2011-12-18' and date '2011-12-24')
        from place group by region_code order by region_code
    """)
    shown = boston.rows("""
        select region_code, event_count, open_count, overdue_count, event_count_7d, event_count_previous_7d
        from {mart.region_overview} where region_system = 'us-boston' and event_count > 0 order by region_code
    """)
    assert shown == counted
    assert shown[[r[0] for r in shown].index("boston")][:3] == ("boston", ROWS, 3681)


def test_events_of_each_day_and_class_are_those_of_the_file(boston: Boston) -> None:
    document = yaml.safe_load((CONTRACTS / "boston311" / "request.odcs.yaml").read_text(encoding="utf-8"))
    (mapping,) = (p["value"] for p in document["customProperties"] if p["property"] == "gridlake.map")
    codes = mapping["class_code"]["codes"]
    counted: dict[tuple[date, str], int] = {}
    for day, reason, number in boston.counted("select day, reason, count(*) from request group by all"):
        key = day, codes.get(reason, mapping["class_code"]["default"])
        counted[key] = counted.get(key, 0) + number
    assert {
        (d, c): n for d, c, n in boston.rows("select business_date, class_code, sum(event_count) from {mart.event_daily} group by all")
    } == counted
    classes = {code for code, name in boston.rows("select class_code, class_name from {mart.event_class}") if name}
    assert {c for _, c in counted} <= classes, "every class that occurs has a name to show"


def test_handling_times_are_right_through_the_hour_that_came_twice(boston: Boston) -> None:
    texts = boston.truth.execute("select case_enquiry_id, open_dt, closed_dt from request where closed_dt <> ''").df()
    # ambiguous=True reads the repeated hour as daylight saving time, the earlier of the two.
    utc = {
        name: pd.to_datetime(texts[name]).dt.tz_localize("America/New_York", ambiguous=[True] * len(texts)).dt.tz_convert("UTC")
        for name in ("open_dt", "closed_dt")
    }
    minutes = (utc["closed_dt"] - utc["open_dt"]) // pd.Timedelta(minutes=1)
    expected = dict(zip(texts["case_enquiry_id"], minutes.astype(int), strict=True))
    found = dict(boston.rows("select local_id, handling_minutes from {business.event} where handling_minutes is not null"))
    assert found == expected
    assert min(found.values()) == 0, "nothing is closed before it was opened"
    assert found["101000350980"] == 90, "opened at 23:41:22, closed at 01:11:52 in the first pass of the hour"
    night = boston.rows("select local_id, strftime(reported_at, '%H:%M:%S') from {business.event} where local_id in ('101000350986', '101000350990')")
    assert dict(night) == {"101000350986": "05:09:48", "101000350990": "07:59:56"}
    assert boston.rows("select sum(handling_minutes_sum), sum(handling_count) from {mart.event_daily}") == [(sum(expected.values()), len(expected))]


def test_positions_are_the_files_and_city_hall_is_no_place(boston: Boston) -> None:
    counted = boston.counted("""
        select case_enquiry_id, round(longitude::double, 4), round(latitude::double, 4) from request
        where not (latitude = '42.3594' and longitude = '-71.0587') order by 1
    """)
    found = boston.rows("select local_id, round(longitude, 4), round(latitude, 4) from {business.event} where longitude is not null order by 1")
    assert len(found) == 53_476
    assert found == counted


def test_no_home_and_no_phone_is_left_in_a_table(boston: Boston) -> None:
    tables = Tables(boston.home / "tables")
    own = boston.counted("select case_enquiry_id, location_street_name from request where length(location_street_name) > 1")
    texts = dict(boston.rows(f"select case_enquiry_id, coalesce(closure_reason, '') || case_title from {{bronze.{FEED}}}"))
    assert [case for case, street in own if street in texts[case]] == []
    phone = re.compile(r"[2-9][0-9]{2}\)?[-. ][2-9][0-9]{2}[-. ][0-9]{4}")
    assert [case for case, text in texts.items() if phone.search(text)] == []
    for name in tables.names():
        if name.startswith(("mart.", "sharing.", "finding.", "factor.")):
            assert not [c for c in tables.schema(name).names if c.endswith(("_sealed", "_token"))], name


def report(boston: Boston, kind: str) -> Path:
    (path,) = (Path(p) for p in boston.document["reports"] if Path(p).name == f"weekly-boston-2011-W51.{kind}")
    return path


def archive(boston: Boston) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((report(boston, "docx").parent / "archive.json").read_text(encoding="utf-8"))
    return found


def test_the_weekly_report_of_the_last_whole_week_says_what_the_file_says(boston: Boston) -> None:
    week, before = "day between date '2011-12-19' and date '2011-12-25'", "day between date '2011-12-12' and date '2011-12-18'"
    ((events, closed, overdue, previous),) = boston.counted(
        f"select count_if({week}), count_if({week} and not is_open), count_if({week} and is_overdue), count_if({before}) from request"
    )
    results = archive(boston)["results"]
    numbers = {row["which"]: row for row in results["numbers"]}
    shown = tuple(numbers["now"][name] for name in ("event_count", "closed_count", "overdue_count"))
    assert (*shown, numbers["before"]["event_count"]) == (events, closed, overdue, previous)
    ranked = boston.counted(f"select department, count_if({week}), count_if({before}) from request group by 1")
    assert {(r["region_code"], r["event_count"], r["before_count"]) for r in results["ranking"]} == set(ranked)

    printed = "\n".join(p.text for p in Document(str(report(boston, "docx"))).paragraphs)
    html = report(boston, "html").read_text(encoding="utf-8")
    assert events > 1000
    for text in (printed, html):
        assert "City of Boston" in text
        assert f"{events:,}" in text
        assert "12月19日至12月25日" in text


def test_the_report_says_how_many_departments_reported(boston: Boston) -> None:
    reported = boston.counted("select count(distinct department) from request where day between date '2011-12-19' and date '2011-12-25'")[0][0]
    completeness = archive(boston)["results"]["completeness"]
    assert len(completeness) == 11
    assert len([r for r in completeness if r["event_count"]]) == reported


def test_the_interface_drills_from_the_city_to_a_neighbourhood(boston: Boston) -> None:
    dorchester = boston.counted("select count(*) from request where place = 'PWDx/Dorchester'")[0][0]
    with TestClient(create_app(Settings(home=boston.home))) as client:
        codes = ["boston", "PWDx", "PWDx/Dorchester"]
        answers = [client.get(f"/regions/{quote(code, safe='')}") for code in codes]
        assert [a.status_code for a in answers] == [200, 200, 200]
        city, works, neighbourhood = (a.json() for a in answers)
    assert city["region"]["event_count"] == ROWS
    assert {c["region_code"] for c in city["children"]} >= {"PWDx", "ISD", "No Q"}
    assert [p["region_code"] for p in neighbourhood["path"]] == codes
    assert neighbourhood["region"]["event_count"] == dorchester
    assert dorchester in [c["event_count"] for c in works["children"]]


@pytest.mark.deep
def test_a_second_run_accepts_nothing_and_ends_in_the_same_tables(boston: Boston) -> None:
    before = content(boston.home)
    again = run(boston.inbox, boston.home)
    assert again["feeds"][FEED]["accepted"] == again["feeds"][FEED]["received"] == 0
    assert again["feeds"][FEED]["already_landed"] == 1
    assert differing(before, content(boston.home)) == {}
    one, other = (json.loads((Path(d["snapshot"]["path"]) / "manifest.json").read_text(encoding="utf-8")) for d in (boston.document, again))
    changed = {name for name in one if one[name] != other[name]} - {"run_id", "created_at", "files"}
    assert changed == set(), "the same cut and the same code are the same snapshot"
    assert again["snapshot"]["id"] == boston.document["snapshot"]["id"]
    assert again["tables"] == boston.document["tables"]
    assert sorted(again["reports"]) == sorted(boston.document["reports"])
