"""Publication: the same content is the same snapshot, a switch is all or nothing, readers keep what they opened."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gridlake.contracts.staging import MONTH
from gridlake.privacy import PERSONS
from gridlake.quality import PublicationStopped
from gridlake.runs import Run
from gridlake.settings import CHECKOUT, Settings
from serving.publish import code_digest, publish
from serving.snapshots import NoSnapshot, Snapshots
from tests.serving import province

Marts = dict[str, pa.Table]


@pytest.fixture
def small(marts: Marts) -> Marts:
    """The marts without the 27,000 regions: enough to publish."""
    cities = pc.less_equal(marts["region"]["region_level"], 2)
    return marts | {
        "region": marts["region"].filter(cities),
        "region_overview": marts["region_overview"].filter(pc.less_equal(marts["region_overview"]["region_level"], 2)),
        "region_closure": marts["region_closure"].filter(pc.less_equal(marts["region_closure"]["region_level"], 2)),
        "team_staffing": marts["team_staffing"].slice(0, 10),
    }


@pytest.fixture
def run(small: Marts, tmp_path: Path) -> Run:
    return province.run_over(tmp_path / "lake", small)


def _state(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in folder.rglob("*") if p.is_file()}


def test_a_snapshot_holds_every_row_of_every_mart(published: Run, marts: Marts) -> None:
    snapshot = Snapshots(published.settings.home).open()
    assert snapshot.tables == sorted(marts)
    # What counts persons is published otherwise: the next test.
    for name, table in ((name, table) for name, table in marts.items() if PERSONS not in table.column_names):
        with duckdb.connect(str(snapshot.folder / "marts.duckdb"), read_only=True) as database:
            database.register("given", table)
            lost = database.sql(f"select * from given except all select * from mart.{name}").fetchall()
            added = database.sql(f"select * from mart.{name} except all select * from given").fetchall()
            assert (lost, added) == ([], []), name
            assert snapshot.manifest.tables[f"mart.{name}"]["rows"] == table.num_rows


def test_a_mart_that_counts_persons_is_published_without_small_numbers(small: Marts, tmp_path: Path) -> None:
    cities = {"330100000000": 3, "330200000000": 9, "330300000000": 50}
    counts = [{"region_system": "cn", "region_code": city, "person_type_code": "drug", "person_count": n} for city, n in cities.items()]
    run = province.run_over(tmp_path / "lake", small | {"key_person_current": pa.Table.from_pylist(counts)})
    publish(run)
    with duckdb.connect(str(Snapshots(run.settings.home).open().folder / "marts.duckdb"), read_only=True) as database:
        told = database.sql("select region_code, person_type_code, person_count, is_suppressed from mart.key_person_current").fetchall()
    assert told == [
        ("330000000000", "drug", 62, False),
        ("330100000000", None, None, True),
        ("330200000000", None, None, True),  # 62 - 9 - 50 would be 3
        ("330300000000", "drug", 50, False),
    ]


def test_the_manifest_says_what_the_snapshot_was_made_of(published: Run) -> None:
    folder = Snapshots(published.settings.home).open().folder
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["snapshot_id"] == folder.name
    assert manifest["snapshot_id"].startswith("20260302-")
    assert manifest["run_id"] == published.run_id
    assert manifest["as_of"] == "2026-03-02T16:00:00+00:00"
    assert manifest["cut"] == {"bronze.city_platform__event": 0}
    assert manifest["tables"]["bronze.city_platform__event"] == {"version": 0, "rows": 0}
    assert manifest["contracts"]["town_hall__request"] == "2.1.0"
    assert manifest["models"] == {"invalid_event": "1.0.0"}
    assert manifest["checks"] == {"passed": 12, "failed": 1}
    assert manifest["region_systems"] == {
        "cn": {"time_zone": "Asia/Shanghai", "open_date": "2026-03-03"},
        "town": {"time_zone": "America/New_York", "open_date": "2026-03-02"},
    }
    assert set(manifest["files"]) == {"marts.duckdb", "dictionary.json"}


def test_the_same_content_is_the_same_snapshot_and_nothing_is_written_again(run: Run, small: Marts) -> None:
    first = publish(run)
    before = _state(run.settings.home / "snapshots")
    version = run.tables.version("mart.event_daily")
    turned = {name: table.take(pa.array(range(table.num_rows))[::-1]) for name, table in small.items()}
    again = publish(province.run_over(run.settings.home, turned))
    assert run.tables.version("mart.event_daily") > version, "rebuilt, with the same rows in another order"
    assert again["snapshot"] == {**first["snapshot"], "is_new": False}
    assert _state(run.settings.home / "snapshots") == before


@pytest.mark.parametrize("change", ["a row", "the clock", "the cut", "a contract"])
def test_other_content_is_another_snapshot(run: Run, small: Marts, tmp_path: Path, change: str) -> None:
    first = publish(run)["snapshot"]["id"]
    other = run
    if change == "a row":
        other = province.run_over(run.settings.home, small | {"event_daily": small["event_daily"].slice(1)})
    elif change == "the clock":
        assert run.as_of is not None
        other.as_of = run.as_of.replace(hour=17)
    elif change == "the cut":
        run.tables.append("bronze.city_platform__event", pa.table({"event_id": ["E1"]}))
        other.cut = {"bronze.city_platform__event": 1}
    else:
        contracts = tmp_path / "contracts"
        shutil.copytree(province.CONTRACTS, contracts)
        path = contracts / "town_hall" / "request.odcs.yaml"
        path.write_text(path.read_text(encoding="utf-8").replace("市民来件", "市民来信"), encoding="utf-8")
        other = province.checked(Run.start(run.settings.model_copy(update={"contracts": contracts}), quiet=True))
    assert publish(other)["snapshot"]["id"] != first
    assert len([p for p in (run.settings.home / "snapshots").iterdir() if p.is_dir() and not p.is_symlink()]) == 2


def test_a_reader_keeps_the_snapshot_that_it_opened(run: Run, small: Marts) -> None:
    publish(run)
    snapshots = Snapshots(run.settings.home)
    held = snapshots.open()
    count = "select sum(event_count)::bigint as n from mart.event_daily"
    before = held.row(count)
    publish(province.run_over(run.settings.home, small | {"event_daily": small["event_daily"].slice(0, 5)}))
    now = snapshots.open()
    assert now.id != held.id
    assert held.row(count) == before
    assert now.row(count) != before
    assert Snapshots(run.settings.home).open(held.id).row(count) == before, "the old snapshot stays for those who name it"


def test_a_failed_critical_check_stops_publication_and_leaves_the_current_snapshot(run: Run, small: Marts) -> None:
    first = publish(run)["snapshot"]["id"]
    broken = province.run_over(run.settings.home, small | {"event_daily": small["event_daily"].slice(1)})
    failure = {"table": "mart.event_daily", "column": None, "severity": "critical", "title": "键唯一", "expectation": "unique", "observed": "2 rows"}
    broken.steps["check"] = {"checks": {"passed": 1, "failed": 1, "critical_failed": 1}, "failures": [failure], "page": "index.html"}
    with pytest.raises(PublicationStopped, match=r"mart\.event_daily.*unique"):
        publish(broken)
    assert Snapshots(run.settings.home).current() == first


def test_a_run_that_was_not_checked_is_not_published(run: Run) -> None:
    del run.steps["check"]
    with pytest.raises(PublicationStopped, match="gridlake check --run-id"):
        publish(run)
    with pytest.raises(NoSnapshot):
        Snapshots(run.settings.home).current()


def test_a_mart_that_this_run_did_not_build_is_not_published(run: Run) -> None:
    del run.steps["mart"]["tables"]["mart.refusal"]
    publish(run)
    assert "refusal" not in Snapshots(run.settings.home).open().tables


def test_a_run_without_marts_is_not_published(run: Run) -> None:
    run.steps["mart"] = {"tables": {}}
    with pytest.raises(PublicationStopped, match="marts built by this run"):
        publish(run)


def test_an_empty_mart_keeps_its_columns(small: Marts, tmp_path: Path) -> None:
    run = province.run_over(tmp_path / "lake", small | {"finding": small["finding"].slice(0, 0)})
    publish(run)
    described = Snapshots(run.settings.home).open().rows("select column_name, data_type from duckdb_columns() where table_name = 'finding'")
    assert [c["column_name"] for c in described] == small["finding"].column_names
    assert {c["column_name"]: c["data_type"] for c in described}["score"] == "DOUBLE"


_PUBLISH = """
import sys
from datetime import timedelta
from pathlib import Path
from gridlake.runs import Run
from serving.publish import publish
from tests.serving import province
publish(province.checked(Run.start(province.settings(Path(sys.argv[1])), quiet=True)))
"""


def _publish_in_a_process(home: Path, **environment: str) -> int:
    return subprocess.run([sys.executable, "-c", _PUBLISH, str(home)], cwd=CHECKOUT, env=os.environ | environment, check=False).returncode


@pytest.mark.parametrize("moment", ["publish.before_switch", "publish.after_switch"])
def test_a_publication_killed_at_the_switch_is_finished_by_the_next(run: Run, small: Marts, moment: str) -> None:
    first = publish(run)["snapshot"]["id"]
    home = run.settings.home
    province.run_over(home, small | {"event_daily": small["event_daily"].slice(7)})
    assert _publish_in_a_process(home, GRIDLAKE_KILL_AT=moment) == -signal.SIGKILL
    seen = Snapshots(home).open()
    assert (seen.id == first) == (moment == "publish.before_switch")
    assert seen.row("select count(*) as n from mart.event_daily") is not None, "what readers see is whole at every moment"
    assert _publish_in_a_process(home) == 0
    row = Snapshots(home).open().row("select count(*)::bigint as n from mart.event_daily")
    assert row == {"n": small["event_daily"].num_rows - 7}


def test_what_an_unfinished_publication_left_is_no_snapshot(run: Run) -> None:
    left = run.settings.home / "snapshots" / ".unfinished"
    left.mkdir(parents=True)
    (left / "marts.duckdb").write_bytes(b"half")
    publish(run)
    assert not left.exists()
    assert len(Snapshots(run.settings.home).manifests()) == 1


def test_the_code_digest_tells_declarations_apart(tmp_path: Path) -> None:
    one = code_digest(Settings(home=tmp_path / "lake"))
    assert one == code_digest(Settings(home=tmp_path / "another"))
    assert one != code_digest(Settings(home=tmp_path / "lake", contracts=province.CONTRACTS))


def test_publication_writes_a_dictionary_page_for_every_contract(published: Run) -> None:
    folder = published.settings.home / "docs" / "dictionary"
    assert {p.stem for p in folder.glob("*.html")} == {*published.contracts, "index"}
    page: Any = (folder / "town_hall__request.html").read_text(encoding="utf-8")
    assert "市民来件" in page


def _by_month(table: pa.Table) -> pa.Table:
    return table.append_column(MONTH, pc.strftime(table.column("business_date"), format="%Y-%m"))


def _run_of_months(home: Path, small: Marts, daily: pa.Table, months: list[str]) -> Run:
    run = province.run_over(home, {name: table for name, table in small.items() if name != "event_daily"})
    rows = _by_month(daily)
    run.tables.overwrite_parts("mart.event_daily", rows.filter(pc.is_in(rows.column(MONTH), pa.array(months))), MONTH, months)
    return province.checked(run)


def _published_days(home: Path) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(Snapshots(home).open().folder / "marts.duckdb"), read_only=True) as database:
        return database.sql("select * from mart.event_daily").fetchall()


def test_a_month_that_stays_is_taken_from_the_last_snapshot_and_a_changed_one_written_anew(small: Marts, tmp_path: Path) -> None:
    daily = small["event_daily"]
    a_year_before = pc.cast(pc.subtract(daily.column("business_date"), pa.scalar(timedelta(days=365))), pa.date32())
    both = pa.concat_tables([daily.set_column(0, "business_date", a_year_before), daily])
    months = sorted(set(_by_month(both).column(MONTH).to_pylist()))
    home, other = tmp_path / "lake", tmp_path / "other"
    publish(_run_of_months(home, small, both, months))
    assert sorted(_published_days(home)) == sorted(tuple(row.values()) for row in both.to_pylist())

    newest = max(daily.column("business_date").to_pylist())
    less = both.filter(pc.not_equal(both.column("business_date"), pa.scalar(newest)))
    assert 0 < less.num_rows < both.num_rows
    run = _run_of_months(home, small, less, [f"{newest:%Y-%m}"])
    for path in run.tables.files_by_part("mart.event_daily")[months[0]]:
        Path(path).unlink()  # need not be read again
    increment = publish(run)
    anew = publish(_run_of_months(other, small, less, months))
    assert increment["snapshot"]["id"] == anew["snapshot"]["id"]
    assert _published_days(home) == _published_days(other)


def test_months_of_a_snapshot_that_cannot_be_read_are_written_anew(small: Marts, tmp_path: Path) -> None:
    home, daily = tmp_path / "lake", small["event_daily"]
    months = sorted(set(_by_month(daily).column(MONTH).to_pylist()))
    publish(_run_of_months(home, small, daily, months))
    (Snapshots(home).folder / "current" / "marts.duckdb").write_bytes(b"half")
    publish(_run_of_months(home, small, daily.slice(1), months))
    assert len(_published_days(home)) == daily.num_rows - 1
