"""The code lists, the region tree, the work calendar and the senders that come with the project."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow.compute as pc
import pytest

from gridlake import contracts, senders, vocabularies
from gridlake.regions import RegionTree
from gridlake.settings import Settings

VOCABULARIES = vocabularies.load_all(Settings())
SENDERS = senders.load_all(Settings())
CONTRACTS = contracts.load_all(Settings())
PROVINCE = "330000000000"
FEEDS = {"grid", "team_member", "event", "event_step"}


def test_region_tree_has_every_division_of_the_province() -> None:
    levels = VOCABULARIES.regions.filter(pc.equal(VOCABULARIES.regions.column("region_system"), "cn")).column("region_level")
    assert {count["values"]: count["counts"] for count in pc.value_counts(levels).to_pylist()} == {1: 1, 2: 11, 3: 90, 4: 1387, 5: 25547}


def test_every_region_hangs_below_one_of_the_level_above() -> None:
    regions = VOCABULARIES.regions.to_pylist()
    level_of = {r["region_code"]: r["region_level"] for r in regions}
    assert len(level_of) == len(regions)
    digits = {1: 2, 2: 4, 3: 6, 4: 9, 5: 12}
    for r in regions:
        code, level = r["region_code"], r["region_level"]
        assert len(code) == 12
        assert code == code[: digits[level]].ljust(12, "0")
        if level == 1:
            assert r["parent_code"] is None
        else:
            assert level_of[r["parent_code"]] == level - 1
            assert code.startswith(r["parent_code"][: digits[level - 1]])


@pytest.mark.parametrize("name", [v.name for v in VOCABULARIES.code_lists])
def test_code_list_has_each_code_once_with_a_chinese_and_an_english_name(name: str) -> None:
    rows = VOCABULARIES[name].rows.to_pylist()
    assert len({r["code"] for r in rows}) == len(rows) > 0
    assert all(r["code"] and r["name_zh"] and r["name_en"] for r in rows)


def test_every_code_list_that_a_contract_names_is_there() -> None:
    named = {c.code_list for contract in CONTRACTS.values() for c in contract.columns if c.code_list}
    assert named >= {"event_class", "event_level", "event_state", "event_channel", "grid_type", "team_role", "step_action"}
    assert named <= set(VOCABULARIES)


def test_event_classes_have_two_levels_a_limit_and_somebody_responsible() -> None:
    rows = VOCABULARIES["event_class"].rows.to_pylist()
    first = {r["code"]: r for r in rows if r["parent_code"] is None}
    assert len(first) == 10
    for r in rows:
        assert int(r["limit_hours"]) > 0
        assert r["responsible_role"]
        assert date.fromisoformat(r["valid_from"]) < date.fromisoformat(r["valid_to"] or "9999-12-31")
        if r["parent_code"] is not None:
            assert r["code"][:2] == r["parent_code"]
            assert r["parent_code"] in first
            assert int(r["limit_hours"]) <= int(first[r["parent_code"]]["limit_hours"])


def test_team_roles_require_one_leader_and_three_more() -> None:
    required = {r["code"]: int(r["required_count"]) for r in VOCABULARIES["team_role"].rows.to_pylist()}
    assert required == {"leader": 1, "dedicated": 1, "part_time": 1, "adviser": 1, "other": 0}


def test_work_calendar_has_every_day_of_two_years_with_the_published_holidays() -> None:
    days = {r["date"]: r for r in VOCABULARIES.work_calendar.to_pylist()}
    assert list(days) == [date(2025, 1, 1) + timedelta(n) for n in range(730)]
    for day, row in days.items():
        weekend = day.weekday() >= 5
        assert row["day_type"] in ({"weekend", "holiday", "makeup_workday"} if weekend else {"workday", "holiday"}), day
        assert (row["name"] is not None) == (row["day_type"] in {"holiday", "makeup_workday"}), day
    # The State Council's notices of 12 November 2024 and 4 November 2025.
    holidays = {year: sum(d.year == year and r["day_type"] == "holiday" for d, r in days.items()) for year in (2025, 2026)}
    assert holidays == {2025: 28, 2026: 33}
    makeup = [d.isoformat() for d, r in days.items() if r["day_type"] == "makeup_workday"]
    assert makeup == [
        "2025-01-26", "2025-02-08", "2025-04-27", "2025-09-28", "2025-10-11",
        "2026-01-04", "2026-02-14", "2026-02-28", "2026-05-09", "2026-09-20", "2026-10-10",
    ]  # fmt: skip
    assert days[date(2026, 2, 17)]["name"] == "春节"
    assert days[date(2026, 9, 25)]["name"] == "中秋节"


def test_every_county_has_a_position_in_the_province() -> None:
    counties = {r["region_code"] for r in VOCABULARIES.regions.to_pylist() if r["region_level"] == 3}
    rows = {r["code"]: r for r in VOCABULARIES["county_position_gcj02"].rows.to_pylist()}
    assert set(rows) == counties
    for r in rows.values():
        assert 118.0 < float(r["longitude"]) < 123.0
        assert 27.0 < float(r["latitude"]) < 31.3
        assert 0.05 < float(r["width_deg"]) < 1.5
        assert 0.05 < float(r["height_deg"]) < 1.5


def test_every_city_is_a_sender_of_its_own_region_and_the_province_of_the_divisions() -> None:
    cities = {r["region_code"] for r in VOCABULARIES.regions.to_pylist() if r["region_level"] == 2}
    assert {code for code in SENDERS if code != PROVINCE and not code.startswith("zj_")} == cities
    for code in cities:
        assert SENDERS[code].regions == (code,)
        assert set(SENDERS[code].feeds) >= {f"city_platform.{feed}" for feed in FEEDS}
        assert {feed.partition(".")[0] for feed in SENDERS[code].feeds} == {"city_platform"}
    assert {feed for feed in SENDERS[PROVINCE].feeds if not feed.startswith("province_platform.")} == {"city_platform.region"}
    assert all(sender.regions == (PROVINCE,) for code, sender in SENDERS.items() if code not in cities)


def test_senders_may_send_the_contracts_as_they_are() -> None:
    for contract in CONTRACTS.values():
        entitled = [s for s in SENDERS.values() if s.may_send(contract.source, contract.feed, contract.version)]
        of_many = {"city_platform": 1 if contract.feed == "region" else 11, "department_system": 2}
        assert len(entitled) == of_many.get(contract.source, 1), contract.id


def test_a_city_answers_for_its_villages_and_for_no_other_citys() -> None:
    tree = RegionTree(VOCABULARIES.regions)
    hangzhou, jiaxing = (set(tree.subtree("cn", [c]).to_pylist()) for c in ("330100000000", "330400000000"))
    assert "330106002051" in hangzhou
    assert not hangzhou & jiaxing
    assert len(tree.subtree("cn", [PROVINCE])) == 27036


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda c: c.id)
def test_contract_says_all_that_its_readers_need(contract: contracts.Contract) -> None:
    assert contract.defines == contract.feed
    assert len(contract.accept) >= 2
    assert len({(r.rule, r.field) for r in contract.reject}) >= 5
    assert {"required", "type", "pattern", "unknown_column"} <= {r.rule for r in contract.reject}
    assert {r.rule for r in contract.reject} & {rule.name for rule in contract.rules}
    assert [c.name for c in contract.version_order] == ["source_version", "changed_at"]
    assert contract.volume.min
    assert contract.volume.max
    assert contract.volume.origin
    assert all(c.title != c.name for c in contract.columns), "every column has a Chinese name"
    bounded = [c for c in contract.columns if c.logical_type == "string" and not c.code_list]
    assert all(c.max_length or c.pattern for c in bounded), "no text without a limit"
