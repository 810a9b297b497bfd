"""The step `check` on the embedded engine: a lake in which every promise is broken once, and one in which none is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from dbt.cli.main import dbtRunner

from gridlake import quality, suites
from gridlake.contracts.compile import bronze_schema
from gridlake.quality import PublicationStopped, require_publishable
from gridlake.runs import Run
from gridlake.settings import CHECKOUT, Settings
from gridlake.suites import Expected, Suite, SuiteError

FEED = "city_platform__event"
BRONZE = f"bronze.{FEED}"
NAME, PHONE = "示例丁", "13912345678"
REPORTED = datetime(2026, 3, 1, 1, 5, tzinfo=UTC)
SEALED, TOKEN = "k1.c2VhbGVk", "0123456789abcdef" * 2
DELIVERY = "files:hangzhou/a.jsonl@0123456789abcdef"
EVENT = {
    "class_code": "0101", "level_code": "1", "description": "巡查发现楼道堆放杂物", "region_code": "330106001001", "occurred_at": REPORTED,
    "reported_at": REPORTED, "state_code": "reported", "channel_code": "grid", "source_version": 1, "changed_at": REPORTED,
    "reporter_name_sealed": SEALED, "reporter_name_token": TOKEN,
}  # fmt: skip

# A project of one shown table, with each sort of test that suites are derived from.
MODELS = {
    "models": [
        {
            "name": "class_counts",
            "description": "各类别事件数",
            "config": {"schema": "mart", "alias": "class_count"},
            "data_tests": [
                {"unique_together": {"arguments": {"columns": ["class_code", "level_code"]}}},
                {"holds": {"arguments": {"condition": "event_count >= 0"}, "name": "counts_are_positive"}},
            ],
            "columns": [
                {"name": "class_code", "data_tests": ["not_null", {"relationships": {"arguments": {"to": "ref('classes')", "field": "class_code"}}}]},
                {"name": "level_code", "data_tests": [{"in_code_list": {"arguments": {"list_name": "event_level"}, "config": {"severity": "warn"}}}]},
                {"name": "kind", "data_tests": [{"accepted_values": {"arguments": {"values": ["day", "week"]}}}]},
                {"name": "event_count"},
                {"name": "row_id", "data_tests": ["unique"]},
            ],
        },
        {"name": "classes", "config": {"schema": "item"}, "columns": [{"name": "class_code", "data_tests": ["unique"]}]},
    ]
}


class Lake:
    """A lake with one feed and two tables that dbt knows; rows go in as a test says."""

    def __init__(self, home: Path) -> None:
        self.run = Run.start(Settings(home=home, inbox=home.parent / "inbox"), quiet=True)
        self._rows: list[dict[str, Any]] = []
        self._know_project()

    def add(self, event_id: str | None, *, delivery: str = DELIVERY, position: int | None = None, later: int = 0, **other: Any) -> None:
        """One row of bronze: a correct event but for what is given."""
        number = len(self._rows) + 1 if position is None else position
        audit = {
            "_sender_code": sorted(self.run.senders)[0],
            "_received_at": REPORTED + timedelta(days=1, minutes=later),
            "_source_position": f"{delivery}#{number:010d}",
            "_delivery_id": delivery,
            "_op": "upsert",
            "_contract_version": "1.0.0",
            "_payload_digest": TOKEN,
        }
        schema = bronze_schema(self.run.contracts[FEED])
        self._rows.append({**dict.fromkeys(schema.names), **EVENT, **audit, "event_id": event_id, **other})

    def check(self, counts: list[dict[str, Any]], classes: list[str], **more: pa.Array) -> dict[str, Any]:
        """Land the rows, write the two tables, run the step."""
        tables = self.run.tables
        schema = bronze_schema(self.run.contracts[FEED])
        tables.ensure(BRONZE, schema)
        tables.append(BRONZE, pa.Table.from_pylist(self._rows, schema))
        shown = pa.Table.from_pylist(counts)
        for name, values in more.items():
            shown = shown.append_column(name, values)
        tables.overwrite("mart.class_count", shown)
        tables.overwrite("item.classes", pa.table({"class_code": classes}))
        return self.run.perform("check")

    def _know_project(self) -> None:
        folder = self.run.settings.home.absolute() / "dbt"
        (folder / "models").mkdir(parents=True)
        shutil.copytree(CHECKOUT / "dbt" / "tests", folder / "tests")
        shutil.copy(CHECKOUT / "dbt" / "profiles.yml", folder)
        # The code list's source and the macros of the generic tests are of no account: nothing is compiled here.
        (folder / "dbt_project.yml").write_text("name: gridlake\nversion: 1.0.0\nconfig-version: 2\nprofile: gridlake\n")
        (folder / "macros").mkdir()
        (folder / "macros" / "schema.sql").write_text("{% macro generate_schema_name(name, node) %}{{ name or 'staging' }}{% endmacro %}\n")
        for name in ("staging.sql", "converge.sql"):
            shutil.copy(CHECKOUT / "dbt" / "macros" / name, folder / "macros")
        sources = {"sources": [{"name": "reference", "schema": "staging", "tables": [{"name": "code_list"}]}]}
        (folder / "models" / "models.yml").write_text(yaml.safe_dump({"version": 2, **MODELS, **sources}))
        for name in ("class_counts", "classes"):
            (folder / "models" / f"{name}.sql").write_text("select 1 as class_code")
        arguments = ["--quiet", "parse", "--project-dir", str(folder), "--profiles-dir", str(folder), "--target-path", str(folder / "target")]
        assert dbtRunner().invoke(arguments).success


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake in which each promise is broken once."""
    lake = Lake(tmp_path_factory.mktemp("broken") / "lake")
    lake.add("E1")
    lake.add("E2", position=1)  # lands a position twice
    lake.add(None)  # no key
    lake.add("E4", class_code="9998")
    lake.add("E5", longitude=11.0, latitude=30.0)
    lake.add("E6", description=f"请联系{PHONE}")
    lake.add("E7", reporter_name_sealed=NAME)
    lake.add("E8", state_code=None)
    lake.add("E9", closed_at=REPORTED - timedelta(days=1))
    lake.add("E 10")
    lake.add("E11", _sender_code="nobody")
    lake.add("E12", delivery=DELIVERY.replace("a.", "b."), position=5, later=1)
    lake.add("E13", delivery=DELIVERY.replace("a.", "b."), position=6)  # received before the row in front of it
    lake.add("E14", _op="delete", **dict.fromkeys(["class_code", "level_code", "description", "state_code", "channel_code", "region_code"]))
    lake.result = lake.check(  # type: ignore[attr-defined]
        [
            {"class_code": "01", "level_code": "1", "kind": "day", "event_count": 3, "row_id": 1},
            {"class_code": "01", "level_code": "1", "kind": "month", "event_count": -1, "row_id": 2},
            {"class_code": "02", "level_code": "7", "kind": "day", "event_count": 1, "row_id": 2},
            {"class_code": None, "level_code": "1", "kind": "week", "event_count": 1, "row_id": 3},
        ],
        ["01"],
        reporter_phone_token=pa.array([TOKEN] * 4),
    )
    yield lake
    lake.run.close()


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    """A lake in which all is as promised."""
    lake = Lake(tmp_path_factory.mktemp("sound") / "lake")
    lake.add("E1")
    lake.add("E2", closed_at=REPORTED, state_code="closed", longitude=120.1, latitude=30.2)
    lake.add("E3", _op="delete", **dict.fromkeys(["class_code", "level_code", "description", "state_code", "channel_code", "region_code"]))
    counts = [{"class_code": "01", "level_code": "1", "kind": "day", "event_count": 3, "row_id": 1}]
    lake.result = lake.check(counts, ["01", "02"])  # type: ignore[attr-defined]
    yield lake
    lake.run.close()


def _found(lake: Lake, table: str, severity: str) -> dict[tuple[str, str | None], int | None]:
    failures = lake.result["failures"]  # type: ignore[attr-defined]
    return {(f["expectation"], f["column"]): f["unexpected_count"] for f in failures if f["table"] == table and f["severity"] == severity}


def test_broken_keys_seals_positions_and_personal_numbers_in_bronze_are_critical(broken: Lake) -> None:
    assert _found(broken, BRONZE, "critical") == {
        ("ExpectColumnValuesToBeUnique", "_source_position"): 2,
        ("ExpectColumnValuesToNotBeNull", "event_id"): 1,
        ("ExpectColumnValuesToNotMatchRegex", "description"): 1,
        ("ExpectColumnValuesToMatchRegex", "reporter_name_sealed"): 1,
    }


def test_broken_limits_rules_and_order_in_bronze_are_warnings_and_a_delete_breaks_none(broken: Lake) -> None:
    assert _found(broken, BRONZE, "warning") == {
        ("ExpectColumnValuesToBeInSet", "class_code"): 1,
        ("ExpectColumnValuesToBeBetween", "longitude"): 1,
        ("ExpectColumnValuesToNotBeNull", "state_code"): 1,
        ("ExpectColumnValuesToMatchRegex", "event_id"): 1,
        ("ExpectColumnValuesToBeInSet", "closed_after_reported"): 1,
        ("ExpectColumnValuesToBeInSet", "_sender_code"): 1,
        ("ExpectColumnValuesToBeInSet", "_source_position"): 1,
    }


def test_tests_of_the_dbt_yaml_are_held_with_their_severity_and_nothing_sealed_is_shown(broken: Lake) -> None:
    assert _found(broken, "mart.class_count", "critical") == {
        ("ExpectCompoundColumnsToBeUnique", "class_code, level_code"): 2,
        ("ExpectColumnValuesToBeInSet", "counts_are_positive"): 1,
        ("ExpectColumnValuesToNotBeNull", "class_code"): 1,
        ("ExpectColumnValuesToBeInSet", "class_code"): 1,
        ("ExpectColumnValuesToBeInSet", "kind"): 1,
        ("ExpectColumnValuesToBeUnique", "row_id"): 2,
        ("ExpectNoColumnToMatch", None): None,
    }
    assert _found(broken, "mart.class_count", "warning") == {("ExpectColumnValuesToBeInSet", "level_code"): 1}


def test_publication_stops_and_says_what_is_broken_and_where_to_look(broken: Lake) -> None:
    with pytest.raises(PublicationStopped) as stopped:
        require_publishable(broken.run)
    message = str(stopped.value)
    assert "11 critical expectations are broken" in message
    assert f"{BRONZE}._source_position: expected 同一来源位置只落地一次 (ExpectColumnValuesToBeUnique), came 2 of 14 rows" in message
    assert "docs/checks/index.html" in message
    assert "gridlake explain" in message


def test_results_and_page_hold_no_value_of_a_row(broken: Lake) -> None:
    rows = broken.run.tables.read(quality.TABLE)
    kept = str(rows.to_pylist()) + Path(broken.result["page"]).read_text(encoding="utf-8") + str(broken.result)  # type: ignore[attr-defined]
    assert PHONE not in kept
    assert NAME not in kept


def test_page_needs_nothing_from_elsewhere_and_shows_the_broken_first(broken: Lake) -> None:
    page = Path(broken.result["page"]).read_text(encoding="utf-8")  # type: ignore[attr-defined]
    assert "http" not in page.replace("http-equiv", "")
    assert page.index("未通过</span>") < page.index(">通过</span>")
    assert "<h1>数据质量校验</h1>" in page


def test_a_sound_lake_passes_and_may_be_published(sound: Lake) -> None:
    assert sound.result["failures"] == []  # type: ignore[attr-defined]
    assert sound.result["checks"]["passed"] > 60  # type: ignore[attr-defined]
    require_publishable(sound.run)


def test_a_failed_dbt_test_stops_publication_too(sound: Lake) -> None:
    tests = {"passed": 7, "failed": 1, "failures": [{"name": "rows_are_conserved", "model": FEED, "message": "", "rows": 3}], "warnings": []}
    before = sound.run.steps["check"]["checks"]["passed"]
    sound.run.steps["stage"] = {"tests": tests}
    try:
        result = sound.run.perform("check")
        assert [(f["expectation"], f["severity"], f["unexpected_count"]) for f in result["failures"]] == [("rows_are_conserved", "critical", 3)]
        assert result["checks"]["passed"] == before + 7
        with pytest.raises(PublicationStopped, match="rows_are_conserved"):
            require_publishable(sound.run)
    finally:
        del sound.run.steps["stage"]


def test_checking_the_same_run_again_replaces_its_results(sound: Lake) -> None:
    sound.run.perform("check")
    first = sound.run.tables.row_count(quality.TABLE)
    sound.run.perform("check")
    assert sound.run.tables.row_count(quality.TABLE) == first
    assert sound.run.tables.read(quality.TABLE).schema.names == quality.SCHEMA.names


def test_a_table_that_is_gone_is_a_broken_promise_not_a_pass(sound: Lake) -> None:
    sound.run.spark.sql("drop table mart.class_count")
    try:
        result = sound.run.perform("check")
        assert {f["table"] for f in result["failures"]} == {"mart.class_count"}
        assert all(f["observed"].startswith("not evaluated") for f in result["failures"])
        assert result["checks"]["critical_failed"] > 0
    finally:
        sound.run.engine.register_table("mart.class_count")


def test_publication_stops_where_nobody_has_looked(tmp_path: Path) -> None:
    run = Run.start(Settings(home=tmp_path / "lake"), quiet=True)
    with pytest.raises(PublicationStopped, match="gridlake check --run-id"):
        require_publishable(run)


def test_every_declared_check_and_suite_names_what_great_expectations_has() -> None:
    settings = Settings(contracts=None)
    named = suites.checks(settings)
    files = [p.stem for p in (settings.expectations / "suites").glob("*.yml")]
    tables = {yaml.safe_load(p.read_text(encoding="utf-8"))["table"] for p in (settings.expectations / "suites").glob("*.yml")}
    declared = suites.by_hand(settings, named, tables, REPORTED)
    assert sorted(s.name for s in declared) == sorted(f"set.{name}" for name in files)
    for expected in [
        *(c.on("x") if c.type != "ExpectNoColumnToMatch" else c.on() for c in named.values()),
        *(e for s in declared for e in s.expected),
    ]:
        assert quality._expectation(expected, 0).expectation_type


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        (Expected("ExpectMiracles", {}, "warning", "奇迹"), "there is none of that name"),
        (Expected("ExpectColumnValuesToBeInSet", {"colum": "x", "value_set": [1]}, "warning", "取值"), "expected its own arguments"),
    ],
)
def test_an_expectation_that_does_not_exist_is_refused_not_skipped(expected: Expected, said: str) -> None:
    with pytest.raises(SuiteError, match=said):
        quality._expectation(expected, 0)


def test_of_an_empty_table_no_row_is_asked_but_what_asks_for_more_is() -> None:
    row = Expected("ExpectColumnValuesToNotBeNull", {"column": "x"}, "critical", "不为空")
    there = Expected("ExpectTableRowCountToBeBetween", {"min_value": 1}, "warning", "有数据")
    of_table = Suite("bronze.a", "甲", "bronze.a", "select * from bronze.a", (row, there))
    validation = quality._Validation(None, {"bronze.a"})  # with no engine to ask
    assert next((r.success, r.observed) for _, r in validation.results(of_table)) == (True, "0 of 0 rows")
    for suite in (of_table, replace(of_table, asks_more=True), replace(of_table, table="bronze.b")):
        asked = [r.expectation for _, r in validation.results(suite) if r.observed.startswith("not evaluated")]
        assert asked == [e.type for e in (suite.expected[1:] if suite is of_table else suite.expected)]
