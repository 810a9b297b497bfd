"""What departments of the province send of the simulated cities: persons and houses, enterprises, standard addresses.

They name a grid by its unified code, as they do not know the cities' own ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import addresses, codes, dirt, people, profiles
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import Feed, arranged, lined, monthly
from streaming.simulator.positions import to_cgcs2000
from streaming.simulator.texts import Texts, kept

PUBLIC_SECURITY, MARKET_SUPERVISION, CIVIL_AFFAIRS = "zj_public_security", "zj_market_supervision", "zj_civil_affairs"
_TEXT, _LONG, _REAL, _DATE = pa.string(), pa.int64(), pa.float64(), pa.date32()
_NIGHTLY = np.timedelta64(2 * 3600, "s")
_VERSION = [("source_version", _LONG), ("changed_at", pa.timestamp("us"))]
_PERSON = pa.schema(
    [
        *((name, _TEXT) for name in ("person_id", "person_name", "id_number", "phone", "sex_code")),
        ("birth_date", _DATE),
        *((name, _TEXT) for name in ("person_type_code", "house_id", "household_relation_code", "registered_address", "region_code", "grid_code")),
        ("moved_in_date", _DATE),
        ("status_code", _TEXT),
        ("status_date", _DATE),
        *_VERSION,
    ]
)
_HOUSE = pa.schema(
    [
        *((name, _TEXT) for name in ("house_id", "address_code", "house_address", "region_code", "grid_code", "house_use_code")),
        ("is_rented", pa.bool_()),
        ("area_m2", _REAL),
        *((name, _LONG) for name in ("room_count", "occupant_count")),
        *((name, _TEXT) for name in ("owner_name", "owner_phone")),
        *_VERSION,
    ]
)
_ADDRESS = pa.schema(
    [
        *((name, _TEXT) for name in ("address_id", "address_code", "region_code", "grid_code", "address_type_code")),
        *((name, _TEXT) for name in ("road_name", "road_number", "compound_name", "hamlet_name", "group_number", "building_number")),
        *((name, _TEXT) for name in ("unit_number", "room_number", "address_text")),
        *((name, _REAL) for name in ("longitude", "latitude")),
        ("status_code", _TEXT),
        *_VERSION,
    ]
)
_ENTERPRISE_COLUMNS = (
    "enterprise_id", "uscc", "enterprise_name", "enterprise_type_code", "industry_code", "status_code", "region_code", "grid_code", "address_code",
    "address_text", "longitude", "latitude", "legal_representative_name", "phone", "employee_count", "established_date", "closed_date",
    "source_version", "changed_at",
)  # fmt: skip
# A village outside the province: no department of it may answer for one.
_ABROAD = "340102001001"
# Typed files cannot hold text for a number.
_PERSON_DIRT = (
    Dirt("unknown_code", "code_list", "person_type_code", {"person_type_code": "常住"}),
    Dirt("missing_required", "required", "person_name", {"person_name": None}),
    Dirt("wrong_pattern", "pattern", "phone", {"phone": "8765-4321"}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": _ABROAD}),
    Dirt("broken_rule", "id_number_says_birth_date", None, {"id_number": "33990119000101001X"}),
    Dirt("broken_rule", "change_of_status_has_date", None, {"status_code": "deceased"}),
)
_HOUSE_DIRT = (
    Dirt("unknown_code", "code_list", "house_use_code", {"house_use_code": "住"}),
    Dirt("missing_required", "required", "house_address", {"house_address": None}),
    Dirt("out_of_range_number", "minimum", "area_m2", {"area_m2": 0.1}),
    Dirt("broken_rule", "rented_house_has_owner", None, {"is_rented": True, "owner_name": None}),
)
_ADDRESS_DIRT = (
    Dirt("unknown_code", "code_list", "status_code", {"status_code": "在用"}),
    Dirt("missing_required", "required", "address_text", {"address_text": None}),
    Dirt("wrong_pattern", "pattern", "grid_code", {"grid_code": "一网格"}),
    Dirt("out_of_range_position", "maximum", "latitude", {"latitude": 302.7}),
    Dirt("broken_rule", "code_in_region", None, {"address_code": "33010600205100000013", "region_code": "330106002052"}),
)
_ENTERPRISE_DIRT = (
    Dirt("wrong_type", "type", "employee_count", {"employee_count": "三四个"}),
    Dirt("unknown_code", "code_list", "industry_code", {"industry_code": "零售"}),
    Dirt("missing_required", "required", "enterprise_name", {"enterprise_name": None}),
    Dirt("wrong_pattern", "pattern", "uscc", {"uscc": "330106600012345"}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": _ABROAD}),
    Dirt("broken_rule", "closed_after_established", None, {"status_code": "closed", "established_date": "2020-01-01", "closed_date": "2019-01-01"}),
)


def feeds(random: np.random.Generator, ground: Ground) -> Iterator[Feed]:
    """address, house and person as Parquet, enterprise as JSONL: all in full at the start, then what came and changed by month."""
    grid_code = codes.grid_codes(ground.territory.grids)
    yield address(random, ground, grid_code)
    yield house(random, ground, grid_code)
    yield person(random, ground, grid_code)
    yield enterprise(random, ground, grid_code)


def address(random: np.random.Generator, ground: Ground, grid_code: Texts) -> Feed:
    """Every standard address; some come in later months, some are abolished."""
    listed = ground.residents.addresses
    longitude, latitude = to_cgcs2000(listed.longitude.to_numpy(), listed.latitude.to_numpy())
    new = random.random(len(listed)) < profiles.ADDRESSES_NEW_SHARE
    rows = listed.assign(
        address_id=_numbered("DZ", len(listed)),
        grid_code=_known(random, grid_code, listed.grid),
        address_type_code=np.select([listed.room_number.notna(), listed.group_number.notna()], ["dwelling", "group"], "door"),
        longitude=longitude,
        latitude=latitude,
        status_code="in_use",
        source_version=1,
        changed_at=np.where(new, _some_time(random, ground, len(listed)), ground.first_day + _NIGHTLY),
        _full=~new,
    )
    abolished = rows[~new & (random.random(len(rows)) < profiles.ADDRESSES_ABOLISHED_SHARE)]
    abolished = abolished.assign(status_code="abolished", source_version=2, _full=False, changed_at=_some_time(random, ground, len(abolished)))
    return _as_parquet(random, "address", [rows, abolished], _ADDRESS, _ADDRESS_DIRT, ground, CIVIL_AFFAIRS, "civil_affairs")


def house(random: np.random.Generator, ground: Ground, grid_code: Texts) -> Feed:
    """The sampled houses; the address is written as people write it, without what everybody here knows."""
    houses, listed = ground.residents.houses, ground.residents.addresses
    registered = ground.residents.registrations
    living = registered[registered.status_code == "living"].house.value_counts()
    rows = houses[houses.is_sampled]
    place = listed.iloc[rows.address].reset_index(drop=True)
    rows = rows.assign(
        house_id=_house_ids(rows.index.to_numpy()),
        address_code=kept(place.address_code.to_numpy(object), random.random(len(rows)) >= profiles.ADDRESS_CODE_UNKNOWN_SHARE),
        house_address=_as_written(random, ground, place),
        region_code=place.region_code.to_numpy(object),
        grid_code=_known(random, grid_code, rows.grid),
        occupant_count=living.reindex(rows.index).fillna(0).astype(int),
        owner_phone=kept(people.phones(random, len(rows)), random.random(len(rows)) < 0.8),
        source_version=1,
        changed_at=np.full(len(rows), ground.first_day + _NIGHTLY),
        _full=True,
    )
    let = rows[~rows.is_rented & (random.random(len(rows)) < profiles.MOVES_PER_YEAR * ground.days / 365)]
    let = let.assign(is_rented=True, source_version=2, _full=False, changed_at=_some_time(random, ground, len(let)))
    return _as_parquet(random, "house", [rows, let], _HOUSE, _HOUSE_DIRT, ground, PUBLIC_SECURITY, "public_security")


def person(random: np.random.Generator, ground: Ground, grid_code: Texts) -> Feed:
    """The registrations of the sampled persons; what became of somebody is known days after it."""
    residents, registered = ground.residents, ground.residents.registrations
    who = residents.persons.iloc[registered.person].reset_index(drop=True)
    home = residents.houses.iloc[registered.house].reset_index(drop=True)
    text = residents.addresses.address_text.to_numpy(object)[home.address]
    new = registered.since.notna().to_numpy()
    at = registered.since + pd.to_timedelta(random.integers(8 * 3600, 18 * 3600, len(registered)), unit="s")
    rows = registered.assign(
        person_name=registered.name,
        sex_code=np.where(who.is_male, "1", "2"),
        birth_date=who.born.to_numpy().astype("datetime64[s]"),
        person_type_code=np.where(who.is_floating, "floating", "registered"),
        house_id=_house_ids(registered.house.to_numpy()),
        household_relation_code=np.where(new, "other", who.relation),
        registered_address=np.where(who.is_floating, addresses.elsewhere(random, len(registered)), text),
        region_code=residents.addresses.region_code.to_numpy(object)[home.address],
        grid_code=_known(random, grid_code, home.grid),
        moved_in_date=registered.moved_in_on,
        status_code="living",
        status_date=np.full(len(registered), np.datetime64("NaT"), "datetime64[s]"),
        source_version=1,
        changed_at=at.where(new, ground.first_day + _NIGHTLY),
        _full=~new,
    )
    ended = rows[registered.status_on.notna()].assign(source_version=2, _full=False)
    ended["status_code"], ended["status_date"] = registered.status_code[ended.index], registered.status_on[ended.index]
    ended["changed_at"] = ended.status_date + pd.to_timedelta(random.integers(86_400, 25 * 86_400, len(ended)), unit="s")
    ended = ended[ended.changed_at < ground.end]
    return _as_parquet(random, "person", [rows, ended], _PERSON, _PERSON_DIRT, ground, PUBLIC_SECURITY, "public_security")


def enterprise(random: np.random.Generator, ground: Ground, grid_code: Texts) -> Feed:
    """The sampled enterprises; who was founded in the simulated days comes in his month, who closed then closes."""
    enterprises, listed = ground.residents.enterprises, ground.residents.addresses
    place = listed.iloc[enterprises.address].reset_index(drop=True)
    longitude, latitude = to_cgcs2000(place.longitude.to_numpy(), place.latitude.to_numpy())
    new = (enterprises.established_on >= ground.first_day).to_numpy()
    was_closed = (enterprises.closed_on < ground.first_day).to_numpy()
    at = enterprises.established_on + pd.to_timedelta(random.integers(8 * 3600, 18 * 3600, len(enterprises)), unit="s")
    rows = enterprises.assign(
        enterprise_id=_numbered("QY", len(enterprises)),
        status_code=np.where(was_closed, "closed", "operating"),
        region_code=place.region_code,
        grid_code=_known(random, grid_code, enterprises.grid),
        address_code=kept(place.address_code.to_numpy(object), random.random(len(enterprises)) >= profiles.ADDRESS_CODE_UNKNOWN_SHARE),
        address_text=place.address_text,
        longitude=longitude,
        latitude=latitude,
        legal_representative_name=enterprises.person_name,
        established_date=enterprises.established_on.dt.strftime("%Y-%m-%d"),
        closed_date=enterprises.closed_on.dt.strftime("%Y-%m-%d").where(was_closed, None).astype(object),
        source_version=1,
        changed_at=at.where(new, ground.first_day + _NIGHTLY),
        _full=~new,
    )
    closed = rows[enterprises.closed_on.notna() & ~was_closed].assign(status_code="closed", source_version=2, _full=False)
    closed["closed_date"] = enterprises.closed_on[closed.index].dt.strftime("%Y-%m-%d")
    closed["changed_at"] = enterprises.closed_on[closed.index] + pd.to_timedelta(random.integers(86_400, 5 * 86_400, len(closed)), unit="s")
    closed = closed[closed.changed_at < ground.end]
    parts = [monthly("enterprise", part, np.full(len(part), MARKET_SUPERVISION), "jsonl", ground.first_month) for part in (rows, closed) if len(part)]
    lines = [lined(part, _ENTERPRISE_COLUMNS) for part in parts]
    good = lines[0][(parts[0].status_code == "operating").to_numpy()]
    bad = dirt.spoiled_lines(random, good, _ENTERPRISE_DIRT, _each(rows), "enterprise_id")
    copies = dirt.repeated(random, good, _each(rows) + 1)
    return arranged("enterprise", [*lines, bad, copies], pa.schema([]), source="market_supervision")


def _as_parquet(
    random: np.random.Generator,
    name: str,
    parts: Sequence[pd.DataFrame],
    schema: pa.Schema,
    kinds: Sequence[Dirt],
    ground: Ground,
    sender: str,
    source: str,
) -> Feed:
    placed = [monthly(name, part, np.full(len(part), sender), "parquet", ground.first_month) for part in parts if len(part)]
    good = placed[0][placed[0]["_file"].str.endswith("-full.parquet")]
    bad = dirt.spoiled_cells(random, good, kinds, _each(good), schema.names[0])
    copies = dirt.repeated(random, good, _each(good) + 1)
    return arranged(name, [*placed, bad, copies], schema, source=source)


def _as_written(random: np.random.Generator, ground: Ground, place: pd.DataFrame) -> Texts:
    """Addresses in full, without the province, or from the township on."""
    grid = ground.territory.grids.iloc[place.grid]
    full = place.address_text.to_numpy(object)
    above = (addresses.PROVINCE_NAME + grid.city + grid.county).str.len().to_numpy()
    short = np.array([text[start:] for text, start in zip(full, above, strict=True)], object)
    without_province = pd.Series(full).str.removeprefix(addresses.PROVINCE_NAME).to_numpy(object)
    drawn = random.random(len(place))
    written: Texts = np.select([drawn < 0.6, drawn < 0.85], [full, without_province], short)
    return written


def _known(random: np.random.Generator, grid_code: Texts, grid: Any) -> Texts:
    """The unified code of each row's grid; some rows lack it and wait for somebody to say in which grid they lie."""
    return kept(grid_code[grid], random.random(len(grid)) >= profiles.GRID_UNKNOWN_SHARE)


def _house_ids(house: NDArray[np.int64]) -> Texts:
    found: Texts = np.add("FW", np.char.zfill((house + 1).astype(str), 9).astype(object))
    return found


def _numbered(prefix: str, count: int) -> Texts:
    found: Texts = np.add(prefix, np.char.zfill((np.arange(count) + 1).astype(str), 9).astype(object))
    return found


def _some_time(random: np.random.Generator, ground: Ground, count: int) -> NDArray[np.datetime64]:
    """A time within the simulated days, but not in their first."""
    seconds = random.integers(86_400, max(ground.days, 3) * 86_400 - 43_200, count)
    times: NDArray[np.datetime64] = ground.first_day.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return times


def _each(rows: pd.DataFrame) -> int:
    """Bad rows of each kind: one, and one more for each three thousand good ones."""
    return 1 + len(rows) // 3000
