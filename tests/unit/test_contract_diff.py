"""`gridlake feed diff`: what changed, how grave it is, and whether the version number says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from gridlake.cli import main
from gridlake.contracts import load
from gridlake.contracts.diff import compare, diff, next_version
from tests.unit.contract_files import Change, added, changed, column, own, rule, tagged, top, without, write

CASES: dict[str, tuple[Change, str, str, str]] = {
    "a column is removed": (without("ward"), "column ward", "breaking", "major"),
    "a required column is added": (added(name="room", required=True), "column room", "breaking", "major"),
    "a type changes": (column("minutes", logicalType="string", logicalTypeOptions=None), "column minutes", "breaking", "major"),
    "a column becomes required": (column("minutes", required=True), "column minutes", "breaking", "major"),
    "a limit narrows": (column("minutes", logicalTypeOptions={"minimum": 1, "maximum": 60}), "column minutes", "breaking", "major"),
    "a pattern changes": (column("ward", logicalTypeOptions={"pattern": "[A-C][0-9]+", "maxLength": 10}), "column ward", "breaking", "major"),
    "a clock is written otherwise": (column("began_at", logicalTypeOptions={"format": "yyyy/MM/dd HH:mm"}), "column began_at", "breaking", "major"),
    "the key changes": (column("ward", primaryKey=True, primaryKeyPosition=2, required=True), "key", "breaking", "major"),
    "fewer rows stop a delivery": (own("volume", {"min": 5, "max": 100, "origin": "a test"}), "volume", "breaking", "major"),
    "an optional column is added": (added(name="room"), "column room", "additive", "minor"),
    "a column becomes optional": (column("began_at", required=False), "column began_at", "additive", "minor"),
    "a limit widens": (column("minutes", logicalTypeOptions={"minimum": 1, "maximum": 900}), "column minutes", "additive", "minor"),
    "a limit is lifted": (column("ward", logicalTypeOptions={"pattern": "[A-Z][0-9]+"}), "column ward", "additive", "minor"),
    "a source column is ignored": (own("ignoredColumns", ["note"]), "ignoredColumns", "additive", "minor"),
    "a value goes": (column("ward", enum=[{"value": "A1"}]), "column ward", "meaning-changing", "major"),
    "a value comes": (column("ward", enum=[{"value": "A1"}, {"value": "B2"}, {"value": "C3"}]), "column ward", "meaning-changing", "minor"),
    "a code list is another": (column("ward", customProperties=tagged(codeList="event_level")), "column ward", "meaning-changing", "major"),
    "a unit changes": (column("minutes", description="单位：秒"), "column minutes", "meaning-changing", "major"),
    "the zone changes": (own("timeZone", "UTC"), "timeZone", "meaning-changing", "major"),
    "the datum changes": (own("coordinateSystem", "WGS84"), "coordinateSystem", "meaning-changing", "major"),
    "the repeat window changes": (own("repeatWindow", "5 days"), "repeatWindow", "meaning-changing", "minor"),
    "a column is sealed": (column("ward", classification="L4"), "column ward", "meaning-changing", "major"),
    "a class rises below L4": (column("ward", classification="L3"), "column ward", "meaning-changing", "minor"),
    "a map changes": (own("map", {"x": {"constant": 1}}), "map.x", "meaning-changing", "minor"),
    "a rule is another": (rule(implementation="minutes > 3"), "rule short_in_a1", "meaning-changing", "major"),
    "a rule only counts": (rule(severity="warning"), "rule short_in_a1", "meaning-changing", "minor"),
    "a title is reworded": (column("ward", businessName="病区"), "column ward", "wording", "patch"),
    "the purpose is reworded": (top(description={"purpose": "新"}), "contract", "wording", "patch"),
}


@pytest.mark.parametrize("case", CASES)
def test_it_classes_the_change_when(case: str, tmp_path: Path) -> None:
    change, place, kind, level = CASES[case]
    changes = diff(load(write(tmp_path / "old", changed())), load(write(tmp_path / "new", changed(change))))
    assert (place, kind, level) in [(c.place, c.kind, c.level) for c in changes]
    # The gravest comes first, and it is the one in question.
    assert changes[0].level == level


def test_every_change_tells_the_sender_what_to_do(tmp_path: Path) -> None:
    for number, (change, *_rest) in enumerate(CASES.values()):
        old, new = (write(tmp_path / f"{side}{number}", changed(*made)) for side, made in (("old", []), ("new", [change])))
        assert all(c.sender and c.what for c in diff(load(old), load(new)))


def test_nothing_changed_is_no_change(tmp_path: Path) -> None:
    assert diff(load(write(tmp_path / "old", changed())), load(write(tmp_path / "new", changed()))) == []


@pytest.mark.parametrize(
    ("version", "level", "needed"),
    [
        ("1.2.3", "major", "2.0.0"),
        ("1.2.3", "minor", "1.3.0"),
        ("1.2.3", "patch", "1.2.4"),
        ("1.2.3", None, "1.2.3"),
        ("0.2.3", "major", "0.3.0"),
    ],
)
def test_the_next_version_is_the_one_semver_asks_for(version: str, level: str, needed: str) -> None:
    assert next_version(version, level) == needed  # type: ignore[arg-type]


@pytest.mark.parametrize(("version", "code"), [("1.2.0", 1), ("1.3.0", 1), ("2.0.0", 0), ("3.0.0", 0)])
def test_command_fails_unless_the_new_version_suffices(version: str, code: int, tmp_path: Path) -> None:
    old = write(tmp_path / "old", changed())
    new = write(tmp_path / "new", changed(without("ward"), top(version=version)))
    outcome = CliRunner().invoke(main, ["feed", "diff", str(old), str(new)])
    assert outcome.exit_code == code, outcome.output
    assert "sender: drop the column from what you send" in outcome.output
    assert ("set version: 2.0.0" in outcome.output) is (code == 1)


def test_folders_are_compared_feed_by_feed_with_their_code_lists(tmp_path: Path) -> None:
    listed = column("ward", enum=None, customProperties=tagged(codeList="wards"))
    for side, codes in (("old", "A1,甲,A\nB2,乙,B\n"), ("new", "A1,甲改,A\nC3,丙,C\n")):
        write(tmp_path / side, changed(listed))
        (tmp_path / side / "vocabularies").mkdir()
        (tmp_path / side / "vocabularies" / "wards.csv").write_text(f"code,name_zh,name_en\n{codes}", encoding="utf-8")
    write(tmp_path / "new", changed(top(id="clinic.bed")), "clinic/bed")
    write(tmp_path / "old", changed(top(id="clinic.gone")), "clinic/gone")
    write(tmp_path / "old", changed(top(id="clinic.left", status="deprecated")), "clinic/left")
    verdicts = {v.feed: v for v in compare(tmp_path / "old", tmp_path / "new")}
    assert set(verdicts) == {"clinic__visit", "clinic__bed", "clinic__gone", "clinic__left"}
    assert [(c.kind, c.level, c.what) for c in verdicts["clinic__visit"].changes] == [
        ("meaning-changing", "major", "codes gone: B2"),
        ("meaning-changing", "minor", "codes new: C3"),
        ("meaning-changing", "minor", "names changed: A1 甲 → 甲改"),
    ]
    assert not verdicts["clinic__visit"].suffices
    assert verdicts["clinic__visit"].needed_version == "2.0.0"
    assert verdicts["clinic__bed"].suffices
    assert not verdicts["clinic__gone"].suffices
    assert verdicts["clinic__left"].suffices


def test_json_gives_every_change_and_the_needed_version(tmp_path: Path) -> None:
    old = write(tmp_path / "old", changed())
    new = write(tmp_path / "new", changed(added(name="room"), top(version="1.3.0")))
    outcome = CliRunner().invoke(main, ["feed", "diff", str(old), str(new), "--json"])
    assert outcome.exit_code == 0
    (verdict,) = json.loads(outcome.stdout)["feeds"]
    assert (verdict["needed_version"], verdict["suffices"]) == ("1.3.0", True)
    assert verdict["changes"][0]["kind"] == "additive"


def test_a_file_beside_a_folder_is_refused(tmp_path: Path) -> None:
    old = write(tmp_path / "old", changed())
    outcome = CliRunner().invoke(main, ["feed", "diff", str(old), str(tmp_path)])
    assert outcome.exit_code == 1
    assert "two files or two folders" in outcome.output
