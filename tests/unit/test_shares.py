"""The sharing pool gives what its files say, and no file can give a column of class L4, or one of class L3 without a purpose."""

from __future__ import annotations

from pathlib import Path

import pytest

from gridlake import contracts, shares, vocabularies
from gridlake.settings import Settings
from gridlake.shares import NotEntitled, Share, ShareError, entitlements, load, load_all

SETTINGS = Settings()
CONTRACTS = contracts.load_all(SETTINGS)
PURPOSES = set(vocabularies.load_all(SETTINGS)["share_purpose"].codes)
BUILT_IN = load_all(SETTINGS, CONTRACTS, PURPOSES)
PERSON = """
title: 常住人口
entity: person
columns: [person_id, region_code]
sensitive: [birth_date]
grants:
  - {levels: [2], departments: ["*"], purposes: [statistics]}
  - {levels: [4], departments: [zj_civil_affairs], purposes: [visit], sensitive: true}
"""


def said(folder: Path, text: str) -> Share:
    (folder / "person.yml").write_text(text, encoding="utf-8")
    return load(folder / "person.yml", CONTRACTS, PURPOSES)


@pytest.mark.parametrize("share", BUILT_IN.values(), ids=lambda s: s.name)
def test_no_sealed_column_and_no_sensitive_one_without_a_purpose_is_given(share: Share) -> None:
    classes = {c.name: c.classification for c in CONTRACTS.defining(share.entity).columns}
    rows = [row for row in entitlements(BUILT_IN).to_pylist() if row["share"] == share.name]
    assert rows
    for row in rows:
        assert classes[row["column_name"]] == row["column_class"] != "L4"
        assert not row["column_name"].endswith(("_sealed", "_token"))
        assert row["purpose"] in PURPOSES
        sensitive = [g for g in share.grants if g.with_sensitive and g.is_for(row["receiver_level"], row["receiver_department"], row["purpose"])]
        assert row["column_class"] != "L3" or sensitive


def test_who_asks_gets_what_is_granted_for_the_purpose_and_no_more(tmp_path: Path) -> None:
    share = said(tmp_path, PERSON)
    assert share.columns_for(2, "anybody", "statistics") == ["person_id", "region_code"]
    assert share.columns_for(4, "zj_civil_affairs", "visit") == ["person_id", "region_code", "birth_date"]
    for level, department, purpose in ((4, "anybody", "visit"), (4, "zj_civil_affairs", "statistics"), (3, "anybody", "statistics"), (2, "*", "")):
        with pytest.raises(NotEntitled, match="there is none"):
            share.columns_for(level, department, purpose)


@pytest.mark.parametrize(
    ("was", "becomes", "problem"),
    [
        ("[person_id, region_code]", "[person_id, phone]", "phone: class L4 is never shared"),
        ("sensitive: [birth_date]", "sensitive: [id_number]", "id_number: class L4 is never shared"),
        ("[person_id, region_code]", "[person_id, id_number_token]", "id_number_token: no column of person"),
        ("[person_id, region_code]", "[person_id, house_id]", "house_id: class L3 belongs under `sensitive`"),
        ("purposes: [visit]", "purposes: []", "without a purpose"),
        ("purposes: [visit]", "purposes: [curiosity]", "'curiosity': not in the code list"),
        ("levels: [4]", "levels: [1]", "level 1"),
        ("sensitive: true", "sensitive: false", "sensitive columns that no grant gives"),
        ("entity: person", "entity: ghost", "no contract defines"),
        ("purposes: [visit]", "purpose: [visit]", "purpose is nothing that a grant says"),
    ],
)
def test_a_share_that_gives_too_much_is_an_error_that_says_what(tmp_path: Path, was: str, becomes: str, problem: str) -> None:
    assert was in PERSON
    with pytest.raises(ShareError, match=problem):
        said(tmp_path, PERSON.replace(was, becomes))


def test_one_file_in_a_folder_of_contracts_is_a_share(tmp_path: Path) -> None:
    (tmp_path / "shares").mkdir()
    (tmp_path / "shares" / "resident.yml").write_text(PERSON, encoding="utf-8")
    found = shares.load_all(Settings(contracts=tmp_path), CONTRACTS, PURPOSES)
    assert {*found} == {*BUILT_IN, "resident"}
    given = {(r["receiver_level"], r["column_name"]) for r in entitlements(found).to_pylist() if r["share"] == "resident"}
    assert given == {(2, "person_id"), (2, "region_code"), (4, "person_id"), (4, "region_code"), (4, "birth_date")}
