"""`gridlake feed check`: each thing that can be wrong is found, named by place, and nothing else is."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from gridlake import vocabularies
from gridlake.cli import main
from gridlake.contracts.check import check_files
from gridlake.contracts.predicates import objections
from gridlake.settings import CHECKOUT, Settings
from gridlake.vocabularies import Vocabularies
from tests.unit.contract_files import Change, added, changed, column, own, rule, tagged, top, without, write

EVENTS = (CHECKOUT / "expectations" / "contracts" / "city_platform" / "event.odcs.yaml",)
ROW = {"visit_id": "V1", "began_at": "2026-03-01 09:00:00"}
TO_EVENT = {
    "event_id": {"column": "visit_id"}, "class_code": {"constant": "0101"}, "level_code": {"constant": "1"}, "description": {"column": "ward"},
    "region_code": {"constant": "330106001001"}, "occurred_at": {"column": "began_at"}, "reported_at": {"column": "began_at"},
    "state_code": {"constant": "reported"}, "channel_code": {"constant": "hotline"}, "source_version": {"constant": 1},
    "changed_at": {"column": "began_at"},
}  # fmt: skip

CASES: dict[str, tuple[Change, str, str]] = {
    "an id that is not the path's": (top(id="clinic.visits"), "id", "clinic.visits"),
    "a version that is not semantic": (top(version="1.2"), "version", "1.2"),
    "a field that ODCS does not know": (top(colour="red"), "$", "colour"),
    "a status of the wrong type": (top(status=3), "$.status", "3"),
    "an unknown zone": (own("timeZone", "Asia/Hangzhou"), "gridlake.timeZone", "Asia/Hangzhou"),
    "an unknown datum": (own("coordinateSystem", "BD-09"), "gridlake.coordinateSystem", "BD-09"),
    "a volume without origin": (own("volume", {"min": 1}), "gridlake.volume", "none"),
    "a volume upside down": (own("volume", {"min": 9, "max": 1, "origin": "x"}), "gridlake.volume", "9 > 1"),
    "an ignored column that is kept": (own("ignoredColumns", ["ward"]), "gridlake.ignoredColumns", "ward"),
    "an unknown code list": (column("ward", customProperties=tagged(codeList="wards")), "column ward", "wards"),
    "an id of an unknown entity": (column("ward", customProperties=tagged(localIdOf="hospital")), "column ward", "hospital"),
    "a clock without format": (column("began_at", logicalTypeOptions={}), "column began_at", "none"),
    "a format that landing cannot read": (column("began_at", logicalTypeOptions={"format": "dd MMM yyyy"}), "column began_at", "dd MMM yyyy"),
    "a pattern that does not compile": (column("ward", logicalTypeOptions={"pattern": "[A-Z"}), "column ward", "[A-Z"),
    "a pattern with \\d": (column("ward", logicalTypeOptions={"pattern": "\\d+"}), "column ward", "\\d+"),
    "a pattern that looks ahead": (column("ward", logicalTypeOptions={"pattern": "(?=A).*"}), "column ward", "(?=A)"),
    "lengths upside down": (column("ward", logicalTypeOptions={"minLength": 9, "maxLength": 3}), "column ward", "9 > 3"),
    "a length on a number": (column("minutes", logicalTypeOptions={"maxLength": 3}), "column minutes", "integer"),
    "a range on a text": (column("ward", logicalTypeOptions={"minimum": 3}), "column ward", "string"),
    "a number as an allowed text": (column("minutes", enum=[{"value": "5"}]), "column minutes", "5"),
    "a column named like an audit column": (added(name="_op"), "column _op", "_op"),
    "a column named like a ciphertext": (added(name="patient_name_sealed"), "column patient_name_sealed", "patient_name_sealed"),
    "a column twice but for capitals": (added(name="WARD"), "column WARD", "ward"),
    "a column name with a space": (added(name="last seen"), "column last seen", "last seen"),
    "a key of class L4": (column("visit_id", classification="L4"), "column visit_id", "primaryKey"),
    "examples of class L4": (column("patient_name", examples=["示例甲"]), "column patient_name", "examples"),
    "a code list of class L4": (column("patient_name", customProperties=tagged(codeList="event_level")), "column patient_name", "codeList"),
    "class L4 on a number": (column("minutes", classification="L4"), "column minutes", "integer"),
    "an optional key": (column("visit_id", required=False), "column visit_id", "not required"),
    "a gap between key positions": (column("visit_id", primaryKeyPosition=2), "primaryKeyPosition", "[2]"),
    "half a position": (
        added(name="x", logicalType="number", customProperties=tagged(position="longitude")),
        "gridlake.position",
        "only longitude",
    ),
    "a rule over an unknown column": (rule(implementation="wards = 'A'"), "quality short_in_a1", "wards"),
    "a rule that is no condition": (rule(implementation="minutes + 1"), "quality short_in_a1", "BIGINT"),
    "a rule that compares unlike things": (rule(implementation="began_at > minutes"), "quality short_in_a1", "does not fit"),
    "a rule with a function of one engine": (rule(implementation="regexp_matches(ward, 'A')"), "quality short_in_a1", "regexp_matches()"),
    "a rule with a query": (rule(implementation="minutes < (select 3)"), "quality short_in_a1", "a subquery"),
    "a rule that is two statements": (rule(implementation="minutes < 3); drop table x; --"), "quality short_in_a1", "does not parse"),
    "a rule with a doubled quote": (rule(implementation="ward <> 'it''s'"), "quality short_in_a1", "doubled quote"),
    "a rule without description": (rule(description=""), "quality short_in_a1", "none"),
    "a rule named like a reason of landing": (rule(name="pattern"), "quality pattern", "pattern"),
    "no row to accept": (own("accept", []), "gridlake.accept", "none"),
    "no row to refuse": (own("reject", []), "gridlake.reject", "none"),
    "an accepted row with an unknown column": (own("accept", [{**ROW, "wart": 1}]), "gridlake.accept[1]", "wart"),
    "an accepted row without a required column": (own("accept", [{"visit_id": "V1"}]), "gridlake.accept[1]", "no began_at"),
    "an accepted delete without its version": (own("accept", [{"visit_id": "V1", "_op": "delete"}]), "gridlake.accept[1]", "no began_at"),
    "a row refused by no rule there is": (own("reject", [{"rule": "late", "field": "ward", "row": ROW}]), "gridlake.reject[1]", "late"),
    "a row refused at no column there is": (own("reject", [{"rule": "type", "field": "wart", "row": ROW}]), "gridlake.reject[1]", "wart"),
    "a map to nowhere": (own("map", {"event_id": {"column": "visit_id"}}), "gridlake.map", "none"),
    "an unknown entity": (own("conformsTo", "admission"), "gridlake.conformsTo", "admission"),
    "an unknown property of ours": (own("colour", "red"), "file", "gridlake.colour"),
    "a property of ours in another shape": (own("reject", [{"field": "ward"}]), "file", "row"),
}

MAPS: dict[str, tuple[dict[str, object], str, str]] = {
    "a required column left out": ({"level_code": None}, "gridlake.map", "none"),
    "an unknown source column": ({"level_code": {"column": "level"}}, "gridlake.map", "no column 'level'"),
    "an unknown canonical column": ({"grade": {"constant": 1}}, "gridlake.map.grade", "grade"),
    "two origins at once": ({"level_code": {"constant": "1", "column": "ward"}}, "gridlake.map.level_code", "constant"),
    "a constant outside the code list": ({"level_code": {"constant": "99"}}, "gridlake.map.level_code", "99"),
    "a code outside the code list": ({"level_code": {"column": "ward", "codes": {"A1": "1", "B2": "77"}}}, "gridlake.map.level_code", "77"),
    "a value without a code": ({"level_code": {"column": "ward", "codes": {"A1": "1"}}}, "gridlake.map.level_code", "B2"),
    "an open column for a sealed one": ({"reporter_name": {"column": "ward"}}, "gridlake.map", "reporter_name"),
}


@cache
def _vocabularies() -> Vocabularies:
    return vocabularies.load_all(Settings())


def _problems(tmp_path: Path, *changes: Change, beside: tuple[Path, ...] = ()) -> list[tuple[str, str]]:
    path = write(tmp_path, changed(*changes))
    return [(p.place, p.came) for p in check_files([path], _vocabularies(), beside)]


def test_a_sound_contract_has_no_problem(tmp_path: Path) -> None:
    assert _problems(tmp_path) == []


@pytest.mark.parametrize("case", CASES)
def test_it_finds(case: str, tmp_path: Path) -> None:
    change, place, came = CASES[case]
    found = _problems(tmp_path, change)
    assert [p for p in found if p[0] == place and came in p[1]], found
    # One mistake is told once; a pattern may be wrong in two ways, and a class in as many as it is used.
    assert len(found) <= 2, found


@pytest.mark.parametrize("case", MAPS)
def test_it_finds_in_a_map(case: str, tmp_path: Path) -> None:
    entries, place, came = MAPS[case]
    mapping = {name: entry for name, entry in {**TO_EVENT, **entries}.items() if entry is not None}
    found = _problems(tmp_path, own("conformsTo", "event"), own("map", mapping), beside=EVENTS)
    assert [(p, place in p[0] and came in p[1]) for p in found] == [(found[0], True)]


def test_a_whole_map_has_no_problem(tmp_path: Path) -> None:
    assert _problems(tmp_path, own("conformsTo", "event"), own("map", TO_EVENT), beside=EVENTS) == []


def test_a_key_that_stands_twice_is_found(tmp_path: Path) -> None:
    path = write(tmp_path, changed())
    path.write_text(path.read_text(encoding="utf-8") + "version: 9.9.9\n", encoding="utf-8")
    (found,) = check_files([path], _vocabularies())
    assert "'version' stands twice" in found.came


def test_every_agreed_way_to_write_a_rule_is_allowed() -> None:
    columns = {"a": "VARCHAR", "n": "BIGINT", "x": "DOUBLE", "t": "TIMESTAMP", "d": "DATE", "b": "BOOLEAN"}
    for predicate in (
        "a in ('x', 'y') and n between 1 and 3 or not b",
        "case when n > 1 then a like 'x%' else b end",
        "length(trim(coalesce(a, ''))) > 0 and upper(substring(a, 1, 2)) <> lower(right(a, 2))",
        "t <= t + interval 1 day and d >= cast(t as date)",
        "a is null or (x * 2 - n) / 3 % 2 <> 0 and abs(x) <= greatest(n, 1)",
        "a || 'x' not like '%y'",
    ):
        assert list(objections(predicate, columns)) == [], predicate


def test_command_exits_1_and_names_file_place_and_remedy(tmp_path: Path) -> None:
    path = write(tmp_path, changed(without("began_at"), own("volume", {"min": 1})))
    outcome = CliRunner().invoke(main, ["feed", "check", str(path)])
    assert outcome.exit_code == 1
    assert str(path) in outcome.output
    assert "an origin: where the numbers come from" in outcome.output
    assert "say in a few words how min and max were found" in outcome.output


def test_command_takes_vocabularies_that_lie_beside_the_contract(tmp_path: Path) -> None:
    write(tmp_path, changed(column("ward", enum=None, customProperties=tagged(codeList="wards"))))
    (tmp_path / "vocabularies").mkdir()
    (tmp_path / "vocabularies" / "wards.csv").write_text("code,name_zh,name_en\nA1,甲,A\n", encoding="utf-8")
    outcome = CliRunner().invoke(main, ["feed", "check", str(tmp_path), "--json"])
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.stdout)["problems"] == []


def test_command_refuses_a_folder_without_contracts(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(main, ["feed", "check", str(tmp_path)])
    assert outcome.exit_code == 1
    assert "found none" in outcome.output
