"""What the province's platform tells of its applications: the major ones' business in each county.

Counties and cities are all of the province's, whichever cities are simulated: the platform counts everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from gridlake.vocabularies import Vocabularies
from streaming.simulator import deliveries, dirt
from streaming.simulator.dirt import Dirt
from streaming.simulator.feeds import PROVINCE
from streaming.simulator.parcels import Feed, arranged

_SOURCE = "province_platform"
_TEXT, _LONG, _DATE, _TIME = pa.string(), pa.int64(), pa.date32(), pa.timestamp("us")
_VERSION = [("source_version", _LONG), ("changed_at", _TIME)]
_CITY, _COUNTY, _TOWNSHIP = 2, 3, 4

_ACTIVITY = pa.schema(
    [
        *((name, _TEXT) for name in ("application_code", "region_code")),
        ("activity_month", _DATE),
        *(
            (name, _LONG)
            for name in ("received_count", "completed_count", "on_time_count", "coordinated_count", "active_user_count", "township_count")
        ),
        *_VERSION,
    ]
)
# assumed: what a county of half a million residents takes in in a month once everybody uses it; share coordinated; months from the start of the first
# application to that of this one.
_MONTHLY_BUSINESS = {
    "dispute_code": (260, 0.16, 0), "mediation": (190, 0.22, 0), "people_call": (420, 0.30, 1), "police_grid": (310, 0.85, 2),
    "petition": (60, 0.35, 3), "integrated_enforcement": (150, 0.28, 4), "anti_fraud": (540, 0.08, 6), "community_correction": (35, 0.12, 8),
}  # fmt: skip
_OTHER_BUSINESS = (100, 0.2, 5)
# assumed: a first delivery has the quarter before it, in which the first applications went live.
_MONTHS_BEFORE = 3
# assumed: after so many months in use about two thirds of what will come is there; a city without much zeal comes months later and stays below.
_MONTHS_TO_GROW, _LAGGING_MONTHS, _LEAST_ZEAL = 5.0, 7, 0.35
# assumed: the Spring Festival's month is short.
_SEASON = {1: 0.92, 2: 0.68, 10: 0.93}
_CORRECTED_SHARE, _LATE_SHARE, _REPEATED_SHARE = 0.02, 0.004, 0.002

_ACTIVITY_DIRT = (
    Dirt("wrong_type", "type", "received_count", {"received_count": "四百余件"}),
    Dirt("unknown_code", "code_list", "application_code", {"application_code": "jiefenma"}),
    Dirt("missing_required", "required", "completed_count", {"completed_count": None}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": "339901000000"}),
    Dirt("broken_rule", "on_time_within_completed", None, {"on_time_count": 99_999}),
)


@dataclass(frozen=True)
class Standing:
    """How the cities and counties of the province stand, by which all these feeds go.

    `cities` has city (its code) and zeal (0 to 1, the best 1); `counties` has region_code, city, zeal, resident_count and township_count.
    """

    cities: pd.DataFrame
    counties: pd.DataFrame


def standing(random: np.random.Generator, vocabularies: Vocabularies) -> Standing:
    """Zeal drawn for each city, and a little of its own for each of its counties."""
    regions = vocabularies.regions.filter(pc.equal(vocabularies.regions.column("region_system"), "cn"))
    code, level = pd.Series(regions.column("region_code").to_numpy(), dtype=object), regions.column("region_level").to_numpy()
    cities, counties = code[level == _CITY].reset_index(drop=True), code[level == _COUNTY].reset_index(drop=True)
    townships = code[level == _TOWNSHIP].str[:6].value_counts()
    residents = vocabularies["county_position_gcj02"].rows.to_pandas().set_index("code").resident_count.dropna().astype(int)
    zeal = random.permutation(np.linspace(_LEAST_ZEAL, 1.0, len(cities)))
    found = pd.DataFrame({"region_code": counties, "city": counties.str[:4] + "00000000"})
    found["zeal"] = np.clip(found.city.map(dict(zip(cities, zeal, strict=True))) * random.uniform(0.8, 1.15, len(found)), 0.2, 1.0)
    found["resident_count"] = counties.map(residents).fillna(residents.median()).astype(int)
    found["township_count"] = counties.str[:6].map(townships).fillna(1).astype(int)
    return Standing(pd.DataFrame({"city": cities, "zeal": zeal}), found)


def feeds(random: np.random.Generator, vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> Iterator[Feed]:
    """Everything about applications, from the province."""
    where = standing(random, vocabularies)
    yield application_activity(random, vocabularies, where, first_day, days)


def application_activity(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, first_day: np.datetime64, days: int) -> Feed:
    """Each application's business in each county that it has reached, month by month, as CSV: the months before in one file, then one a month."""
    start, end = first_day.astype("datetime64[M]") - _MONTHS_BEFORE, first_day + np.timedelta64(days, "D")
    months = np.arange(start, end.astype("datetime64[M]"))
    counties, applications = where.counties, vocabularies["major_application"].rows.column("code").to_pylist()
    application, county, month = (
        axis.ravel() for axis in np.meshgrid(np.arange(len(applications)), np.arange(len(counties)), np.arange(len(months)), indexing="ij")
    )
    volume, coordinated, begun = np.array([_MONTHLY_BUSINESS.get(code, _OTHER_BUSINESS) for code in applications]).T
    zeal = counties.zeal.to_numpy()
    lag = np.round((1 - zeal) * _LAGGING_MONTHS)
    in_use = month - begun[application] - lag[county] + _MONTHS_BEFORE
    kept = in_use >= 0
    application, county, month, in_use = application[kept], county[kept], month[kept], in_use[kept]
    season = np.array([_SEASON.get(int(m) % 12 + 1, 1.0) for m in months.astype(int)])
    grown = 1 - np.exp(-(in_use + 1) / _MONTHS_TO_GROW)
    size = counties.resident_count.to_numpy() / 500_000
    expected = volume[application] * size[county] * zeal[county] * grown * season[month] * random.lognormal(0, 0.15, len(month))
    received = random.poisson(expected)
    completed = random.binomial(received + random.poisson(expected * 0.05), 0.94)
    rows = pd.DataFrame(
        {
            "application_code": np.array(applications, object)[application],
            "region_code": counties.region_code.to_numpy(object)[county],
            "activity_month": months[month].astype("datetime64[s]"),
            "received_count": received,
            "completed_count": completed,
            "on_time_count": random.binomial(completed, np.clip(0.8 + 0.19 * zeal[county], 0, 1)),
            "coordinated_count": random.binomial(received, coordinated[application]),
            "active_user_count": random.poisson(6 + 1.5 * counties.township_count.to_numpy()[county] * zeal[county] * grown),
            "township_count": random.binomial(counties.township_count.to_numpy()[county], 1 - np.exp(-expected / 20)),
            "source_version": 1,
            # Due on the fifth: the better ones count on the second.
            "changed_at": (months[month] + 1).astype("datetime64[s]") + ((1 + application % 4) * 86400 + 7200).astype("timedelta64[s]"),
        }
    )
    rows["township_count"] = np.where(rows.received_count > 0, np.maximum(rows.township_count, 1), 0)
    corrected = rows[(random.random(len(rows)) < _CORRECTED_SHARE) & (rows.received_count > 0)]
    later = random.integers(10, 40, len(corrected)).astype("timedelta64[D]")
    corrected = corrected.assign(source_version=2, changed_at=corrected.changed_at + later)
    corrected["received_count"] = corrected.received_count + random.integers(1, 30, len(corrected))
    return _sent(random, "application_activity", [rows, corrected], _ACTIVITY, _ACTIVITY_DIRT, first_day, days)


def _sent(
    random: np.random.Generator,
    name: str,
    parts: list[pd.DataFrame],
    schema: pa.Schema,
    kinds: tuple[Dirt, ...],
    first_day: np.datetime64,
    days: int,
) -> Feed:
    """The rows as CSV: what was changed before the first day in one file, then a file for each month; with dirt, repeats and late rows."""
    rows = pd.concat(parts, ignore_index=True)
    end = (first_day + np.timedelta64(days, "D")).astype("datetime64[s]")
    rows = rows[rows.changed_at < end].sort_values("changed_at", kind="stable", ignore_index=True)
    is_old = rows.changed_at < first_day.astype("datetime64[s]")
    placed = deliveries.placed(rows, PROVINCE, name, "csv")
    placed["_file"] = placed._file.where(~is_old, f"{name}-{first_day.astype('datetime64[M]') - 1}-full.csv")
    placed = dirt.delayed(random, placed, ~is_old, round(len(placed) * _LATE_SHARE))
    bad = dirt.spoiled_cells(random, placed.drop(columns=["_kind", "_state"]), kinds, 1, None)
    again = dirt.repeated(random, placed[placed._kind.isna()], max(1, round(len(placed) * _REPEATED_SHARE)))
    return arranged(name, [placed, bad, again], schema, source=_SOURCE)
