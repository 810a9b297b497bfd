"""What the cities' platforms send besides grids, teams and events: micro-grids, the tree of organisations, lists of key persons and key places."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import dirt, people, profiles
from streaming.simulator.dirt import ELSEWHERE, Dirt
from streaming.simulator.feeds import Ground
from streaming.simulator.parcels import Feed, arranged, lined, monthly
from streaming.simulator.texts import Texts, kept

_TEXT, _LONG, _DATE, _TIME = pa.string(), pa.int64(), pa.date32(), pa.timestamp("us")
_NIGHTLY = np.timedelta64(2 * 3600, "s")
_VERSION = [("source_version", _LONG), ("changed_at", _TIME), ("_op", _TEXT)]
_MICRO_GRID = pa.schema(
    [
        *((name, _TEXT) for name in ("micro_grid_id", "micro_grid_name", "grid_id", "region_code")),
        *((name, _LONG) for name in ("household_count", "resident_count")),
        *((name, pa.float64()) for name in ("longitude", "latitude")),
        *((name, _TEXT) for name in ("leader_name", "leader_phone")),
        ("established_date", _DATE),
        *_VERSION,
    ]
)
_ORGANISATION = pa.schema(
    [
        *((name, _TEXT) for name in ("organisation_id", "organisation_name", "organisation_type_code")),
        ("organisation_level", _LONG),
        *((name, _TEXT) for name in ("parent_organisation_id", "region_code", "grid_id", "dingtalk_id")),
        *_VERSION,
    ]
)
_KEY_PERSON = pa.schema(
    [
        *((name, _TEXT) for name in ("key_person_id", "person_type_code", "risk_level_code", "person_name", "id_number", "phone", "sex_code")),
        ("birth_date", _DATE),
        *((name, _TEXT) for name in ("home_address", "region_code", "grid_id")),
        *((name, pa.float64()) for name in ("longitude", "latitude")),
        ("manager_member_id", _TEXT),
        ("listed_date", _DATE),
        *((name, _TEXT) for name in ("status_code", "left_reason_code")),
        ("left_date", _DATE),
        ("control_note", _TEXT),
        *_VERSION[:2],
    ]
)
_KEY_PLACE_COLUMNS = (
    "key_place_id", "place_type_code", "risk_level_code", "place_name", "uscc", "address_code", "address_text", "region_code", "grid_id", "longitude",
    "latitude", "responsible_name", "responsible_phone", "manager_member_id", "listed_date", "status_code", "closed_date",
    "source_version", "changed_at",
)  # fmt: skip
# The four platforms of a township, below its command room.
_PLATFORMS = {
    "party_platform": "党建统领平台", "economy_platform": "经济生态平台", "safety_platform": "平安法治平台", "service_platform": "公共服务平台",
}  # fmt: skip
_NOTES = (
    "近期情绪稳定，按时报到", "每月走访一次，家属配合", "已安排专人结对帮扶", "外出务工，电话随访", "按时服药，家属看护到位",
    "思想有波动，已上门劝导",     "就业已落实，表现良好",
    "本人{name}反映低保问题，已转民政", "联系电话{phone}，随访正常",
)  # fmt: skip
_LEFT_REASON = {"died_on": "died", "moved_on": "moved", "released_on": "released"}

_MICRO_GRID_DIRT = (
    Dirt("wrong_type", "type", "household_count", {"household_count": "四十多户"}),
    Dirt("missing_required", "required", "grid_id", {"grid_id": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("out_of_range_position", "minimum", "latitude", {"latitude": 3.0275}),
    Dirt("broken_rule", "reachable_leader", None, {"leader_name": "陈建国", "leader_phone": None}),
)
_ORGANISATION_DIRT = (
    Dirt("unknown_code", "code_list", "organisation_type_code", {"organisation_type_code": "平安办", "grid_id": None, "organisation_level": 4}),
    Dirt("missing_required", "required", "organisation_name", {"organisation_name": None}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("broken_rule", "only_a_city_centre_is_a_root", None, {"parent_organisation_id": None}),
)
_KEY_PERSON_DIRT = (
    Dirt("wrong_type", "type", "listed_date", {"listed_date": "去年三月"}),
    Dirt("unknown_code", "code_list", "person_type_code", {"person_type_code": "上访户"}),
    Dirt("missing_required", "required", "person_name", {"person_name": None}),
    Dirt("wrong_pattern", "pattern", "id_number", {"id_number": "33990119901301000X"}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("broken_rule", "position_is_coarse", None, {"longitude": 120.155321, "latitude": 30.275123}),
)
_KEY_PLACE_DIRT = (
    Dirt("wrong_type", "type", "listed_date", {"listed_date": "去年三月"}),
    Dirt("unknown_code", "code_list", "place_type_code", {"place_type_code": "饭店"}),
    Dirt("missing_required", "required", "place_name", {"place_name": None}),
    Dirt("wrong_pattern", "pattern", "uscc", {"uscc": "330106600012345"}),
    Dirt("wrong_sender_region", "region_scope", "region_code", {"region_code": ELSEWHERE}),
    Dirt("broken_rule", "closed_has_date", None, {"status_code": "closed", "closed_date": None}),
    Dirt("broken_encoding", "encoding", None, spoil="gb18030"),
)


def feeds(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Iterator[Feed]:
    """micro_grid, organisation and key_person as CSV, every second city's in GB18030; key_place as JSONL. All in full at the start, then by month."""
    yield micro_grid(random, ground, cities)
    yield organisation(random, ground, cities)
    yield key_person(random, ground, cities)
    yield key_place(random, ground)


def micro_grid(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Feed:
    """The micro-grids of the villages that have drawn them; some are counted anew, some withdrawn."""
    rows = _cut(random, ground)
    changed = _changed(random, ground, rows, profiles.MICRO_GRIDS_RECOUNTED_SHARE)
    changed["resident_count"] = changed.resident_count + random.integers(1, 12, len(changed))
    withdrawn = _changed(random, ground, rows[~rows.micro_grid_id.isin(changed.micro_grid_id)], profiles.MICRO_GRIDS_WITHDRAWN_SHARE)
    withdrawn = _emptied(withdrawn, ["micro_grid_id", "sender_code", "source_version", "changed_at", "_full"]).assign(_op="delete")
    return _as_csv(random, "micro_grid", [rows, changed, withdrawn], _MICRO_GRID, _MICRO_GRID_DIRT, ground, cities)


def organisation(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Feed:
    """The 141 tree: city and county centres, each township's command room and four platforms, the grids; some are renamed."""
    rows = _tree(random, ground)
    renamed = _changed(random, ground, rows[rows.organisation_level == 6], profiles.ORGANISATIONS_RENAMED_SHARE)
    renamed["organisation_name"] = renamed.organisation_name + "（调整）"
    return _as_csv(random, "organisation", [rows, renamed], _ORGANISATION, _ORGANISATION_DIRT, ground, cities)


def key_person(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Feed:
    """Who is on a list; whose risk is reviewed; who leaves it, days after he died, moved or was released."""
    listed, persons = ground.key_persons, ground.residents.persons
    person = persons.iloc[listed.person].reset_index(drop=True)
    home = ground.residents.houses.address.to_numpy()[person.house]
    rows = listed.assign(
        **_placed_in(ground, listed),
        person_name=listed.name,
        sex_code=np.where(person.is_male, "1", "2"),
        birth_date=listed.born.to_numpy().astype("datetime64[s]"),
        home_address=ground.residents.addresses.address_text.to_numpy(object)[home],
        longitude=listed.longitude.round(3),
        latitude=listed.latitude.round(3),
        listed_date=listed.listed_on,
        control_note=_notes(random, listed),
        status_code="managed",
        left_reason_code=None,
        left_date=_no_times(len(listed)),
        **_first_version(random, ground, listed.listed_on),
    )
    left_on = listed[list(_LEFT_REASON)].min(axis=1)
    reviewed = _changed(random, ground, rows, profiles.RISK_REVIEWED_SHARE)
    reviewed = reviewed[(reviewed.changed_at < left_on[reviewed.index].fillna(ground.end)) & (reviewed.changed_at > rows.changed_at[reviewed.index])]
    reviewed["risk_level_code"] = reviewed.risk_level_code.map({"low": "medium", "medium": "high", "high": "medium"})
    gone = rows[left_on.notna()].copy()
    gone["risk_level_code"] = reviewed.risk_level_code.reindex(gone.index).fillna(gone.risk_level_code)
    gone["source_version"] = np.where(gone.index.isin(reviewed.index), 3, 2)
    gone["left_reason_code"] = listed.loc[gone.index, list(_LEFT_REASON)].idxmin(axis=1).map(_LEFT_REASON)
    gone["status_code"], gone["left_date"], gone["_full"] = "left", left_on[gone.index], False
    # The platform hears of it days later.
    gone["changed_at"] = gone.left_date + pd.to_timedelta(random.integers(86_400, 15 * 86_400, len(gone)), unit="s")
    parts = [rows, reviewed, gone[gone.changed_at < ground.end]]
    return _as_csv(random, "key_person", parts, _KEY_PERSON, _KEY_PERSON_DIRT, ground, cities)


def key_place(random: np.random.Generator, ground: Ground) -> Feed:
    """Which places are on a list, with who answers for them; some close."""
    listed, addresses = ground.key_places, ground.residents.addresses
    uscc = ground.residents.enterprises.uscc.to_numpy(object)[listed.enterprise]
    rows = listed.assign(
        **_placed_in(ground, listed),
        uscc=kept(uscc, (listed.enterprise >= 0).to_numpy()),
        address_code=kept(addresses.address_code.to_numpy(object)[listed.address], random.random(len(listed)) >= profiles.ADDRESS_CODE_UNKNOWN_SHARE),
        address_text=addresses.address_text.to_numpy(object)[listed.address],
        responsible_name=listed.person_name,
        responsible_phone=listed.phone,
        listed_date=listed.listed_on.dt.strftime("%Y-%m-%d"),
        closed_date=None,
        status_code=np.where(random.random(len(listed)) < 0.02, "suspended", "operating"),
        **_first_version(random, ground, listed.listed_on),
    )
    closed = rows[listed.closed_on.notna()].assign(status_code="closed", source_version=2, _full=False)
    closed["closed_date"] = listed.closed_on[closed.index].dt.strftime("%Y-%m-%d")
    closed["changed_at"] = listed.closed_on[closed.index] + pd.to_timedelta(random.integers(3600, 20 * 86_400, len(closed)), unit="s")
    closed = closed[closed.changed_at < ground.end]
    rows["closed_date"] = rows.closed_date.astype(object)
    parts = [monthly("key_place", part, part.sender_code, "jsonl", ground.first_month) for part in (rows, closed) if len(part)]
    lines = [lined(part, _KEY_PLACE_COLUMNS) for part in parts]
    bad = dirt.spoiled_lines(random, lines[0], _KEY_PLACE_DIRT, _each(rows), "key_place_id")
    copies = dirt.repeated(random, lines[0], _each(rows) + 1)
    return arranged("key_place", [*lines, bad, copies], pa.schema([]))


def _cut(random: np.random.Generator, ground: Ground) -> pd.DataFrame:
    """Strips of the grids of some villages, across the longer side, with their share of the households."""
    grids = ground.territory.grids
    villages = grids.region_code.drop_duplicates()
    chosen = villages[random.random(len(villages)) < profiles.MICRO_GRID_VILLAGE_SHARE]
    drawn = grids[grids.region_code.isin(chosen)] if len(chosen) else grids[grids.region_code == villages.iloc[0]]
    count = np.maximum(np.round(drawn.household_count.to_numpy() / profiles.HOUSEHOLDS_PER_MICRO_GRID), 1).astype(int)
    rows = drawn.loc[drawn.index.repeat(count)].reset_index(names="grid")
    number = np.arange(len(rows)) - np.repeat(np.cumsum(count) - count, count)
    of = np.repeat(count, count)
    middle = (number + 0.5) / of
    is_wide = (rows.east - rows.west) > (rows.north - rows.south)
    led = random.random(len(rows)) < profiles.MICRO_GRID_LEADER_SHARE
    rows = rows.assign(
        micro_grid_name=rows.grid_name + "第" + (number + 1).astype(str).astype(object) + "微网格",
        # What does not divide goes to the first strips, so that a grid's micro-grids add up to it.
        household_count=rows.household_count // of + (number < rows.household_count % of),
        resident_count=rows.resident_count // of + (number < rows.resident_count % of),
        longitude=(rows.west + (rows.east - rows.west) * np.where(is_wide, middle, 0.5)).round(6),
        latitude=(rows.south + (rows.north - rows.south) * np.where(is_wide, 0.5, middle)).round(6),
        leader_name=kept(people.names(random, len(rows)), led),
        leader_phone=kept(people.phones(random, len(rows)), led),
        established_date=np.datetime64("2021-06-01", "s") + random.integers(0, 1000, len(rows)).astype("timedelta64[D]"),
        **_from_the_start(ground, len(rows)),
    )
    rows["micro_grid_id"] = _numbered("MG", rows.sender_code, 6)
    return rows


def organisations(ground: Ground) -> pd.DataFrame:
    """The 141 tree by sender, level and region, the ids of the feed given: it follows from the territory alone.

    Columns: organisation_id, organisation_name, organisation_type_code, organisation_level, parent_organisation_id, region_code, grid_id (of a grid),
    sender_code.
    """
    grids = ground.territory.grids
    city, county, town = (grids.drop_duplicates(code).reset_index(drop=True) for code in ("sender_code", "county_code", "town_code"))
    rooms = _organisations(town, "command_room", 4, town.town + "综合信息指挥室", town.town_code, town.county_code)
    platforms = [_organisations(town, kind, 4, town.town + name, town.town_code, town.town_code) for kind, name in _PLATFORMS.items()]
    rows = pd.concat(
        [
            _organisations(city, "city_centre", 2, city.city + "社会治理中心", city.sender_code, None),
            _organisations(county, "county_centre", 3, county.county + "社会治理中心", county.county_code, county.sender_code),
            rooms,
            *platforms,
            _organisations(grids, "grid", 6, grids.grid_name, grids.region_code, grids.town_code).assign(grid_id=grids.grid_id),
        ],
        ignore_index=True,
    ).sort_values(["sender_code", "organisation_level", "region_code"], kind="stable", ignore_index=True)
    rows["organisation_id"] = _numbered("JG", rows.sender_code, 6)
    above = rows[rows.organisation_type_code.isin(["city_centre", "county_centre", "command_room"])].set_index("region_code").organisation_id
    return rows.assign(parent_organisation_id=rows["above"].map(above)).drop(columns="above")


def _tree(random: np.random.Generator, ground: Ground) -> pd.DataFrame:
    rows = organisations(ground)
    # The messenger has offices; it does not reach the grids, and some offices were never entered.
    entered = (rows.organisation_level < 6) & (random.random(len(rows)) >= profiles.ORGANISATIONS_WITHOUT_DINGTALK_SHARE)
    rows["dingtalk_id"] = kept(np.add("GO_", random.integers(10**9, 10**10, len(rows)).astype(str).astype(object)), entered.to_numpy())
    return rows.assign(**_from_the_start(ground, len(rows)))


def _organisations(place: pd.DataFrame, kind: str, level: int, name: pd.Series, region_code: pd.Series, above: pd.Series | None) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "sender_code": place.sender_code,
            "organisation_type_code": kind,
            "organisation_level": level,
            "organisation_name": name,
            "region_code": region_code,
            "above": above if above is not None else pd.Series(None, place.index, object),
            "grid_id": pd.Series(None, place.index, object),
        }
    )


def _placed_in(ground: Ground, rows: pd.DataFrame) -> dict[str, Any]:
    """The columns of a place: village, grid and the member who looks after it."""
    place = ground.territory.grids.iloc[rows.grid]
    member = ground.members.member_id.to_numpy(object)[rows.member]
    return {
        "region_code": place.region_code.to_numpy(object),
        "grid_id": place.grid_id.to_numpy(object),
        "manager_member_id": kept(member, (rows.member >= 0).to_numpy()),
    }


def _notes(random: np.random.Generator, listed: pd.DataFrame) -> Texts:
    drawn = np.array(_NOTES, object)[random.integers(len(_NOTES), size=len(listed))]
    notes = pd.Series(drawn)
    for symbol in ("name", "phone"):
        named = notes.str.contains(f"{{{symbol}}}", regex=False)
        before, after = notes.str.split(f"{{{symbol}}}", n=1, regex=False).str[0], notes.str.split(f"{{{symbol}}}", n=1, regex=False).str[1]
        notes = notes.where(~named, before + listed[symbol].fillna("").to_numpy(object) + after)
    # Nobody writes down a number that is not known.
    unfinished = np.array(["{phone}" in note for note in drawn]) & listed.phone.isna().to_numpy()
    return kept(notes.to_numpy(object), (random.random(len(listed)) < 0.7) & ~unfinished)


def _from_the_start(ground: Ground, count: int) -> dict[str, Any]:
    return {"source_version": 1, "changed_at": np.full(count, ground.first_day + _NIGHTLY), "_full": True, "_op": "upsert"}


def _first_version(random: np.random.Generator, ground: Ground, since: pd.Series) -> dict[str, Any]:
    """In the full file for what was there at the start, else on its day."""
    full = (since < ground.first_day).to_numpy()
    at = since + pd.to_timedelta(random.integers(8 * 3600, 18 * 3600, len(since)), unit="s")
    return {"source_version": 1, "changed_at": at.where(~full, ground.first_day + _NIGHTLY), "_full": full}


def _changed(random: np.random.Generator, ground: Ground, rows: pd.DataFrame, share: float) -> pd.DataFrame:
    """A second version of some rows, on a day of its own."""
    some = rows[random.random(len(rows)) < share].copy()
    seconds = random.integers(86_400, max(ground.days, 3) * 86_400 - 43_200, len(some))
    some["source_version"], some["_full"] = 2, False
    some["changed_at"] = ground.first_day.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return some


def _emptied(rows: pd.DataFrame, keep: Sequence[str]) -> pd.DataFrame:
    """The rows with nothing but these columns, as a deletion has them."""
    return rows[list(keep)].reindex(columns=rows.columns)


def _as_csv(
    random: np.random.Generator,
    name: str,
    parts: Sequence[pd.DataFrame],
    schema: pa.Schema,
    kinds: Sequence[Dirt],
    ground: Ground,
    cities: Sequence[str],
) -> Feed:
    """The parts in their files with dirt among the first, and some copies of it."""
    key = schema.names[0]
    placed = [monthly(name, part, part.sender_code, "csv", ground.first_month) for part in parts if len(part)]
    # What a city hears of in the simulated days is no good model for a bad row: only the start is.
    good = placed[0][placed[0]["_file"].str.endswith("-full.csv")]
    typed = good[good.organisation_type_code == "grid"] if name == "organisation" else good
    bad = dirt.spoiled_cells(random, typed, kinds, _each(good), key)
    copies = dirt.repeated(random, good, _each(good) + 1)
    return arranged(name, [*placed, bad, copies], schema, gb18030_senders=cities[1::2])


def _each(rows: pd.DataFrame) -> int:
    """Bad rows of each kind: one, and one more for each three thousand good ones."""
    return 1 + len(rows) // 3000


def _numbered(prefix: str, sender: pd.Series, digits: int) -> Texts:
    number = sender.groupby(sender).cumcount().to_numpy() + 1
    found: Texts = np.add(prefix, np.char.zfill(number.astype(str), digits).astype(object))
    return found


def _no_times(count: int) -> NDArray[np.datetime64]:
    return np.full(count, np.datetime64("NaT"), "datetime64[s]")
