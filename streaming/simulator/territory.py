"""The ground of the simulated cities: villages divided into grids, each a rectangle of its county with residents and a name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies, VocabularyError
from streaming.simulator import profiles

CITY, VILLAGE = 2, 5
_KM_PER_DEGREE = 111.32
# assumed: residents a square kilometre, in a street's communities and in the country; only their ratio matters.
_DENSITY = {True: 9000.0, False: 450.0}
_URBAN_RESIDENTS_FACTOR = 2.2
_NUMERALS = ("一", "二", "三", "四")
# assumed: grids of a park, a shopping district or a campus among those of communities.
_SPECIAL_TYPES = {"park": 0.02, "market": 0.015, "campus": 0.005}
# assumed, where the county's census count is missing.
_RESIDENTS_PER_VILLAGE = 1800


class UnknownCity(VocabularyError):
    """A city that the region vocabulary does not have; the message lists those there are."""


@dataclass(frozen=True)
class Territory:
    """The grids of some cities, in the order of their villages' codes.

    `grids` has sender_code, grid_id, region_code, town_code, village, town, county, city (names), grid_name, grid_type_code, is_urban,
    household_count, resident_count, west, south, east, north (GCJ-02 degrees); its index is 0, 1, 2 ….
    """

    grids: pd.DataFrame

    @property
    def boundaries(self) -> NDArray[np.object_]:
        """Each grid's WKT polygon; neighbours within a county share their edges."""
        edge = {side: _degrees(self.grids[side]) for side in ("west", "south", "east", "north")}
        corners = [
            edge[x] + " " + edge[y] for x, y in (("west", "south"), ("east", "south"), ("east", "north"), ("west", "north"), ("west", "south"))
        ]
        ring: NDArray[np.object_] = corners[0] + ", " + corners[1] + ", " + corners[2] + ", " + corners[3] + ", " + corners[4]
        return "POLYGON ((" + ring + "))"  # type: ignore[no-any-return]


def lay_out(random: np.random.Generator, vocabularies: Vocabularies, cities: Sequence[str], villages: int | None) -> Territory:
    """The grids of the cities; `villages` limits each city to so many villages, spread over its counties."""
    regions = region_table(vocabularies)
    names = dict(zip(*(regions.column(c).to_pylist() for c in ("region_code", "region_name")), strict=True))
    every = pd.DataFrame({"region_code": regions.filter(pc.equal(regions.column("region_level"), VILLAGE)).column("region_code").to_pylist()})
    every["sender_code"] = every.region_code.str[:4] + "00000000"
    found = pd.concat([_spread(every[every.sender_code == city], villages) for city in cities], ignore_index=True)
    found["county_code"] = found.region_code.str[:6] + "000000"
    found["town_code"] = found.region_code.str[:9] + "000"
    for name, code in (("village", "region_code"), ("town", "town_code"), ("county", "county_code"), ("city", "sender_code")):
        found[name] = found[code].map(names)
    found["village"] = _short(found.village)
    found["is_urban"] = found.town.str.endswith("街道") & found.village.str.endswith("社区")
    positions = vocabularies["county_position_gcj02"].rows.to_pandas().set_index("code")
    found["residents"] = _residents(random, found, positions, every)
    grids = _divide(random, found)
    grids = pd.concat([_place(part, positions.loc[county]) for county, part in grids.groupby("county_code", sort=False)], ignore_index=True)
    # Every sender counts from 1, as real platforms do: the same local ids mean other grids at another sender.
    grids["grid_id"] = "WG" + (grids.groupby("sender_code").cumcount() + 1).astype(str).str.zfill(6)
    return Territory(grids)


def every_city(vocabularies: Vocabularies) -> list[str]:
    """The cities of the vocabulary."""
    regions = region_table(vocabularies)
    return list(map(str, regions.filter(pc.equal(regions.column("region_level"), CITY)).column("region_code").to_pylist()))


def check_cities(vocabularies: Vocabularies, cities: Sequence[str]) -> None:
    """Raises UnknownCity where a code is no city of the vocabulary."""
    known = every_city(vocabularies)
    if not cities or (missing := [c for c in cities if c not in known]):
        raise UnknownCity(f"no city {', '.join(missing) if cities else 'named'}; expected 12-digit codes out of {', '.join(known)}")


def region_table(vocabularies: Vocabularies) -> pa.Table:
    """The full region tree as the province sends it, less valid_from and versions."""
    regions = vocabularies.regions.filter(pc.equal(vocabularies.regions.column("region_system"), "cn"))
    return regions.select(["region_code", "region_name", "region_level", "parent_code"])


def _short(village: pd.Series) -> pd.Series:
    """The name that people use: 上保社区 stays, 上梧村委会 is 上梧村, 塘联村村委会 is 塘联村."""
    bare = village.str.replace("(?:居民委员会|居委会|村民委员会|村委会)$", "", regex=True)
    suffix = village.str.contains("居民委员会$|居委会$", regex=True).map({True: "社区", False: "村"})
    return bare.where((bare == village) | bare.str.endswith(("社区", "村")), bare + suffix)


def _spread(villages: pd.DataFrame, limit: int | None) -> pd.DataFrame:
    if limit is None or limit >= len(villages):
        return villages
    return villages.iloc[np.linspace(0, len(villages) - 1, limit).astype(int)]


def _residents(random: np.random.Generator, villages: pd.DataFrame, positions: pd.DataFrame, every: pd.DataFrame) -> NDArray[np.float64]:
    """Each village's residents: its county's count shared out unevenly, communities of streets larger."""
    weight = random.lognormal(0, 0.45, len(villages)) * np.where(villages.is_urban, _URBAN_RESIDENTS_FACTOR, 1)
    villages_of_county = every.region_code.str[:6].add("000000").value_counts()
    counted = pd.to_numeric(villages.county_code.map(positions.resident_count))
    all_villages = villages.county_code.map(villages_of_county)
    mean = (counted / all_villages).fillna(_RESIDENTS_PER_VILLAGE)
    mean_weight = pd.Series(weight, villages.index).groupby(villages.county_code).transform("mean")
    return np.asarray(mean * weight / mean_weight, dtype=np.float64)


def _divide(random: np.random.Generator, villages: pd.DataFrame) -> pd.DataFrame:
    """One row a grid, a village's grids one after the other."""
    lowest, highest = profiles.GRIDS_PER_VILLAGE
    count = np.clip(np.round(villages.residents.to_numpy() / profiles.RESIDENTS_PER_GRID), lowest, highest).astype(int)
    grids = villages.loc[villages.index.repeat(count)].reset_index(drop=True)
    number = np.arange(len(grids)) - np.repeat(np.cumsum(count) - count, count)
    share = random.uniform(0.7, 1.3, len(grids))
    share /= np.repeat(np.add.reduceat(share, np.cumsum(count) - count), count)
    grids["resident_count"] = np.maximum(np.round(grids.residents * share), 30).astype(int)
    grids["household_count"] = np.round(grids.resident_count / random.uniform(2.2, 3.1, len(grids))).astype(int)
    grids["grid_name"] = grids.village + "第" + np.array(_NUMERALS, object)[number] + "网格"
    drawn = random.random(len(grids))
    kinds = np.where(grids.is_urban, "urban", "rural").astype(object)
    lower = 0.0
    for kind, share_of_kind in _SPECIAL_TYPES.items():
        kinds[grids.is_urban & (drawn >= lower) & (drawn < lower + share_of_kind)] = kind
        lower += share_of_kind
    grids["grid_type_code"] = kinds
    return grids.drop(columns="residents")


def _place(grids: pd.DataFrame, county: pd.Series) -> pd.DataFrame:
    """Cut the county's rectangle into the grids' cells: halve it by area, across its longer side, until each grid has its own."""
    width, height = float(county["width_deg"]), float(county["height_deg"])
    longitude, latitude = float(county["longitude"]), float(county["latitude"])
    area = grids.resident_count.to_numpy() / np.where(grids.is_urban, _DENSITY[True], _DENSITY[False])
    upto = np.concatenate([[0.0], np.cumsum(area)])
    cells = np.empty((len(grids), 4))
    shrink = np.cos(np.radians(latitude))
    waiting = [(0, len(grids), longitude - width / 2, latitude - height / 2, longitude + width / 2, latitude + height / 2)]
    while waiting:
        first, last, west, south, east, north = waiting.pop()
        if last - first == 1:
            cells[first] = west, south, east, north
            continue
        half = int(np.clip(np.searchsorted(upto, (upto[first] + upto[last]) / 2), first + 1, last - 1))
        share = (upto[half] - upto[first]) / (upto[last] - upto[first])
        if (east - west) * shrink > north - south:
            cut = west + (east - west) * share
            waiting += [(first, half, west, south, cut, north), (half, last, cut, south, east, north)]
        else:
            cut = south + (north - south) * share
            waiting += [(first, half, west, south, east, cut), (half, last, west, cut, east, north)]
    return grids.assign(**dict(zip(("west", "south", "east", "north"), np.round(cells, 6).T, strict=True)))


def _degrees(values: pd.Series) -> NDArray[np.object_]:
    return np.char.mod("%.6f", values.to_numpy()).astype(object)
