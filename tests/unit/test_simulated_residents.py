"""The simulated residents and what senders write of them: possible people, a truth that is true, codes with check digits, places in grids."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import pytest

from gridlake import vocabularies
from gridlake.settings import Settings
from spark_jobs.resolve.check_digit import check_digit
from streaming.simulator import city_lists, codes, departments, feeds, people, positions, profiles, registers, residents, teams
from streaming.simulator.parcels import Feed
from streaming.simulator.residents import Residents
from streaming.simulator.territory import Territory, lay_out

CITIES = ("330100000000", "330400000000")
FIRST_DAY, DAYS = np.datetime64("2026-01-01"), 300
# GB 11643, GB 32100: weights and check characters, written out apart from the simulator's own.
ID_WEIGHTS, ID_CHECKS = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2), "10X98765432"
USCC_LETTERS, USCC_WEIGHTS = "0123456789ABCDEFGHJKLMNPQRTUWXY", (1, 3, 9, 27, 19, 26, 16, 17, 20, 29, 25, 13, 8, 24, 10, 30, 28)


def settled(seed: int = 1) -> tuple[Territory, pd.DataFrame, Residents]:
    territory = lay_out(np.random.default_rng(seed), vocabularies.load_all(Settings()), CITIES, 40)
    members = teams.gather(np.random.default_rng(seed + 1), territory, FIRST_DAY, DAYS)
    return territory, members, residents.settle(np.random.default_rng(seed + 2), territory, members, FIRST_DAY, DAYS, 0.01)


@pytest.fixture(scope="module")
def world() -> tuple[Territory, pd.DataFrame, Residents]:
    return settled()


@pytest.fixture(scope="module")
def sent(world: tuple[Territory, pd.DataFrame, Residents]) -> dict[str, Feed]:
    territory, members, found = world
    events: Any = pd.DataFrame()
    ground = feeds.Ground(territory, members, events, FIRST_DAY, DAYS, lambda: found, lambda: pd.DataFrame())
    made = [*city_lists.feeds(np.random.default_rng(5), ground, CITIES), *departments.feeds(np.random.default_rng(6), ground)]
    return {feed.name: feed for feed in made}


def newest(feed: Feed) -> pd.DataFrame:
    """The good rows of a typed feed: each key's last version, without those taken back."""
    key = feed.schema.names[0]
    rows = feed.rows[feed.rows["_kind"].isna()].sort_values("source_version", kind="stable").groupby(["_sender", key], as_index=False).last()
    return rows[rows["_op"] == "upsert"] if "_op" in feed.schema.names else rows


def test_the_same_streams_settle_the_same_people() -> None:
    first, second, other = settled(3)[2], settled(3)[2], settled(4)[2]
    for name in ("addresses", "houses", "persons", "enterprises", "key_persons", "key_places", "registrations"):
        pd.testing.assert_frame_equal(getattr(first, name), getattr(second, name))
    assert first.person_truth.equals(second.person_truth)
    assert set(first.persons.id_number.dropna()) != set(other.persons.id_number.dropna())


def test_no_two_people_share_an_id_number_which_says_their_birthday_and_sex(world: tuple[Territory, pd.DataFrame, Residents]) -> None:
    _, members, found = world
    persons = found.persons
    own = persons[persons.member < 0].id_number
    assert pd.concat([own, members.id_number.dropna()]).is_unique
    assert persons.id_number.str.startswith("3399").all()
    assert (persons.id_number.str[6:14] == persons.born.dt.strftime("%Y%m%d")).all()
    assert ((persons.id_number.str[16].astype(int) % 2 == 1) == persons.is_male).all()
    assert all(ID_CHECKS[sum(int(d) * w for d, w in zip(i, ID_WEIGHTS, strict=False)) % 11] == i[17] for i in persons.id_number)


def test_households_are_families_or_lodgers_who_may_share_a_phone(world: tuple[Territory, pd.DataFrame, Residents]) -> None:
    persons = world[2].persons[lambda p: p.is_sampled & (p.member < 0)]
    heads = persons[persons.relation == "head"].set_index("house")
    assert heads.index.is_unique
    assert set(persons.house) == set(heads.index)
    children = persons[persons.relation == "child"]
    parents = heads.loc[children.house]
    assert (children.name.str[0].to_numpy() == parents.name.str[0].to_numpy()).all()
    assert (children.born.to_numpy() > parents.born.to_numpy()).all()
    spouses = persons[persons.relation == "spouse"]
    assert (spouses.is_male.to_numpy() != heads.loc[spouses.house].is_male.to_numpy()).all()
    assert persons.groupby("house").size().mean() == pytest.approx(np.dot(profiles.HOUSEHOLD_SIZE, range(1, 7)), abs=0.15)
    shared = persons.phone.dropna().duplicated(keep=False)
    assert 0.02 < shared.mean() < 0.5


def test_people_and_places_stand_inside_their_grids_at_addresses_of_their_villages(world: tuple[Territory, pd.DataFrame, Residents]) -> None:
    territory, _, found = world
    grids = territory.grids
    assert found.addresses.address_code.is_unique
    assert found.addresses.address_text.is_unique
    for table in (found.addresses, found.key_places):
        cell = grids.iloc[found.addresses.grid if table is found.addresses else found.addresses.grid.to_numpy()[table.address]]
        assert ((table.longitude.to_numpy() >= cell.west.to_numpy()) & (table.longitude.to_numpy() <= cell.east.to_numpy())).all()
        assert ((table.latitude.to_numpy() >= cell.south.to_numpy()) & (table.latitude.to_numpy() <= cell.north.to_numpy())).all()
    village = grids.region_code.to_numpy(object)
    assert (found.addresses.region_code == village[found.addresses.grid]).all()
    assert (found.addresses.address_code.str[:12] == found.addresses.region_code).all()
    named = zip(found.addresses.address_text, grids.village.to_numpy()[found.addresses.grid], strict=True)
    assert all(village in text for text, village in named)
    assert found.addresses.room_number.notna().any()
    assert found.addresses.group_number.notna().any()
    assert (found.addresses.road_name.isna() == found.addresses.group_number.notna()).all()


def test_who_leaves_a_list_leaves_it_once_and_after_he_was_listed(world: tuple[Territory, pd.DataFrame, Residents]) -> None:
    key_persons, key_places = world[2].key_persons, world[2].key_places
    ends = key_persons[["died_on", "moved_on", "released_on"]]
    assert (ends.notna().sum(axis=1) <= 1).all()
    assert ends.notna().any().all()
    assert (ends.min(axis=1).dropna() > key_persons.listed_on[ends.min(axis=1).notna()]).all()
    assert (key_places.closed_on.dropna() > key_places.listed_on[key_places.closed_on.notna()]).all()
    again = key_persons[key_persons.person.duplicated(keep=False)].sort_values("listed_on").groupby("person")
    assert len(again) > 0
    assert (again.moved_on.first() < again.listed_on.last()).all(), "whoever is on two lists moved from the one to the other"


_BEFALLEN = (
    ("name", {"name_typo"}),
    ("id_number", {"id_swap", "id_missing"}),
    ("phone", {"phone_other", "phone_missing"}),
    ("born", {"birth_slip"}),
)


def test_a_record_differs_from_its_person_in_just_what_the_truth_says(world: tuple[Territory, pd.DataFrame, Residents]) -> None:
    _, members, found = world
    truth = found.person_truth.to_pandas()
    records = {
        "person": found.registrations.assign(sender_code="zj_public_security", local_id=found.registrations.person_id),
        "key_person": found.key_persons.assign(local_id=found.key_persons.key_person_id),
    }
    kinds: Counter[str] = Counter()
    for feed, rows in records.items():
        said = rows.merge(truth[truth.feed == feed], on=["sender_code", "local_id"], suffixes=("", "_true"), validate="one_to_one")
        assert len(said) == len(rows)
        assert (said.person == said.person_true).all()
        person = found.persons.iloc[said.person].reset_index(drop=True)
        differences = said.differences_true.str.split(",").map(lambda kinds: set(kinds) - {""})
        kinds.update(kind for of_row in differences for kind in of_row)
        for column, its in _BEFALLEN:
            is_other = (said[column].astype(str) != person[column].astype(str)).to_numpy()
            assert (is_other == differences.map(lambda of_row, its=its: bool(of_row & its)).to_numpy()).all(), (feed, column)
        gone = differences.map(lambda of_row: "id_missing" in of_row)
        assert (said.id_number.isna() == (gone.to_numpy() | person.id_number.isna().to_numpy())).all()
    assert set(kinds) == {*set().union(*(its for _, its in _BEFALLEN)), "moved"}
    feeds_of_person = truth.groupby("person").feed.agg(set)
    for both in ({"person", "key_person"}, {"person", "team_member"}):
        assert (feeds_of_person.map(lambda seen, both=both: both <= seen)).sum() >= 10
    known = truth[truth.feed == "team_member"].merge(found.persons[found.persons.member >= 0], on="person")
    assert (
        members.set_index(["sender_code", "member_id"]).loc[list(zip(known.sender_code, known.local_id, strict=True))].id_number.to_numpy()
        == known.id_number.to_numpy()
    ).all()


def test_swapped_digits_stay_a_possible_number_of_the_same_birthday() -> None:
    persons = pd.DataFrame({"name": ["陈伟"] * 500, "id_number": people.id_numbers(np.random.default_rng(1), 500), "phone": None})
    written = registers.written(np.random.default_rng(2), persons, {"id_swap": 1.0, "name_typo": 1.0})
    assert (written.name == "陈玮").all()
    assert (written.id_number.str[:14] == persons.id_number.str[:14]).all()
    swapped = written.differences.str.contains("id_swap")
    assert (swapped == (persons.id_number.str[15] != persons.id_number.str[16])).all()
    assert (written.id_number[swapped].str[15] == persons.id_number[swapped].str[16]).all()


def test_micro_grids_divide_their_grid_and_add_up_to_it(world: tuple[Territory, pd.DataFrame, Residents], sent: dict[str, Feed]) -> None:
    rows = sent["micro_grid"].rows
    start = rows[rows["_kind"].isna() & (rows.source_version == 1)]
    assert start.household_count.between(1, 60).mean() > 0.95
    totals = start.groupby(["_sender", "grid_id"])[["household_count", "resident_count"]].sum().reset_index()
    grids = world[0].grids.merge(totals, left_on=["sender_code", "grid_id"], right_on=["_sender", "grid_id"], suffixes=("", "_sum"))
    assert len(grids) == len(totals) > 10
    assert (grids.household_count == grids.household_count_sum).all()
    assert (grids.resident_count == grids.resident_count_sum).all()
    placed = start.merge(world[0].grids, left_on=["_sender", "grid_id"], right_on=["sender_code", "grid_id"], suffixes=("", "_of_grid"))
    assert placed.longitude.astype(float).between(placed.west_of_grid, placed.east_of_grid).all()
    assert placed.latitude.astype(float).between(placed.south_of_grid, placed.north_of_grid).all()
    assert (rows["_op"] == "delete").any()


def test_the_tree_of_organisations_has_a_root_a_city_and_reaches_every_grid(
    world: tuple[Territory, pd.DataFrame, Residents], sent: dict[str, Feed]
) -> None:
    rows = newest(sent["organisation"])
    roots = rows[rows.parent_organisation_id.isna()]
    assert sorted(roots["_sender"]) == sorted(CITIES)
    children = rows[rows.parent_organisation_id.notna()]
    above = children.merge(rows, left_on=["_sender", "parent_organisation_id"], right_on=["_sender", "organisation_id"], suffixes=("", "_above"))
    assert len(above) == len(children)
    assert (above.organisation_level_above <= above.organisation_level).all()
    grids = rows[rows.organisation_type_code == "grid"]
    assert len(grids) == len(world[0].grids)
    assert grids.dingtalk_id.isna().all(), "the messenger does not reach the grids"
    platforms = rows[rows.organisation_type_code.str.endswith("_platform")].groupby(["_sender", "parent_organisation_id"]).size()
    assert (platforms == 4).all()


def test_positions_of_key_persons_are_coarse_and_their_ends_are_reported_later(sent: dict[str, Feed]) -> None:
    rows = sent["key_person"].rows
    good = rows[rows["_kind"].isna()]
    for axis in ("longitude", "latitude"):
        assert (good[axis].astype(float).round(3) == good[axis].astype(float)).all()
    left = good[good.status_code == "left"]
    assert len(left) > 3
    assert (pd.to_datetime(left.changed_at) >= pd.to_datetime(left.left_date) + pd.Timedelta(days=1)).all()
    assert (good.changed_at < pd.Timestamp(FIRST_DAY + DAYS)).all()


def test_a_person_lives_in_a_house_that_public_security_sent(sent: dict[str, Feed]) -> None:
    persons, houses = newest(sent["person"]), newest(sent["house"])
    assert set(persons.house_id) <= set(houses.house_id)
    counted = persons[persons.status_code == "living"].groupby("house_id").size()
    full = houses.set_index("house_id").occupant_count.astype(int)
    assert (full[full > 0].index.isin(persons.house_id)).all()
    assert (counted - full.reindex(counted.index)).abs().mean() < 0.1, "but for those who moved meanwhile"
    assert persons.grid_code.isna().mean() == pytest.approx(profiles.GRID_UNKNOWN_SHARE, abs=0.03)


def test_departments_name_a_grid_by_its_unified_code(world: tuple[Territory, pd.DataFrame, Residents], sent: dict[str, Feed]) -> None:
    grids = world[0].grids
    code_of = dict(zip(codes.grid_codes(grids), grids.region_code, strict=True))
    assert len(code_of) == len(grids)
    assert all(check_digit(int(d) for d in code[:15]) == int(code[15]) for code in code_of)
    for feed in ("address", "house", "person"):
        rows = newest(sent[feed])
        known = rows[rows.grid_code.notna()]
        assert len(known) > 100
        assert (known.grid_code.map(code_of) == known.region_code).all(), feed


def test_uniform_social_credit_codes_have_their_check_character() -> None:
    # The example of GB 32100-2015 itself, so that the check below is known to be right.
    assert is_uscc("91350100M000100Y43")
    assert not is_uscc("91350100M000100Y44")
    drawn = codes.uniform_social_credit_codes(np.random.default_rng(1), np.array(["1", "2", "3"] * 200, object))
    assert len(set(drawn)) == 600
    assert all(is_uscc(code) and code[2:6] == "3399" for code in drawn)
    assert {code[1] for code in drawn[1::3]} == {"2"}


def is_uscc(code: str) -> bool:
    total = sum(USCC_LETTERS.index(letter) * weight for letter, weight in zip(code, USCC_WEIGHTS, strict=False))
    return USCC_LETTERS[(31 - total % 31) % 31] == code[17]


def test_positions_of_departments_are_the_public_formulas_inverse() -> None:
    # WGS84 (116.404, 39.915) is GCJ-02 (116.410244, 39.916404) by every published implementation.
    longitude, latitude = positions.to_cgcs2000(np.array([116.41024449916938]), np.array([39.91640428150164]))
    assert (longitude[0], latitude[0]) == (pytest.approx(116.404, abs=2e-6), pytest.approx(39.915, abs=2e-6))
