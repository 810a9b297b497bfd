"""Suites as declarations: what files may say, and what is derived from a contract, without an engine."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from gridlake import contracts, quality, senders, suites, vocabularies
from gridlake.runs import RunError
from gridlake.settings import Settings
from gridlake.suites import Expected, Suite, SuiteError

SUITE = {
    "title": "来电不少",
    "table": "mart.call_daily",
    "expectations": [{"type": "ExpectTableRowCountToBeBetween", "title": "有行", "severity": "warning", "kwargs": {"min_value": 1}}],
}


def _by_hand(tmp_path: Path, document: dict[str, object], *present: str) -> list[Suite]:
    (tmp_path / "suites").mkdir(exist_ok=True)
    (tmp_path / "suites" / "calls.yml").write_text(yaml.safe_dump(document, allow_unicode=True), encoding="utf-8")
    settings = Settings(contracts=tmp_path)
    return suites.by_hand(settings, suites.checks(settings), present, datetime(2026, 3, 1, 16, tzinfo=UTC))


def _of_event() -> tuple[Suite, Suite]:
    settings = Settings(contracts=None)
    named = suites.checks(settings)
    event = contracts.load_all(settings)["city_platform__event"]
    rows, arrival = suites.of_contract(event, vocabularies.load_all(settings), senders.load_all(settings), named)
    return rows, arrival


def _about(suite: Suite, column: str) -> set[tuple[str, str]]:
    return {(e.type, e.severity) for e in suite.expected if e.column_name == column}


def test_a_suite_beside_the_contracts_is_found_where_its_table_is(tmp_path: Path) -> None:
    (found,) = _by_hand(tmp_path, SUITE, "mart.call_daily")
    assert found.name == "set.calls"
    assert found.query == "select * from mart.call_daily"
    assert found.expected == (Expected("ExpectTableRowCountToBeBetween", {"min_value": 1}, "warning", "有行"),)
    assert _by_hand(tmp_path, SUITE, "mart.answer_daily") == []


def test_a_query_may_name_the_clock_of_the_run(tmp_path: Path) -> None:
    (found,) = _by_hand(tmp_path, {**SUITE, "query": "select * from mart.call_daily where at < {as_of}"}, "mart.call_daily")
    assert found.query == "select * from mart.call_daily where at < timestamp '2026-03-01 16:00:00.000000'"


def test_a_suite_may_use_a_named_check_on_a_column(tmp_path: Path) -> None:
    (found,) = _by_hand(tmp_path, {**SUITE, "expectations": [{"check": "no_personal_number", "column": "note"}]}, "mart.call_daily")
    assert (found.expected[0].severity, found.expected[0].column_name) == ("critical", "note")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": "red"}, "unknown: colour"),
        ({"title": "x", "table": "y", "expectations": None}, "expectations"),
        ({"expectations": [{"check": "no_such_check"}]}, "no check 'no_such_check'; there are join_token"),
        ({"expectations": [{"type": "ExpectColumnToExist", "title": "x", "severity": "fatal"}]}, "severity 'fatal': expected critical or warning"),
        ({"expectations": [{"type": "ExpectColumnToExist"}]}, "severity, title is missing"),
    ],
)
def test_a_suite_that_cannot_be_understood_is_refused_with_file_and_reason(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(SuiteError, match=said) as refused:
        _by_hand(tmp_path, {**SUITE, **change}, "mart.call_daily")
    assert "calls.yml" in str(refused.value)


def test_a_sealed_column_is_guarded_as_ciphertext_and_token_and_never_by_its_values() -> None:
    rows, _ = _of_event()
    assert ("ExpectColumnValuesToMatchRegex", "critical") in _about(rows, "reporter_phone_sealed")
    assert ("ExpectColumnValuesToMatchRegex", "critical") in _about(rows, "reporter_phone_token")
    assert _about(rows, "reporter_phone") == set()
    assert [e for e in rows.expected if e.type == "ExpectNoColumnToMatch" and "reporter_phone" in e.kwargs["regex"]]


def test_keys_are_critical_and_limits_are_warnings() -> None:
    rows, arrival = _of_event()
    assert ("ExpectColumnValuesToNotBeNull", "critical") in _about(rows, "event_id")
    assert ("ExpectColumnValuesToBeUnique", "critical") in _about(rows, "_source_position")
    assert _about(rows, "class_code") == {(f"ExpectColumnValuesTo{what}", "warning") for what in ("NotBeNull", "BeInSet")}
    assert ("ExpectColumnValuesToBeBetween", "warning") in _about(rows, "longitude")
    assert arrival.table == rows.table


def test_required_columns_are_asked_of_upserts_only() -> None:
    rows, _ = _of_event()
    (required,) = [e for e in rows.expected if e.column_name == "class_code" and e.type == "ExpectColumnValuesToNotBeNull"]
    assert required.where == "_op = 'upsert'"


def test_rules_over_sealed_or_redacted_columns_are_left_to_landing() -> None:
    settings = Settings(contracts=None)
    member = contracts.load_all(settings)["city_platform__team_member"]
    assert any("phone" in r.predicate for r in member.rules)
    rows, _ = suites.of_contract(member, vocabularies.load_all(settings), senders.load_all(settings), suites.checks(settings))
    assert "phone is" not in rows.query
    assert "_rule_left_after_joined" in rows.query


def test_without_dbts_manifest_nothing_is_taken_for_checked(tmp_path: Path) -> None:
    settings = Settings(contracts=None)
    with pytest.raises(RunError, match="gridlake build"):
        suites.of_project(tmp_path / "manifest.json", contracts.load_all(settings), vocabularies.load_all(settings), suites.checks(settings))


def test_of_rows_that_did_not_change_only_what_was_broken_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    unique, known = (Expected(kind, {"column": "grid_id"}, "warning", title) for kind, title in (("unique", "不重复"), ("in_set", "在网格中")))
    suite = Suite("business.event", "事件", "business.event", "select * from business.event", (unique, known))
    broken = {("business.event", "in_set", "在网格中", "grid_id"): 2, ("mart.overdue", "unique", "不重复", "grid_id"): 1}

    def asked(condition: str | None, broken: dict[tuple[str, ...], int]) -> list[tuple[str, tuple[Expected, ...]]]:
        before = quality._Before({suite.name: condition} if condition else {}, broken)
        monkeypatch.setattr(quality._Before, "of", lambda run: before)
        validation = _Noting()
        list(quality._Increment(SimpleNamespace(tables=SimpleNamespace(version=int)), validation).results(suite))  # type: ignore[arg-type]
        return validation.asked

    assert asked(None, broken) == [(suite.query, (unique, known))]
    changed = "select * from (select * from business.event where month = 3)"
    assert asked("month = 3", {}) == [(changed, (unique, known))]
    assert asked("month = 3", broken) == [(suite.query, (known,)), (changed, (unique,))]
    assert asked("false", broken) == [(suite.query, (known,))]
    assert asked("false", {}) == []


class _Noting:
    """Notes what it is asked, and finds nothing."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, tuple[Expected, ...]]] = []

    def results(self, suite: Suite) -> Iterator[tuple[Expected, quality.Result]]:
        self.asked.append((suite.query, suite.expected))
        yield from ((e, quality._held(suite, e)) for e in suite.expected)
