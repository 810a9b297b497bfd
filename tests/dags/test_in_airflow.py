"""The whole of it in the real scheduler: what it makes is what the command line makes, also where it was killed in the middle."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path

import pytest

from gridlake.runs import STEPS
from gridlake.tables import Tables
from tests.dags.scheduler import Scheduler
from tests.e2e.conftest import NOW, succeed
from tests.lakes import content, differing

pytestmark = pytest.mark.deep

SMALLEST = ("--days", "40", "--events", "400", "--villages", "4")
FIRST, DAYS = date(2026, 10, 2), 30
# On two cores that others use too.
LONGEST_S = 1800
BACKFILL = f"""
feed: city_platform.event
from: {FIRST}
to: {FIRST + timedelta(days=DAYS - 1)}
folder: {{folder}}
files: "event-{{{{date}}}}*"
reason: 平台迁移期间漏报
asked_by: 杭州市
approved_by: 省平台
status: approved
"""


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The smallest province."""
    folder = tmp_path_factory.mktemp("province") / "inbox"
    succeed("simulate", *SMALLEST, "--inbox", folder)
    return folder


@contextmanager
def airflow(folder: Path, home: Path, inbox: Path, **variables: str) -> Iterator[Scheduler]:
    """Such an Airflow, started."""
    scheduler = Scheduler(folder, home, inbox, {"GRIDLAKE_AS_OF": NOW[1], **variables})
    try:
        scheduler.start()
        yield scheduler
    finally:
        scheduler.stop()


def keys_of(home: Path, other: Path) -> Path:
    """The other home, with the keys of the first: sealed values are alike only under the same keys."""
    shutil.copy(home.with_name(f"{home.name}.keys.json"), other.with_name(f"{other.name}.keys.json"))
    return other


def test_a_triggered_run_lands_builds_publishes_reports_and_makes_the_tables_of_gridlake_run(inbox: Path, tmp_path: Path) -> None:
    whole = succeed("run", "--input", inbox, "--home", tmp_path / "whole", *NOW)
    home = keys_of(tmp_path / "whole", tmp_path / "scheduled")
    with airflow(tmp_path / "airflow", home, inbox) as scheduler:
        # A second round begins while the first is being landed.
        rounds = [scheduler.trigger("inbox"), scheduler.trigger("inbox")]
        ended = ("province", "report__weekly", "maintain")
        scheduler.until(lambda: all(list(scheduler.runs(dag).values()) == ["success"] * 2 for dag in ended), LONGEST_S)
        assert {run["partition_key"] for run in scheduler.ask("/api/v2/dags/province/dagRuns")["dag_runs"]} == set(rounds)
        assert differing(content(tmp_path / "whole"), content(home)) == {}
        rendered = scheduler.tasks("province", "report")[0]
        reports = {tmp_path / "whole": whole["reports"], home: scheduler.output(rendered)["reports"]}
        made = [[Path(path).relative_to(where / "reports") for path in paths] for where, paths in reports.items()]
        assert made[0] == made[1] != []
        # Of every region, for the period that is due.
        issued = scheduler.tasks("report__weekly", "make")[0]
        assert len(scheduler.output(issued)["issues"]) > len(made[0]) / 2
        # Nine cities of this province have sent nothing: no report of theirs and of what lies below, and somebody is told.
        assert len(scheduler.output(issued)["issues"] + scheduler.output(issued)["stopped"]) == 102
        alerts = [json.loads(line) for line in (scheduler.folder / "alerts.ndjson").read_text(encoding="utf-8").splitlines()]
        assert {(alert["alert"], alert["dag"]) for alert in alerts} >= {("reports_stopped", "report__weekly")}
        # Counts, and how much is refused, without a look into a log.
        landed = next(task for task in scheduler.tasks("land__city_platform__event", "landed") if scheduler.output(task)["received"])
        told, expected = scheduler.output(landed), whole["feeds"]["city_platform__event"]
        assert {name: told[name] for name in ("received", "accepted", "refused")} == {n: expected[n] for n in ("received", "accepted", "refused")}
        assert told["refused_pct"] == round(100 * expected["refused"] / expected["received"], 2) > 0
        labels = [task["rendered_map_index"] for task in scheduler.tasks("land__city_platform__event", "land")]
        assert labels
        assert all("收" in label for label in labels)
        built = scheduler.tasks("province", "build__theme")[0]
        themes = {name: rows for name, rows in whole["tables"].items() if name.startswith("theme.")}
        assert scheduler.output(built)["tables"] == themes
        assert max(scheduler.output(task)["files"] for task in scheduler.tasks("inbox", "look")) > 100
        published = next((home / "lineage").glob("*.ndjson"))
        parent = json.loads(published.read_text(encoding="utf-8").splitlines()[0])["run"]["facets"]["parent"]
        assert parent["job"]["name"] == "province.publish"
        assert parent["run"]["runId"] in (scheduler.folder / "openlineage.ndjson").read_text(encoding="utf-8")
        scheduler.stop()
        # Nothing has come: the second start goes on from what the first has left.
        assert scheduler.start() < 180
        assert "success" in scheduler.runs("province").values()


def late_days(inbox: Path, folder: Path) -> None:
    """Move the events of the last weeks out of an inbox: a file a day and sender."""
    for sender in sorted((inbox / "city_platform" / "event").iterdir()):
        days: dict[date, list[bytes]] = defaultdict(list)
        for path in sorted(sender.glob("event-2026-w4[0-9].jsonl")):
            for line in path.read_bytes().splitlines(keepends=True):
                days[_day_of(line)].append(line)
            path.unlink()
        target = folder / "city_platform" / "event" / sender.name
        target.mkdir(parents=True)
        for day, lines in days.items():
            (target / f"event-{day}.jsonl").write_bytes(b"".join(lines))


def _day_of(line: bytes) -> date:
    """The day on which an event was reported, within the thirty; what cannot be read is sent on the first."""
    try:
        day = date.fromisoformat(json.loads(line)["reported_at"][:10])
    except (ValueError, KeyError, TypeError):
        return FIRST
    return min(max(day, FIRST), FIRST + timedelta(days=DAYS - 1))


def test_a_backfill_of_thirty_days_killed_in_the_middle_ends_in_the_tables_of_one_that_was_not(inbox: Path, tmp_path: Path) -> None:
    shutil.copytree(inbox, tmp_path / "inbox")
    late_days(tmp_path / "inbox", tmp_path / "history")
    (tmp_path / "backfills").mkdir()
    (tmp_path / "backfills" / "2026-11-01-event.yml").write_text(BACKFILL.format(folder=tmp_path / "history"), encoding="utf-8")
    # All but the report, which is not made without the weeks that are missing.
    for step in STEPS[:-1]:
        succeed(step, "--run-id", "before", "--inbox", tmp_path / "inbox", "--home", tmp_path / "before", *NOW)
    name = "backfill__2026-11-01-event"

    def backfilled(home: Path, *, killed: bool) -> None:
        shutil.copytree(tmp_path / "before", keys_of(tmp_path / "before", home), symlinks=True)
        with airflow(tmp_path / f"airflow_{home.name}", home, tmp_path / "inbox", GRIDLAKE_BACKFILLS=str(tmp_path / "backfills")) as scheduler:
            if killed:
                scheduler.until(lambda: sum(t["state"] == "success" for t in scheduler.tasks(name, "land")) >= DAYS // 3, LONGEST_S)
                assert scheduler.kill() > 5
                scheduler.start()
                assert sum(t["state"] == "success" for t in scheduler.tasks(name, "land")) < DAYS
            scheduler.until(lambda: "success" in scheduler.runs("province").values(), LONGEST_S)
            assert [t["state"] for t in scheduler.tasks(name, "land")] == ["success"] * DAYS

    backfilled(tmp_path / "undisturbed", killed=False)
    backfilled(tmp_path / "killed", killed=True)
    assert differing(content(tmp_path / "undisturbed"), content(tmp_path / "killed")) == {}
    before, after = (Tables(tmp_path / home / "tables").row_count("bronze.city_platform__event") for home in ("before", "undisturbed"))
    assert before < after
