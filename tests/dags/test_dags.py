"""The DAGs as Airflow loads them in the environment of its own: made of the declarations, chained by assets, each command one that gridlake has."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import click
import pytest

from gridlake import contracts, senders
from gridlake.cli import main
from gridlake.runs import LIBRARY, STEPS
from gridlake.settings import Settings
from serving.reports import declaration
from streaming import gates

CHECKOUT = Path(__file__).parents[2]
DAGS = CHECKOUT / "dags"
FEEDS_OF_A_PROVINCE = 60
BACKFILL = """
feed: city_platform.event
from: 2026-03-01
to: 2026-03-30
folder: history
files: "event-{date}*"
reason: 平台迁移期间漏报
asked_by: 杭州市
approved_by: 省平台
status: approved
"""


def load(folder: Path = DAGS, **environment: str | Path) -> dict[str, Any]:
    """The DAGs of a folder, by these variables."""
    # Installs Airflow where it is not installed yet.
    subprocess.run(["make", "--silent", ".airflow/venv/.stamp"], cwd=CHECKOUT, check=True)
    python = CHECKOUT / ".airflow" / "venv" / "bin" / "python"
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith(("GRIDLAKE_", "AIRFLOW"))}
    given = {name: str(value) for name, value in environment.items()}
    own = {"AIRFLOW_HOME": str(CHECKOUT / ".airflow" / "loaded"), "AIRFLOW__CORE__DAG_DISCOVERY_SAFE_MODE": "False"}
    command = [python, Path(__file__).with_name("loaded.py"), folder]
    done = subprocess.run(command, env=surroundings | own | given, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["errors"] == {}
    return found


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The DAGs of the checkout, an approved backfill, a report of one's own, and further contracts up to a province's sixty feeds."""
    folder = tmp_path_factory.mktemp("declared")
    (folder / "backfills").mkdir()
    (folder / "backfills" / "late.yml").write_text(BACKFILL, encoding="utf-8")
    (folder / "backfills" / "asked_for.yml").write_text(BACKFILL.replace("status: approved", "status: proposed"), encoding="utf-8")
    built_in = contracts.load_all(Settings())
    more = folder / "contracts" / "county_platform"
    more.mkdir(parents=True)
    for number in range(FEEDS_OF_A_PROVINCE - len(built_in)):
        shutil.copy(built_in["city_platform__event"].path, more / f"event_{number}.odcs.yaml")
    # As the how-to begins a report of one's own.
    shutil.copytree(CHECKOUT / "serving" / "reports" / "weekly", folder / "contracts" / "reports" / "heating")
    return load(GRIDLAKE_BACKFILLS=folder / "backfills", GRIDLAKE_CONTRACTS=folder / "contracts")


@pytest.fixture(scope="module")
def dags(loaded: dict[str, Any]) -> dict[str, Any]:
    """By id."""
    found: dict[str, Any] = loaded["dags"]
    return found


def test_the_dags_of_sixty_feeds_are_read_in_five_seconds(loaded: dict[str, Any]) -> None:
    assert sum(name.startswith("land__") for name in loaded["dags"]) == FEEDS_OF_A_PROVINCE
    assert loaded["seconds"] <= 5


def test_there_is_a_dag_for_each_feed_report_and_approved_backfill_and_no_other(dags: dict[str, Any]) -> None:
    declared = {f"land__{feed}" for feed in contracts.load_all(Settings())} | {f"land__county_platform__event_{n}" for n in range(8)}
    reports = {f"report__{path.parent.name}" for path in (CHECKOUT / "serving" / "reports").glob("*/report.yml")} | {"report__heating"}
    assert dags.keys() == declared | reports | {"inbox", "calendar", "province", "maintain", "replay", "backfill__late"}


@cache
def command_of(name: str) -> click.Command | None:
    return main.get_command(click.Context(main), name)


def assert_each_task_calls_a_command_with_options_that_it_has(dags: dict[str, Any], at_least: int) -> None:
    called = 0
    for dag in dags.values():
        for task in dag["tasks"].values():
            for arguments in task["arguments"]:
                name, *given = arguments or ["land", "pending"]
                command: click.Command | None = command_of(name)
                assert command is not None, f"gridlake has no command {name}"
                if isinstance(command, click.Group) and given and not given[0].startswith("-"):
                    command = command.get_command(click.Context(command), given.pop(0))
                    assert command is not None, arguments
                command.make_context(name, [*given, "--json"])
                called += bool(arguments)
    assert called >= at_least


def test_each_task_calls_a_command_with_options_that_it_has(dags: dict[str, Any]) -> None:
    assert_each_task_calls_a_command_with_options_that_it_has(dags, FEEDS_OF_A_PROVINCE // 2)


def test_the_province_runs_every_step_of_a_run_after_those_that_it_reads(dags: dict[str, Any]) -> None:
    tasks = dags["province"]["tasks"]
    steps = ["cut", "stage", "resolve", *(f"build__{library}" for library in LIBRARY), "detect", "mart", "check", "publish", "report"]
    assert sorted(tasks) == sorted(steps)
    ran = [task["arguments"][0][0] for task in tasks.values()]
    assert set(ran) == set(STEPS)
    assert all(task["arguments"][0][-2:] == ["--run-id", "{{ run_id }}"] for task in tasks.values())

    def above(step: str) -> set[str]:
        return {step}.union(*(above(other) for other in tasks[step]["above"]))

    assert above("report") == set(steps)
    assert above("build__business") >= {"build__theme", "build__item"}
    assert dags["province"]["most_runs"] == 1


def test_dags_are_chained_by_assets_and_only_inbox_and_calendar_go_by_the_clock(dags: dict[str, Any]) -> None:
    made = {name: {uri for task in dag["tasks"].values() for uri in task["outlets"]} for name, dag in dags.items()}
    landed = {uri for name, uris in made.items() if name.startswith("land__") for uri in uris}
    assert len(landed) == FEEDS_OF_A_PROVINCE
    assert set(dags["province"]["awaits"]) == landed
    assert made["replay"] == made["backfill__late"] == set(dags["inbox"]["awaits"])
    assert all(made["inbox"] <= set(dag["awaits"]) for name, dag in dags.items() if name.startswith("land__"))
    assert dags["maintain"]["awaits"] == sorted(made["province"])
    assert set(dags["report__weekly"]["awaits"]) < made["province"] | made["calendar"]
    by_a_clock = {name for name, dag in dags.items() if dag["timetable"] in {"AssetOrTimeSchedule", "EventsTimetable"}}
    assert by_a_clock == {"inbox", "calendar"}
    # Of one round: several assets are awaited by partition.
    assert {dag["timetable"] for name, dag in dags.items() if dag["awaits"] and name != "inbox"} == {"PartitionedAssetTimetable"}


def test_a_report_is_mailed_after_it_is_made_to_its_roles_where_there_is_a_server_for_it(dags: dict[str, Any], tmp_path: Path) -> None:
    declared = declaration.load_reports(Settings())
    assert not any("send" in dag["tasks"] for dag in dags.values()), "GRIDLAKE_SMTP is not set there"
    (tmp_path / "reports.py").symlink_to(DAGS / "reports.py")
    mailing = load(tmp_path, GRIDLAKE_SMTP="smtp://127.0.0.1", PYTHONPATH=DAGS)["dags"]
    assert mailing.keys() == {"calendar", *(f"report__{name}" for name in declared)}
    for name, report in declared.items():
        task = mailing[f"report__{name}"]["tasks"]["send"]
        assert (task["arguments"], task["above"], task["when"]) == ([["report", "send", name]], ["make"], "none_failed")
        assert task["title"] == f"寄送{'、'.join(report.recipients)}"
        assert report.recipients[0] in mailing[f"report__{name}"]["doc"]
    assert_each_task_calls_a_command_with_options_that_it_has(mailing, len(declared))


def test_a_feed_is_landed_after_those_that_its_gates_wait_for(dags: dict[str, Any]) -> None:
    known = contracts.load_all(Settings())
    for feed in known:
        awaited = {other for gate in known[feed].gates for other in gates.feeds_of(gate.local_id_of or "", known)} - {feed}
        found = {uri.rpartition("/")[2] for uri in dags[f"land__{feed}"]["awaits"] if "/bronze/" in uri}
        assert awaited <= found, feed
    assert dags["land__city_platform__team_member"]["awaits"] != dags["land__city_platform__grid"]["awaits"]


def test_a_feed_of_several_senders_is_landed_by_a_task_for_each(dags: dict[str, Any]) -> None:
    declared = senders.load_all(Settings())
    for contract in contracts.load_all(Settings()).values():
        who = [code for code, sender in declared.items() if sender.may_send(contract.source, contract.feed, contract.version)]
        assert ("senders" in dags[f"land__{contract.id}"]["tasks"]) == (len(who) > 1), contract.id
        assert all(code in dags[f"land__{contract.id}"]["doc"] for code in who)


def test_one_writer_at_a_time_retries_that_back_off_and_somebody_who_is_told(dags: dict[str, Any]) -> None:
    for name, dag in dags.items():
        assert dag["deadlines"] == 1, name
        assert re.search(r"[\u4e00-\u9fff]", dag["title"]), name
        for task in dag["tasks"].values():
            where = f"{name}.{task['id']}"
            assert (task["retries"], task["backs_off"], task["tells"]) == (3, True, True), where
            assert re.search(r"[\u4e00-\u9fff]", task["title"]), where
            assert task["owner"] not in {"", "airflow"}, where
            writes = task["type"] in {"Gridlake", "LandFeed", "MakeReport", "Replay"}
            landing = name.replace("backfill__late", "land__city_platform__event").partition("land__")[2]
            expected = f"bronze.{landing}" if landing else "lake"
            assert task["pool"] == (expected if writes else "default_pool"), where
            assert task["id"] != "land" or writes, where
    owners = {task["owner"] for task in dags["land__city_platform__event"]["tasks"].values()}
    assert owners == {"基层治理四平台事件组"}


def test_a_backfill_lands_each_day_of_its_range(dags: dict[str, Any]) -> None:
    asked = dags["backfill__late"]["tasks"]["land"]["arguments"]
    assert len(asked) == 30
    assert asked[0] == ["land", "feed", "city_platform.event", "--inbox", "history", "--files", "event-2026-03-01*", "--expect"]
    assert "平台迁移期间漏报" in dags["backfill__late"]["doc"]


@pytest.fixture
def helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The helpers as Airflow imports them: from the dags folder, not from a package of ours."""
    monkeypatch.syspath_prepend(str(DAGS))
    for name in [n for n in sys.modules if n.partition(".")[0] == "gridlake_dags"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize(
    ("period", "days_after", "due", "periods"),
    [
        ("week", 0, "2026-03-02", ["2026-W09"]),
        ("month", 0, "2025-10-09", ["2025-09"]),  # National Day and Mid-Autumn
        ("week", 0, "2026-02-24", ["2026-W07", "2026-W08"]),  # Spring Festival
        ("year", 0, "2026-01-04", ["2025"]),  # a Sunday that makes up for a holiday
        ("year", 4, "2026-01-05", ["2025"]),
        ("month", 0, "2027-05-03", ["2027-04"]),  # beyond what is published
    ],
)
@pytest.mark.usefixtures("helpers")
def test_a_report_is_due_on_the_first_workday_after_its_period(period: str, days_after: int, due: str, periods: list[str]) -> None:
    from gridlake_dags.declarations import Report  # type: ignore[import-not-found]
    from gridlake_dags.workdays import due_moments, last_due  # type: ignore[import-not-found]

    report = Report("any", "任一报告", period, days_after, 9, 30)
    expected = datetime.fromisoformat(f"{due}T09:30:00+08:00")
    assert expected in due_moments(report)
    assert last_due(report, expected) == (expected, periods)
    assert last_due(report, expected - timedelta(minutes=1))[0] < expected


@pytest.mark.parametrize(
    ("becomes", "said"),
    [
        ("approved_by: 杭州市", "expected somebody else"),
        ("status: done soon", "expected proposed, approved or done"),
        ("files: event.csv", "{date}"),
        ("to: 2026-02-01", "not after"),
        ("requested_by: 省", "expected 'asked_by'"),
    ],
)
@pytest.mark.usefixtures("helpers")
def test_a_backfill_that_nobody_reviewed_is_no_dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, becomes: str, said: str) -> None:
    from gridlake_dags.declarations import DeclarationError, backfills

    replaced = "asked_by" if becomes.startswith("requested_by") else becomes.partition(":")[0]
    (tmp_path / "late.yml").write_text(re.sub(rf"^{replaced}:.*$", becomes, BACKFILL, flags=re.MULTILINE), encoding="utf-8")
    monkeypatch.setenv("GRIDLAKE_BACKFILLS", str(tmp_path))
    with pytest.raises(DeclarationError, match=said):
        backfills()


def test_dag_files_import_nothing_but_the_standard_library_airflow_its_calendar_yaml_and_their_helpers() -> None:
    allowed = set(sys.stdlib_module_names) | {"airflow", "pendulum", "yaml", "gridlake_dags"}
    files = sorted(DAGS.rglob("*.py"))
    assert len(files) > 10
    for path in files:
        tree = ast.parse(path.read_text(encoding="utf-8"), path.name)
        names = {a.name for n in ast.walk(tree) if isinstance(n, ast.Import) for a in n.names}
        names |= {n.module or "" for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
        assert {n.partition(".")[0] for n in names} <= allowed, path
