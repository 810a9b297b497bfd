"""A county is divided after a snapshot was published: what was published stays, and numbers before and after are read by old and by new codes."""

from __future__ import annotations

import csv
import hashlib
import json
from collections import Counter
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.e2e.conftest import Lake, copy_of, succeed

VOCABULARIES = Path(__file__).parents[2] / "expectations" / "vocabularies"
CITY, PROVINCE = "330100000000", "330000000000"
# The night before the first day of the division, and a week after it.
DIVIDED_ON, LATER = date(2026, 11, 2), "2026-11-09T00:00:00Z"
# Codes that no county has.
NEW = ("330191", "330192")
MARTS = "marts.duckdb"
# By the regions of a record's own day, or of a day for all.
COUNTED = """
    select ancestor_code, sum(event_count)::bigint
    from mart.event_daily as daily
    join mart.region_closure_history as above on daily.region_system = above.region_system and daily.region_code = above.region_code
        and {day} >= above.valid_from and (above.valid_to is null or {day} < above.valid_to)
    where ancestor_level = {level} and business_date {period}
    group by all"""


@dataclass(frozen=True)
class Division:
    """What is divided: the county's rows of the vocabulary, and each old code's new one."""

    county: str
    regions: list[dict[str, str]]
    renumbered: dict[str, str]

    @property
    def new_counties(self) -> list[str]:
        return [f"{code}000000" for code in NEW]


def division(lake: Lake) -> Division:
    """The county of the city with the most events; its townships go to the one and the other new county in turn."""
    daily = lake.tables.read("business.event", columns=["region_code"]).column(0).to_pylist()
    counties = Counter(code[:6] for code in daily if code.startswith(CITY[:4]) and code[4:6] != "00")
    county = max(counties, key=lambda code: (len({c[:9] for c in daily if c.startswith(code)}) > 1, counties[code]))
    with (VOCABULARIES / "regions_cn.csv").open(encoding="utf-8") as file:
        regions = [row for row in csv.DictReader(file) if row["region_code"].startswith(county)]
    with_events = sorted({code[:9] for code in daily if code.startswith(county)})
    others = sorted({row["region_code"][:9] for row in regions if row["region_level"] == "4"} - set(with_events))
    new_county = {township: NEW[number % 2] for number, township in enumerate([*with_events, *others])}
    renumbered = {row["region_code"]: new_county[row["region_code"][:9]] + row["region_code"][6:] for row in regions if row["region_level"] > "3"}
    return Division(f"{county}000000", regions, renumbered)


def declare(folder: Path, divided: Division) -> Path:
    """The vocabulary with the new codes beside the old ones, as landing must know them."""
    rows = (VOCABULARIES / "regions_cn.csv").read_text(encoding="utf-8")
    names = {row["region_code"]: row["region_name"] for row in divided.regions}
    rows += "".join(f"cn,{code},新区{code[4:6]},3,{CITY}\n" for code in divided.new_counties)
    for row in divided.regions:
        if row["region_level"] > "3":
            new = divided.renumbered[row["region_code"]]
            rows += f"cn,{new},{names[row['region_code']]},{row['region_level']},{parent_of(new, row['region_level'])}\n"
    (folder / "vocabularies").mkdir(parents=True)
    (folder / "vocabularies" / "regions_cn.csv").write_text(rows, encoding="utf-8")
    return folder


def parent_of(code: str, level: str) -> str:
    return f"{code[:6]}000000" if level == "4" else f"{code[:9]}000"


def deliver(inbox: Path, lake: Lake, divided: Division) -> dict[str, int]:
    """The regions' ends and beginnings, the grids in their new villages, events of the days after; gives events by new county."""
    told = {"changed_at": datetime(2026, 11, 1, 8)}
    rows: list[dict[str, Any]] = []
    for row in divided.regions:
        level = int(row["region_level"])
        key = {"region_code": row["region_code"], "region_name": row["region_name"], "region_level": level, "parent_code": row["parent_code"]}
        rows.append({**key, "valid_from": date(2023, 12, 31), "valid_to": DIVIDED_ON, "source_version": 2, **told})
        if level > 3:
            new = divided.renumbered[row["region_code"]]
            key |= {"region_code": new, "parent_code": parent_of(new, row["region_level"])}
            rows.append({**key, "valid_from": DIVIDED_ON, "replaces_codes": row["region_code"], "source_version": 1, **told})
    for code in divided.new_counties:
        key = {"region_code": code, "region_name": f"新区{code[4:6]}", "region_level": 3, "parent_code": CITY}
        rows.append({**key, "valid_from": DIVIDED_ON, "replaces_codes": divided.county, "source_version": 1, **told})
    names = ["region_code", "region_name", "region_level", "parent_code", "valid_from", "valid_to", "replaces_codes", "source_version", "changed_at"]
    place(inbox, f"city_platform/region/{PROVINCE}/region-2026-11.parquet")
    pq.write_table(
        pa.table({name: [row.get(name) for row in rows] for name in names}), inbox / f"city_platform/region/{PROVINCE}/region-2026-11.parquet"
    )

    with (lake.inbox / f"city_platform/grid/{CITY}/grid-2026-09-full.csv").open(encoding="utf-8") as file:
        grids = {row["grid_id"]: row for row in csv.DictReader(file) if row["region_code"] in divided.renumbered}
    moved = [
        {**g, "region_code": divided.renumbered[g["region_code"]], "source_version": 99, "changed_at": "2026-11-02 02:00:00"} for g in grids.values()
    ]
    with place(inbox, f"city_platform/grid/{CITY}/grid-2026-11.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, moved[0])
        writer.writeheader()
        writer.writerows(moved)

    lines = [line for file in sorted((lake.inbox / f"city_platform/event/{CITY}").glob("*.jsonl")) for line in file.read_bytes().splitlines()]
    sent = [row for row in map(readable, lines) if row]
    models = {e["event_id"]: e for e in sent if e.get("region_code") in divided.renumbered and e.get("grid_id") in grids}
    accepted = set(lake.tables.read("business.event", columns=["local_id"]).column(0).to_pylist())
    after = []
    for number, model in enumerate([e for name, e in sorted(models.items()) if name in accepted][:12]):
        at = datetime(2026, 11, 4, 9) + timedelta(days=number % 5)
        clock = {"occurred_at": f"{at}", "reported_at": f"{at}", "deadline_at": f"{at + timedelta(days=3)}", "changed_at": f"{at}"}
        known = {"region_code": divided.renumbered[model["region_code"]], "state_code": "reported", "closed_at": None, "source_version": 1}
        after.append({**model, **clock, **known, "event_id": f"SJ20261104{number:06d}", "closing_note": None})
    place(inbox, f"city_platform/event/{CITY}/event-2026-w45.jsonl").write_text(
        "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in after), encoding="utf-8"
    )
    return dict(Counter(f"{row['region_code'][:6]}000000" for row in after))


def readable(line: bytes) -> dict[str, Any] | None:
    """The row, where the line is not one of the simulator's broken ones."""
    try:
        row: dict[str, Any] = json.loads(line)
    except ValueError:
        return None
    return row


def place(inbox: Path, name: str) -> Path:
    (inbox / name).parent.mkdir(parents=True)
    return inbox / name


@dataclass(frozen=True)
class Divided:
    """The lake after the second publication, both snapshots, and how many events each new county has had."""

    lake: Lake
    division: Division
    first: Path
    digest: str
    new_events: dict[str, int]

    def count(self, snapshot: Path, query: str) -> dict[str, int]:
        with duckdb.connect(str(snapshot / MARTS), read_only=True) as marts:
            return dict(marts.sql(query).fetchall())

    @property
    def second(self) -> Path:
        return Path(self.lake.document["snapshot"]["path"])


@pytest.fixture(scope="module")
def divided(lake: Lake, tmp_path_factory: pytest.TempPathFactory) -> Divided:
    """Published, divided, published again."""
    folder = tmp_path_factory.mktemp("divided")
    home, inbox = copy_of(lake, folder), folder / "inbox"
    first = home / "snapshots" / Path(lake.document["snapshot"]["path"]).name
    digest = hashlib.sha256((first / MARTS).read_bytes()).hexdigest()
    cut = division(lake)
    new_events = deliver(inbox, lake, cut)
    document = succeed("run", "--input", inbox, "--home", home, "--contracts", declare(folder / "declared", cut), "--as-of", LATER)
    return Divided(Lake(home, inbox, document), cut, first, digest, new_events)


def published(divided: Divided, level: int) -> dict[str, int]:
    """What the first snapshot said of events, by region of a level."""
    return divided.count(
        divided.first,
        f"""select ancestor_code, sum(event_count)::bigint from mart.event_daily join mart.region_closure using (region_system, region_code)
            where ancestor_level = {level} group by all""",
    )


def test_everything_that_tells_of_the_division_is_accepted(divided: Divided) -> None:
    feeds = divided.lake.document["feeds"]
    assert all(counts["refused"] == counts["waiting"] == 0 for counts in feeds.values()), feeds
    assert divided.lake.document["checks"]["critical_failed"] == 0
    assert len(divided.new_events) == 2


def test_what_was_published_stays_as_it_was(divided: Divided) -> None:
    assert divided.second != divided.first
    assert hashlib.sha256((divided.first / MARTS).read_bytes()).hexdigest() == divided.digest


@pytest.mark.parametrize("level", [1, 2, 3, 4, 5])
def test_the_years_before_read_by_the_regions_of_their_days_are_as_published(divided: Divided, level: int) -> None:
    query = COUNTED.format(day="business_date", level=level, period=f"< date '{DIVIDED_ON}'")
    assert divided.count(divided.second, query) == published(divided, level)


def test_both_sides_of_the_division_are_read_by_its_new_codes(divided: Divided) -> None:
    before, after = (
        divided.count(divided.second, COUNTED.format(day="date '2026-11-08'", level=3, period=f"{sign} date '{DIVIDED_ON}'")) for sign in ("<", ">=")
    )
    assert {code: after[code] for code in divided.division.new_counties} == divided.new_events
    # Which villages went where, counted by the snapshot that knew of no division.
    expected: Counter[str] = Counter()
    for village, count in published(divided, 5).items():
        if village in divided.division.renumbered:
            expected[f"{divided.division.renumbered[village][:6]}000000"] += count
    assert {code: before.get(code, 0) for code in divided.division.new_counties} == dict(expected)
    assert divided.division.county not in before | after


def test_both_sides_of_the_division_are_read_by_its_old_code(divided: Divided) -> None:
    day_before = f"date '{DIVIDED_ON - timedelta(days=1)}'"
    before, after = (
        divided.count(divided.second, COUNTED.format(day=day_before, level=3, period=f"{sign} date '{DIVIDED_ON}'")) for sign in ("<", ">=")
    )
    assert before == published(divided, 3)
    assert after[divided.division.county] == sum(divided.new_events.values())
    assert not set(divided.division.new_counties) & set(before | after)


def test_the_change_says_what_share_of_the_county_went_where(divided: Divided) -> None:
    with duckdb.connect(str(divided.second / MARTS), read_only=True) as marts:
        rows = marts.sql(f"""select new_code, change_code, village_share, resident_share, resident_count from mart.region_change
            where old_code = '{divided.division.county}' order by new_code""").fetchall()
    assert [(row[0], row[1]) for row in rows] == [(code, "split") for code in divided.division.new_counties]
    assert sum(row[2] for row in rows) == pytest.approx(1)
    assert sum(row[3] for row in rows) == pytest.approx(1)
    assert all(row[4] > 0 for row in rows)


def test_a_grids_code_survives_the_division_of_its_county(divided: Divided, lake: Lake) -> None:
    before, after = (
        dict(zip(*lake_of.tables.read("resolved.grid_code").select(["grid_id", "grid_code"]).to_pydict().values(), strict=True))
        for lake_of in (lake, divided.lake)
    )
    assert after == before
