"""Maintenance: small files become large, old rows go by contract, and what a run or a snapshot names stays readable."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from click.testing import CliRunner

from gridlake import cli, maintenance, runs, transform
from gridlake.contracts import ContractError, load
from gridlake.settings import Settings
from gridlake.tables import Change, Tables
from tests.streaming.conftest import DECLARATIONS, NOW, Lake, visit

NAME = "bronze.city__feed"
SCHEMA = pa.schema([("key", pa.string()), ("_received_at", pa.timestamp("us", "UTC"))])
FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
AT_ONCE = timedelta(0)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """A table of ten commits of a row each, a day apart; the app `log` is at 9."""
    tables = Tables(tmp_path / "lake" / "tables")
    tables.ensure(NAME, SCHEMA)
    for day in range(10):
        append(tables, day)
    return tables


def append(tables: Tables, day: int) -> None:
    row = pa.table({"key": [f"{day}"], "_received_at": [FIRST_DAY + timedelta(days=day)]}, schema=SCHEMA)
    tables.append(NAME, row, {"log": day})


def keys(tables: Tables, version: int | None = None) -> list[int]:
    return sorted(map(int, tables.read(NAME, version=version).column("key").to_pylist()))


def data_files(tables: Tables) -> int:
    return len(list(tables.path(NAME).glob("*.parquet")))


def log(tables: Tables) -> Path:
    return tables.path(NAME) / "_delta_log"


# --- compaction


def test_small_files_become_one_and_rows_resume_point_and_old_versions_stay(tables: Tables) -> None:
    done = tables.compact(NAME)
    assert (done.files_removed, done.files_added, done.conflicts) == (10, 1, 0)
    assert len(tables.files(NAME)) == 1
    assert keys(tables) == list(range(10))
    assert keys(tables, 5) == list(range(5))
    assert Tables(tables.root).resume_point(NAME, "log") == 9
    append(tables, 10)
    assert keys(tables) == list(range(11))


def test_after_it_an_increment_still_knows_what_is_new(tables: Tables, tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: gridlake", encoding="utf-8")
    known = tables.version(NAME)
    (tmp_path / "stage.built.json").write_text(json.dumps({"project": "", "cut": {NAME: known}}), encoding="utf-8")

    def since() -> dict[str, str]:
        run = SimpleNamespace(tables=tables, cut={NAME: tables.version(NAME)}, as_of=FIRST_DAY)
        return transform._History(tmp_path, "stage", run).arrived_since()  # type: ignore[arg-type]

    tables.compact(NAME)
    assert since() == {"city__feed": ""}
    append(tables, 10)
    append(tables, 11)
    assert since() == {"city__feed": "2026-01-11 00:00:00.000000"}
    # Neither the file nor the commit that brought a row need be there for ever; then all rows count as new.
    Path(next(files for _, files in tables.appended_files(NAME, known, tables.version(NAME)))[0]).unlink()
    assert since() == {}


def test_a_few_small_files_are_left_alone(tables: Tables) -> None:
    tables.compact(NAME)
    append(tables, 10)
    assert tables.compact(NAME) == Change()


def test_landers_and_another_maintenance_beside_it_lose_nothing(tables: Tables) -> None:
    failed: list[Exception] = []
    landed = threading.Event()

    def land() -> None:
        own = Tables(tables.root)
        try:
            for day in range(10, 50):
                append(own, day)
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(error)
        landed.set()

    def compact() -> None:
        own, done = Tables(tables.root), []
        try:
            while not landed.is_set():
                done.append(own.compact(NAME))
        except Exception as error:  # noqa: BLE001 - told by the test
            failed.append(error)
        changes.append(sum(done, Change()))

    changes: list[Change] = []
    threads = [threading.Thread(target=work) for work in (land, compact, compact)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert sum(change.files_removed for change in changes) > 10
    assert keys(Tables(tables.root)) == list(range(50))
    assert tables.resume_point(NAME, "log") == 49


@pytest.mark.parametrize("moment", ["table.before_replacing", "table.after_replacing"])
def test_killed_while_it_compacts_it_loses_nothing(tables: Tables, moment: str) -> None:
    program = f"from pathlib import Path; from gridlake.tables import Tables; Tables(Path({str(tables.root)!r})).compact({NAME!r})"
    killed = subprocess.run([sys.executable, "-c", program], env={**os.environ, "GRIDLAKE_KILL_AT": moment}, check=False)
    assert killed.returncode == -signal.SIGKILL
    again = Tables(tables.root)
    assert keys(again) == list(range(10))
    again.compact(NAME)
    assert keys(again) == list(range(10))
    assert len(again.files(NAME)) == 1


def test_files_lack_a_column_that_came_later(tables: Tables) -> None:
    tables.ensure(NAME, SCHEMA.append(pa.field("grid", pa.string())))
    assert tables.compact(NAME).files_removed == 10
    assert tables.read(NAME).column("grid").to_pylist() == [None] * 10


# --- retention


def test_rows_past_their_retention_go_and_are_not_landed_again(tables: Tables) -> None:
    done = tables.forget(NAME, "_received_at", FIRST_DAY + timedelta(days=4))
    assert (done.rows_removed, done.files_removed, done.files_added) == (4, 4, 0)
    assert keys(tables) == list(range(4, 10))
    assert tables.resume_point(NAME, "log") == 9


def test_of_a_file_with_older_and_newer_rows_the_newer_stay(tables: Tables) -> None:
    tables.compact(NAME)
    done = tables.forget(NAME, "_received_at", FIRST_DAY + timedelta(days=4))
    assert (done.rows_removed, done.files_removed, done.files_added) == (4, 1, 1)
    assert keys(tables) == list(range(4, 10))


def contract(folder: Path, retention: str) -> Path:
    path = folder / "expectations" / "contracts" / "office" / "visit.odcs.yaml"
    text = (DECLARATIONS / path.relative_to(folder)).read_text(encoding="utf-8")
    path.parent.mkdir(parents=True)
    path.write_text(text + f"  - {{property: gridlake.retention, value: {retention}}}\n", encoding="utf-8")
    return path


@pytest.mark.parametrize("wrong", ["30 days", "{receipt: 30 days}", "{bronze: a month}", "{bronze: 1 days}"])
def test_a_retention_that_cannot_be_is_refused(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ContractError, match=r"gridlake\.retention"):
        load(contract(tmp_path, wrong))


# --- what nothing names


def test_files_go_that_no_kept_version_is_made_of(tables: Tables) -> None:
    version = tables.version(NAME) - 2
    tables.compact(NAME)
    append(tables, 10)
    assert tables.sweep(NAME, {version}, AT_ONCE, dry_run=True).files_swept == 2
    assert data_files(tables) == 12
    assert tables.sweep(NAME, {version}, AT_ONCE).files_swept == 2
    assert keys(tables, version) == list(range(8))
    assert keys(tables) == list(range(11))


def test_files_that_a_killed_writer_left_go_and_those_of_a_writer_under_way_stay(tables: Tables) -> None:
    orphan = tables.path(NAME) / "part-orphan.snappy.parquet"
    orphan.write_bytes(b"PAR1")
    (log(tables) / f"{11:020}.json#1").write_bytes(b"{}")
    assert tables.sweep(NAME, (), timedelta(hours=1)).files_swept == 0
    assert tables.sweep(NAME, (), AT_ONCE).files_swept == 2
    assert not orphan.exists()
    assert keys(tables) == list(range(10))


def test_what_was_replaced_lately_stays_for_who_reads_it_now(tables: Tables) -> None:
    tables.compact(NAME)
    for file in tables.path(NAME).glob("*.parquet"):
        os.utime(file, (0, 0))
    assert tables.sweep(NAME, (), timedelta(hours=1)).files_swept == 0
    assert keys(tables, 10) == list(range(10))


def test_commits_before_the_last_checkpoint_that_is_needed_go(tables: Tables) -> None:
    assert tables.checkpoint(NAME, 10)
    assert not tables.checkpoint(NAME, 10)
    append(tables, 10)
    assert tables.sweep(NAME, {3}, AT_ONCE).commits_removed == 0
    assert tables.sweep(NAME, (), timedelta(hours=1)).commits_removed == 0
    assert tables.sweep(NAME, (), AT_ONCE).commits_removed == 10
    again = Tables(tables.root)
    assert keys(again) == list(range(11))
    assert again.resume_point(NAME, "log") == 10
    append(again, 11)
    again.compact(NAME)
    assert again.sweep(NAME, (), AT_ONCE).files_swept > 0
    assert keys(Tables(tables.root)) == list(range(12))


# --- the command


def test_the_command_keeps_what_runs_and_snapshots_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maintenance, "GRACE", AT_ONCE)
    lake = Lake(tmp_path)
    contract(tmp_path / "project", "{bronze: 30 days, quarantine: 10 days}")
    for number in range(6):
        lake.put(f"{number}.jsonl", [visit(number), visit(100 + number, source_version="x"), {"visit_id": "V1", "note": "a" * (1 << 20)}])
        lake.land(NOW + timedelta(days=number * 8))
    named = lake.tables.version("bronze.office__visit") - 2
    entry = {"run_id": "r", "received_at": NOW.isoformat(), "cut": {"bronze.office__visit": named}, "as_of": None, "steps": {}, "footprints": {}}
    for other in (lake.home / "runs").iterdir():
        other.unlink()
    (lake.home / "runs" / "r.json").write_text(json.dumps(entry), encoding="utf-8")
    built = lake.home / "dbt" / "stage.built.json"
    built.parent.mkdir()
    built.write_text("{}", encoding="utf-8")
    blobs = sorted((lake.home / "quarantine_blobs").rglob("*.sealed"))
    assert len(blobs) == 6

    plan = maintain(lake, "--dry-run")
    assert built.exists()
    assert len(lake.bronze()) == 6
    done = maintain(lake)

    assert plan["tables"]["bronze.office__visit"]["rows_removed"] == 2  # 40 and 32 days old
    assert done["tables"]["bronze.office__visit"]["rows_removed"] == 2
    assert len(lake.bronze()) == 4
    assert not built.exists(), "an increment would keep what bronze has forgotten"
    assert lake.tables.read("bronze.office__visit", version=named).num_rows == 4, "the run's cut is as it was"
    assert len(lake.quarantine()) == 2 * 2  # of 0 and 8 days ago
    assert done["blobs_removed"] == 4
    assert all((lake.home / row["payload_ref"]).exists() for row in lake.quarantine() if row["payload_ref"])
    assert done["tables"]["ops.receipt"]["files_removed"] == 6, "receipts are compacted"
    assert len(lake.receipts()) == 6, "and kept"
    assert lake.land(NOW + timedelta(days=41))["feeds"]["office__visit"]["already_landed"] == 6

    entries = sorted(runs.entries(Settings(home=lake.home)), key=lambda entry: str(entry["received_at"]))
    ids = [entry["run_id"] for entry in entries]
    told = [lake.home / "lineage" / f"{run_id}.ndjson" for run_id in (*ids, "of another lake")]
    told[0].parent.mkdir()
    for path in told:
        path.touch()
    forgotten = maintain(lake, "--forget-days", "1")
    assert forgotten["kept"]["runs"] == 1, "that of the last landing"
    assert forgotten["lineage_removed"] == len(ids) - 1 > 0
    assert sorted(path.name for path in told if path.exists()) == sorted([f"{ids[-1]}.ndjson", "of another lake.ndjson"])
    assert forgotten["tables"]["bronze.office__visit"]["files_swept"] > 0


def maintain(lake: Lake, *options: str) -> dict[str, Any]:
    at = (NOW + timedelta(days=40)).strftime("%Y-%m-%dT%H:%M:%SZ")
    env = {"GRIDLAKE_PROJECT": str(lake.folder / "project")}
    done = CliRunner().invoke(cli.main, ["maintain", "--home", str(lake.home), "--as-of", at, *options, "--json"], env=env)
    assert done.exit_code == 0, done.output
    document: dict[str, Any] = json.loads(done.stdout)
    return document
