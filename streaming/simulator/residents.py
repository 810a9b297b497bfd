"""Who lives where in the simulated cities, and what stands there: a sample of households, key persons, key places, enterprises, their addresses.

One true person is one row of `persons`, however many senders know him and whatever each of them writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import addresses, codes, people, profiles, registers
from streaming.simulator.territory import Territory
from streaming.simulator.texts import Texts, kept

_NEVER = np.datetime64("NaT", "s")
HEAD, SPOUSE, CHILD, PARENT, OTHER = "head", "spouse", "child", "parent", "other"
# A member of a household by its place in it.
_RELATIONS = np.array([HEAD, SPOUSE, CHILD, CHILD, PARENT, PARENT], object)
_FEWEST = 20


@dataclass(frozen=True)
class Residents:
    """Rows refer to each other by number: `grid` of the territory's grids, `person`, `house`, `address`, `enterprise` of these tables.

    persons: person, house, grid, name, id_number, phone (None: none), born, is_male, relation, is_floating, member (row of the members; -1),
    died_on, moved_on (NaT while neither), is_sampled (public security sends him).
    houses: grid, address, is_rented, house_use_code, area_m2, room_count, is_sampled.
    addresses: as `addresses.listed` gives them.
    enterprises: grid, address, uscc, enterprise_name, enterprise_type_code, industry_code, person_name, phone, established_on, closed_on (NaT).
    key_persons, key_places: see `settle`. registrations, person_truth: see `registers`.
    """

    addresses: pd.DataFrame
    houses: pd.DataFrame
    persons: pd.DataFrame
    enterprises: pd.DataFrame
    key_persons: pd.DataFrame
    key_places: pd.DataFrame
    registrations: pd.DataFrame
    person_truth: pa.Table


def settle(random: np.random.Generator, territory: Territory, members: pd.DataFrame, first_day: np.datetime64, days: int, share: float) -> Residents:
    """The people and places of the days from `first_day`; `share` of all households and enterprises, but every key person and key place.

    `key_persons`: sender_code, key_person_id, grid, person, member (who looks after him; -1), person_type_code, risk_level_code, longitude, latitude
    (GCJ-02), name, id_number, phone, born (as the list has them), differences, listed_on, died_on, moved_on, released_on (NaT: not so; on that day he
    leaves the list).
    `key_places`: sender_code, key_place_id, grid, address, enterprise (-1), member (-1), place_type_code, risk_level_code, place_name, person_name,
    phone, longitude, latitude, listed_on, closed_on (NaT).
    """
    last_day = first_day + np.timedelta64(days - 1, "D")
    grids = territory.grids
    sampled = np.repeat(np.arange(len(grids)), random.poisson(grids.household_count * share))
    if len(sampled) < _FEWEST:
        sampled = np.sort(random.integers(len(grids), size=_FEWEST))
    households = _households(random, sampled, first_day)
    of_members = _of_members(random, members)
    wanted = max(_FEWEST, round(len(grids) * profiles.KEY_PERSONS_PER_GRID))
    known = _also_key_persons(random, households, wanted)
    strangers = _strangers(random, grids, wanted - len(known), first_day)
    persons, houses = _together(random, [households, of_members, strangers])
    key_persons = _key_persons(
        random, territory, members, persons, np.concatenate([known, len(persons) - len(strangers) + np.arange(len(strangers))]), first_day, days
    )
    persons = _fates(persons, key_persons)
    enterprises = _enterprises(random, grids, share, first_day, last_day)
    key_places = _key_places(random, territory, members, enterprises, first_day, days)
    homes = addresses.draw(random, territory, houses.grid.to_numpy(), (houses.house_use_code != "shop").to_numpy())
    premises = addresses.draw(random, territory, enterprises.grid.to_numpy(), np.zeros(len(enterprises), bool))
    places = addresses.draw(random, territory, key_places.grid.to_numpy(), np.zeros(len(key_places), bool))
    listed, which = addresses.listed(pd.concat([homes, premises, places], ignore_index=True))
    houses["address"] = which[: len(houses)]
    enterprises["address"] = which[len(houses) : len(houses) + len(enterprises)]
    own = which[len(houses) + len(enterprises) :]
    of_enterprise = key_places.enterprise.to_numpy()
    key_places["address"] = np.where(of_enterprise >= 0, enterprises.address.to_numpy()[of_enterprise], own)
    for table, address in ((key_places, key_places.address), (key_persons, houses.address.to_numpy()[persons.house.to_numpy()[key_persons.person]])):
        for axis in ("longitude", "latitude"):
            table[axis] = listed[axis].to_numpy()[address]
    on_lists = registers.written(random, persons.iloc[key_persons.person], profiles.DIFFERENCES_ON_KEY_PERSON_LISTS)
    key_persons = pd.concat([key_persons, on_lists], axis=1)
    registered = registers.registrations(random, persons, houses, first_day, days)
    truth = registers.person_truth(persons, registered, key_persons, members)
    return Residents(listed, houses, persons, enterprises, key_persons, key_places, registered, truth)


def _households(random: np.random.Generator, grid: NDArray[np.int64], first_day: np.datetime64) -> pd.DataFrame:
    """The members of one household a row of `grid`, one after the other."""
    size = random.choice(np.arange(1, 7), size=len(grid), p=profiles.HOUSEHOLD_SIZE)
    house = np.repeat(np.arange(len(grid)), size)
    place = np.arange(len(house)) - np.repeat(np.cumsum(size) - size, size)
    head = np.repeat(np.cumsum(size) - size, size)
    age = np.clip(random.normal(48, 15, len(grid)), 20, 92)[house]
    floating = (random.random(len(grid)) < profiles.FLOATING_SHARE)[house]
    # Workers who share a rented house are no family.
    lodging = floating & ((random.random(len(grid)) < 0.25) & (size > 1))[house]
    relation = np.where(lodging & (place > 0), OTHER, _RELATIONS[place])
    age = np.select(
        [place == 0, relation == OTHER, relation == SPOUSE, relation == CHILD],
        [
            age,
            random.uniform(18, 55, len(house)),
            np.clip(age + random.normal(-1, 3.5, len(house)), 20, 95),
            age - random.uniform(22, 36, len(house)),
        ],
        np.minimum(age + random.uniform(21, 33, len(house)), 99),
    )
    age = np.where(age < 0, random.uniform(0, 4, len(house)), age)
    is_male = random.random(len(house)) < np.where(place == 0, 0.66, 0.5)
    is_male = np.where(relation == SPOUSE, ~is_male[head], np.where(relation == PARENT, place == 5, is_male))
    born = (first_day - (age * 365.25).astype("timedelta64[D]")).astype("datetime64[D]")
    names = people.names(random, len(house))
    names = np.where(relation == CHILD, pd.Series(names[head]).str[:1] + pd.Series(names).str[1:], names)
    phones = people.phones(random, len(house))
    lent = (relation == CHILD) & (age < 14) | (age > 75) & (random.random(len(house)) < profiles.SHARED_PHONE_SHARE_OF_ELDERS)
    # A foreman or an agent gives his own number for those whom he brings.
    lent |= (relation == OTHER) & (random.random(len(house)) < profiles.SHARED_PHONE_SHARE_OF_LODGERS)
    phones = np.where(lent, phones[head], phones)
    return pd.DataFrame(
        {
            "house": house,
            "grid": grid[house],
            "name": names,
            "id_number": people.id_numbers_of(random, born, is_male),
            "phone": kept(phones, random.random(len(house)) >= 0.04),
            "born": born,
            "is_male": is_male,
            "relation": relation,
            "is_floating": floating,
            "member": -1,
            "is_sampled": True,
        }
    )


def _of_members(random: np.random.Generator, members: pd.DataFrame) -> pd.DataFrame:
    """Some members of grid teams as public security knows them, each with a home of his own in his grid."""
    candidates = np.flatnonzero(members.id_number.notna().to_numpy())
    chosen = np.sort(
        random.choice(candidates, size=min(len(candidates), max(_FEWEST, round(len(candidates) * profiles.MEMBERS_KNOWN_SHARE))), replace=False)
    )
    who = members.iloc[chosen]
    numbers = who.id_number.to_numpy(object).astype("U18")
    days = pd.Series(numbers).str[6:14]
    return pd.DataFrame(
        {
            "house": np.arange(len(who)),
            "grid": who.grid.to_numpy(),
            "name": who.person_name.to_numpy(),
            "id_number": who.id_number.to_numpy(),
            "phone": who.phone.to_numpy(),
            "born": pd.to_datetime(days).to_numpy().astype("datetime64[D]"),
            "is_male": (pd.Series(numbers).str[16].astype(int) % 2 == 1).to_numpy(),
            "relation": HEAD,
            "is_floating": False,
            "member": chosen,
            "is_sampled": True,
        }
    )


def _strangers(random: np.random.Generator, grids: pd.DataFrame, count: int, first_day: np.datetime64) -> pd.DataFrame:
    """Key persons outside the sample, one by one."""
    weight = grids.resident_count.to_numpy()
    age = np.clip(random.normal(45, 14, count), 12, 90)
    is_male = random.random(count) < 0.74
    born = (first_day - (age * 365.25).astype("timedelta64[D]")).astype("datetime64[D]")
    return pd.DataFrame(
        {
            "house": np.arange(count),
            "grid": np.sort(random.choice(len(grids), size=count, p=weight / weight.sum())),
            "name": people.names(random, count),
            "id_number": people.id_numbers_of(random, born, is_male, group=1),
            "phone": kept(people.phones(random, count), random.random(count) >= 0.1),
            "born": born,
            "is_male": is_male,
            "relation": HEAD,
            "is_floating": random.random(count) < profiles.FLOATING_SHARE,
            "member": -1,
            "is_sampled": False,
        }
    )


def _together(random: np.random.Generator, groups: list[pd.DataFrame]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All persons with their number, and their houses; houses of several groups are counted on."""
    before = np.cumsum([0, *(g.house.max() + 1 if len(g) else 0 for g in groups)])
    persons = pd.concat([g.assign(house=g.house + shift) for g, shift in zip(groups, before, strict=False)], ignore_index=True)
    persons.insert(0, "person", np.arange(len(persons)))
    heads = persons[~persons.house.duplicated()].set_index("house").sort_index()
    floating = heads.is_floating.to_numpy()
    drawn = random.random(len(heads))
    lodging = np.isin(np.arange(len(heads)), persons.house[persons.relation == OTHER])
    use = np.select([lodging, drawn < 0.05, drawn < 0.09], ["dormitory", "mixed", "self_built"], "residence")
    houses = pd.DataFrame(
        {
            "grid": heads.grid.to_numpy(),
            "is_rented": np.where(floating, random.random(len(heads)) < 0.85, random.random(len(heads)) < 0.06),
            "house_use_code": use,
            "area_m2": np.round(random.lognormal(4.5, 0.4, len(heads)), 1),
            "room_count": random.integers(1, 7, len(heads)),
            "owner_name": np.where(floating, people.names(random, len(heads)), heads.name.to_numpy()),
            "is_sampled": heads.is_sampled.to_numpy(),
        }
    )
    return persons, houses


def _also_key_persons(random: np.random.Generator, households: pd.DataFrame, wanted: int) -> NDArray[np.int64]:
    """Which residents of the sample are key persons besides."""
    adults = np.flatnonzero((households.relation != CHILD).to_numpy())
    count = min(round(wanted * profiles.KEY_PERSONS_KNOWN_SHARE), len(adults) // 4)
    found: NDArray[np.int64] = np.sort(random.choice(adults, size=count, replace=False))
    return found


def _key_persons(
    random: np.random.Generator,
    territory: Territory,
    members: pd.DataFrame,
    persons: pd.DataFrame,
    who: NDArray[np.int64],
    first_day: np.datetime64,
    days: int,
) -> pd.DataFrame:
    chosen = persons.iloc[who].reset_index(drop=True)
    age = (first_day - chosen.born.to_numpy().astype("datetime64[D]")).astype(int) / 365.25
    kind = np.where(age < 25, "youth", _drawn(random, profiles.KEY_PERSON_TYPE, len(who)))
    listed = first_day - random.integers(1, 2500, len(who)).astype("timedelta64[D]")
    new = random.random(len(who)) < profiles.KEY_PERSONS_NEW_PER_YEAR * days / 365
    listed[new] = first_day + random.integers(0, max(days - 7, 1), new.sum()).astype("timedelta64[D]")
    ends = _ends(random, listed, first_day, days, profiles.KEY_PERSON_ENDS_PER_YEAR)
    found = pd.DataFrame(
        {
            "grid": chosen.grid,
            "person": chosen.person,
            "person_type_code": kind,
            "risk_level_code": _drawn(random, profiles.RISK_LEVEL, len(who)),
            "listed_on": listed.astype("datetime64[s]"),
            **ends,
        }
    )
    # Some who move are on the list of the new place from the next weeks on: the same person, under another id, perhaps at another sender.
    moved = found[found.moved_on.notna().to_numpy() & (random.random(len(found)) < profiles.MOVED_AND_LISTED_AGAIN_SHARE)]
    again = moved.assign(
        grid=random.integers(len(territory.grids), size=len(moved)),
        listed_on=moved.moved_on + pd.to_timedelta(random.integers(1, 20, len(moved)), unit="D"),
        **{end: np.full(len(moved), _NEVER) for end in ends},
    )
    again = again[again.listed_on.to_numpy() <= first_day + np.timedelta64(days - 1, "D")]
    found = pd.concat([found, again] if len(again) else [found], ignore_index=True).sort_values(
        ["grid", "listed_on", "person"], kind="stable", ignore_index=True
    )
    return _at_sender(random, territory, members, found, "key_person_id", "ZDR")


def _fates(persons: pd.DataFrame, key_persons: pd.DataFrame) -> pd.DataFrame:
    """The persons with the day on which they died or moved, where a key person's fate is known."""
    known = key_persons.groupby("person")[["died_on", "moved_on"]].max()
    return persons.join(known, on="person")


def _enterprises(random: np.random.Generator, grids: pd.DataFrame, share: float, first_day: np.datetime64, last_day: np.datetime64) -> pd.DataFrame:
    grid = np.repeat(np.arange(len(grids)), random.poisson(grids.resident_count * profiles.ENTERPRISES_PER_RESIDENT * share))
    if len(grid) < _FEWEST:
        grid = np.sort(random.integers(len(grids), size=_FEWEST))
    kind = _drawn(random, profiles.ENTERPRISE_TYPE, len(grid))
    industry = _drawn(random, profiles.ENTERPRISE_INDUSTRY, len(grid))
    established = last_day - np.minimum(random.exponential(2200, len(grid)), 12000).astype("timedelta64[D]")
    closed = random.random(len(grid)) < profiles.ENTERPRISES_CLOSED_SHARE
    closed_on = np.full(len(grid), np.datetime64("NaT"), "datetime64[D]")
    closed_on[closed] = established[closed] + (random.random(closed.sum()) * (last_day - established[closed]).astype(int)).astype("timedelta64[D]")
    second = np.select([kind == "self_employed", kind == "cooperative"], ["2", "3"], "1").astype(object)
    owner = people.names(random, len(grid))
    return pd.DataFrame(
        {
            "grid": grid,
            "uscc": codes.uniform_social_credit_codes(random, second),
            "enterprise_name": _enterprise_names(random, grids, grid, kind, industry),
            "enterprise_type_code": kind,
            "industry_code": industry,
            "person_name": owner,
            "phone": kept(people.phones(random, len(grid)), random.random(len(grid)) >= 0.12),
            "employee_count": np.where(
                kind == "self_employed", random.integers(1, 6, len(grid)), np.ceil(random.lognormal(2.2, 1.1, len(grid)))
            ).astype(int),
            "established_on": established.astype("datetime64[s]"),
            "closed_on": closed_on.astype("datetime64[s]"),
        }
    )


def _enterprise_names(random: np.random.Generator, grids: pd.DataFrame, grid: NDArray[np.int64], kind: Texts, industry: Texts) -> Texts:
    first = np.array([*"瑞恒嘉盛鸿泰信诚宏远华安卓博新睿汇聚鼎优天正万合锦源"], object)
    second = np.array([*"达丰利源通海康宇辉达兴隆科润祥和业成美捷"], object)
    brand = first[random.integers(len(first), size=len(grid))] + second[random.integers(len(second), size=len(grid))]
    place = grids.iloc[grid]
    trade = pd.Series(industry).map(profiles.TRADE_OF_INDUSTRY).to_numpy(object)
    company = place.city.to_numpy() + brand + trade + "有限公司"
    self_employed = place.county.to_numpy() + place.village.to_numpy() + brand + trade + "店"
    cooperative = place.county.to_numpy() + brand + "农产品专业合作社"
    named: Texts = np.select([kind == "self_employed", kind == "cooperative"], [self_employed, cooperative], company)
    return named


def _key_places(
    random: np.random.Generator, territory: Territory, members: pd.DataFrame, enterprises: pd.DataFrame, first_day: np.datetime64, days: int
) -> pd.DataFrame:
    grids = territory.grids
    weight = grids.resident_count.to_numpy() * np.where(grids.is_urban, 1.6, 1.0)
    wanted = max(_FEWEST, round(len(grids) * profiles.KEY_PLACES_PER_GRID))
    grid = np.sort(random.choice(len(grids), size=wanted, p=weight / weight.sum()))
    enterprise = np.full(wanted, -1)
    # A shop of the nine small kinds is an enterprise where the sample has one.
    serving = np.flatnonzero(enterprises.closed_on.isna().to_numpy())
    tied = serving[random.random(len(serving)) < profiles.ENTERPRISES_AS_KEY_PLACES_SHARE][:wanted]
    rows = np.sort(random.choice(wanted, size=len(tied), replace=False))
    enterprise[rows], grid[rows] = tied, enterprises.grid.to_numpy()[tied]
    kind = _drawn(random, profiles.KEY_PLACE_TYPE, wanted)
    listed = first_day - random.integers(1, 2000, wanted).astype("timedelta64[D]")
    ends = _ends(random, listed, first_day, days, {"closed_on": profiles.KEY_PLACES_CLOSED_PER_YEAR})
    names = grids.village.to_numpy()[grid] + _brands(random, wanted) + pd.Series(kind).map(profiles.NAME_OF_KEY_PLACE).to_numpy(object)
    own = enterprises.enterprise_name.to_numpy(object)[enterprise] if len(enterprises) else names
    found = pd.DataFrame(
        {
            "grid": grid,
            "enterprise": enterprise,
            "place_type_code": kind,
            "risk_level_code": _drawn(random, profiles.RISK_LEVEL, wanted),
            "place_name": np.where(enterprise >= 0, own, names),
            "person_name": np.where(enterprise >= 0, enterprises.person_name.to_numpy()[enterprise], people.names(random, wanted)),
            "phone": np.where(enterprise >= 0, enterprises.phone.to_numpy()[enterprise], people.phones(random, wanted)),
            "listed_on": listed.astype("datetime64[s]"),
            **ends,
        }
    ).sort_values("grid", kind="stable", ignore_index=True)
    return _at_sender(random, territory, members, found, "key_place_id", "ZDC")


def _brands(random: np.random.Generator, count: int) -> Texts:
    brands = np.array(
        ["顺风", "蓝天", "鑫源", "悦来", "平安", "众鑫", "百汇", "惠民", "新世纪", "东升", "海天", "红星", "金桥", "汇丰", "好邻居", "千禧"], object
    )
    found: Texts = brands[random.integers(len(brands), size=count)]
    return found


def _at_sender(random: np.random.Generator, territory: Territory, members: pd.DataFrame, found: pd.DataFrame, key: str, prefix: str) -> pd.DataFrame:
    """With the sender, an id that counts within it, and the member who looks after the row."""
    found.insert(0, "sender_code", territory.grids.sender_code.to_numpy()[found.grid])
    number = found.groupby("sender_code").cumcount().to_numpy() + 1
    found.insert(1, key, prefix + np.char.zfill(number.astype(str), 7).astype(object))
    serving = members[members.left_date.isna() & members.role_code.isin(["leader", "dedicated", "part_time"])]
    first = serving.sort_values(["grid", "role_code"], kind="stable").drop_duplicates("grid")
    member = pd.Series(first.index.to_numpy(), first.grid.to_numpy()).reindex(found.grid).fillna(-1).astype(int).to_numpy()
    return found.assign(member=np.where(random.random(len(found)) < 0.97, member, -1))


def _ends(
    random: np.random.Generator, listed: NDArray[np.datetime64], first_day: np.datetime64, days: int, per_year: Mapping[str, float]
) -> dict[str, NDArray[np.datetime64]]:
    """By kind of end the day on which it comes, inside the simulated days and after the listing; at most one comes."""
    drawn, lower, found = random.random(len(listed)), 0.0, {}
    start = np.maximum((listed - first_day).astype(int), 0)
    day = first_day + (start + 1 + random.random(len(listed)) * np.maximum(days - 2 - start, 0)).astype(int).astype("timedelta64[D]")
    for end, rate in per_year.items():
        upper = lower + rate * days / 365
        found[end] = np.where((drawn >= lower) & (drawn < upper), day, np.datetime64("NaT")).astype("datetime64[s]")
        lower = upper
    return found


def _drawn(random: np.random.Generator, shares: Mapping[str, float], count: int) -> Texts:
    weights = np.array(list(shares.values()))
    found: Texts = np.array(list(shares), object)[random.choice(len(shares), size=count, p=weights / weights.sum())]
    return found
