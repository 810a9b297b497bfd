"""The run ledger: the cut, the data's clock, resuming by id, and one writer at a time."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gridlake.contracts import Contract
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA, bronze_schema
from gridlake.runs import Run, RunError, entries, ledger, only_writer
from gridlake.settings import Settings
from gridlake.tables import Tables

BOSTON = Path(__file__).parent.parent / "realdata" / "contracts"
EVENT, STEP, REQUEST = "city_platform__event", "city_platform__event_step", "boston311__request"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "lake", contracts=BOSTON)


def land(settings: Settings, feed: str, *rows: dict[str, Any]) -> Contract:
    """Rows in the bronze table of a feed; columns not given are null."""
    contract = Run.start(settings).contracts[feed]
    tables, schema, name = Tables(settings.tables), bronze_schema(contract), f"bronze.{feed}"
    tables.ensure(name, schema)
    tables.append(name, pa.Table.from_pylist([dict.fromkeys(schema.names) | row for row in rows], schema))
    return contract


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc]


def test_settings_of_another_home_have_its_tables_and_its_keys(settings: Settings) -> None:
    assert settings.tables == settings.home / "tables"
    other = settings.model_copy(update={"home": settings.home.with_name("other")})
    assert other.tables == other.home / "tables"
    assert other.keys == settings.home.with_name("other.keys.json"), "beside the lake, never in it"


# --- cut


def test_the_cut_names_every_landed_table_at_its_version_and_nothing_rebuilt(settings: Settings) -> None:
    land(settings, EVENT, {"event_id": "1"})
    land(settings, EVENT, {"event_id": "2"})
    tables = Tables(settings.tables)
    tables.ensure(f"quarantine.{EVENT}", QUARANTINE_SCHEMA)
    tables.ensure("ops.receipt", RECEIPT_SCHEMA)
    tables.ensure("ops.check_result", RECEIPT_SCHEMA)
    tables.ensure("staging.stg_event", RECEIPT_SCHEMA)
    cut = Run.start(settings).take_cut()
    assert cut == {f"bronze.{EVENT}": 2, f"quarantine.{EVENT}": 0, "ops.receipt": 0}


def test_a_cut_stays_when_the_tables_go_on(settings: Settings) -> None:
    land(settings, EVENT, {"event_id": "1"})
    run = Run.start(settings)
    cut = dict(run.take_cut())
    land(settings, EVENT, {"event_id": "2"})
    assert Run.resume(settings, run.run_id).cut == cut
    assert run.tables.row_count(f"bronze.{EVENT}", cut[f"bronze.{EVENT}"]) == 1


# --- clock


def as_of(settings: Settings) -> datetime | None:
    run = Run.start(settings)
    run.take_cut()
    return run.as_of


def test_now_is_the_midnight_in_the_feeds_zone_after_the_newest_report_or_change(settings: Settings) -> None:
    # 16:30 UTC is half past midnight of the next day in Shanghai.
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 2), "changed_at": utc(2026, 3, 1, 16, 30)}, {"reported_at": utc(2026, 2, 1)})
    assert as_of(settings) == utc(2026, 3, 2, 16)


def test_a_row_of_midnight_itself_belongs_to_the_day_that_begins(settings: Settings) -> None:
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 16)})
    assert as_of(settings) == utc(2026, 3, 2, 16)


def test_a_foreign_feeds_clock_is_the_column_that_it_maps_to_reported_at(settings: Settings) -> None:
    # Closed eight years later: changed_at is an expression there and must not carry the run's clock along.
    land(settings, REQUEST, {"open_dt": utc(2012, 1, 1, 4, 11, 6), "closed_dt": utc(2019, 10, 31, 19, 25)})
    assert as_of(settings) == utc(2012, 1, 1, 5)


def test_the_newest_of_all_feeds_counts(settings: Settings) -> None:
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 2)})
    land(settings, REQUEST, {"open_dt": utc(2026, 3, 5, 12)})
    assert as_of(settings) == utc(2026, 3, 6, 5)


@pytest.mark.parametrize("ahead", [datetime.now(UTC) + timedelta(days=400), utc(9999, 12, 31, 23, 59)])
def test_a_senders_clock_in_the_future_cannot_take_the_run_along(settings: Settings, ahead: datetime) -> None:
    land(settings, EVENT, {"reported_at": ahead})
    before = datetime.now(UTC)
    found = as_of(settings)
    assert found is not None
    assert before <= found <= datetime.now(UTC)


def test_a_lake_without_any_clock_is_as_of_its_receipt(settings: Settings) -> None:
    land(settings, EVENT, {"event_id": "1"})
    run = Run.start(settings)
    run.take_cut()
    assert run.as_of == run.received_at


def test_a_given_now_overrides_the_data(settings: Settings) -> None:
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 2)})
    given = settings.model_copy(update={"as_of": datetime.fromisoformat("2026-02-01T08:00:00+08:00")})
    run = Run.start(given)
    run.take_cut()
    assert run.as_of == run.received_at == utc(2026, 2, 1)


def test_the_same_cut_has_the_same_now_whenever_it_is_run(settings: Settings) -> None:
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 2)})
    one, other = Run.start(settings), Run.start(settings)
    assert one.take_cut() == other.take_cut()
    assert one.received_at < other.received_at
    assert one.as_of == other.as_of


# --- ledger


def test_a_run_taken_up_again_has_its_cut_its_clock_and_what_its_steps_returned(settings: Settings) -> None:
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 2)})
    run = Run.start(settings)
    run.steps["land"] = {"feeds": {EVENT: {"received": 1}}}
    run.footprints["land"] = {"seconds": 0.5}
    run.take_cut()
    again = Run.resume(settings, run.run_id)
    assert (again.run_id, again.received_at, again.as_of, again.cut) == (run.run_id, run.received_at, run.as_of, run.cut)
    assert (again.steps, again.footprints) == (run.steps, run.footprints)


def test_an_unknown_id_begins_a_run_of_that_id(settings: Settings) -> None:
    run = Run.resume(settings, "scheduled__2026-03-01")
    assert (run.run_id, run.cut, run.steps) == ("scheduled__2026-03-01", {}, {})
    run.save()
    assert [e["run_id"] for e in entries(settings)] == ["scheduled__2026-03-01"]


@pytest.mark.parametrize("run_id", ["../outside", "a/b", ".", "", "a b\n", "x" * 201])
def test_an_id_that_is_no_file_name_is_refused(settings: Settings, run_id: str) -> None:
    with pytest.raises(RunError, match="letters, digits"):
        Run.resume(settings, run_id)


def test_a_ledger_entry_says_what_the_run_was_given(settings: Settings) -> None:
    land(settings, EVENT, {"reported_at": utc(2026, 3, 1, 2)})
    run = Run.start(settings)
    run.take_cut()
    entry = json.loads((ledger(settings) / f"{run.run_id}.json").read_text(encoding="utf-8"))
    assert entry["cut"] == {f"bronze.{EVENT}": 1}
    assert entry["contracts"][REQUEST] == "1.0.0"
    assert entry["as_of"] == "2026-03-01T16:00:00+00:00"
    assert entry["state"] == "running"


def test_a_step_that_does_not_exist_is_named_and_leaves_the_run_stopped(settings: Settings) -> None:
    run = Run.start(settings)
    with pytest.raises(RunError, match="no step 'fly'"):
        run.perform("fly")
    assert [e["state"] for e in entries(settings)] == ["stopped"]


def test_run_ids_are_their_time_and_differ_within_a_second(settings: Settings) -> None:
    ids = {Run.start(settings).run_id for _ in range(5)}
    assert len(ids) == 5
    assert all(i[:8] == f"{datetime.now(UTC):%Y%m%d}" or i[:8] == f"{datetime.now(UTC) - timedelta(days=1):%Y%m%d}" for i in ids)


# --- one writer

HOLD = """
import sys
from pathlib import Path
from gridlake.runs import only_writer
from gridlake.settings import Settings
with only_writer(Settings(home=Path(sys.argv[1]))):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def holder(settings: Settings) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(settings.home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def test_a_second_writer_is_refused_and_told_who_holds_the_lake(settings: Settings, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(RunError, match=f"process {holder.pid} is writing this lake"), only_writer(settings):
        pytest.fail("two writers hold one lake")
    with only_writer(settings.model_copy(update={"home": settings.home.with_name("another")})):
        pass


def test_a_command_on_a_held_lake_ends_with_1_and_says_why(settings: Settings, holder: subprocess.Popen[str]) -> None:
    command = [str(Path(sys.executable).with_name("gridlake")), "land", "--home", str(settings.home), "--inbox", str(settings.home), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert json.loads(done.stdout)["error"] == "RunError"
    assert str(holder.pid) in done.stderr


def test_a_killed_holder_lets_go(settings: Settings, holder: subprocess.Popen[str]) -> None:
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait(timeout=10)
    with only_writer(settings):
        assert (settings.home / ".lock").read_text(encoding="utf-8") == str(os.getpid())


def test_a_writer_that_fails_lets_go(settings: Settings) -> None:
    with pytest.raises(ZeroDivisionError), only_writer(settings):
        raise ZeroDivisionError
    with only_writer(settings):
        pass
