"""The province's major applications: how far each has come in each city, what the local platforms were changed for them, and the business they do.

Counties and cities are all of the province's, whichever cities are simulated: the province's platform counts everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import deliveries
from streaming.simulator.deliveries import Period
from streaming.simulator.dirt import Dirt
from streaming.simulator.parcels import Feed
from streaming.simulator.texts import kept

_TEXT, _LONG, _DATE, _TIME = pa.string(), pa.int64(), pa.date32(), pa.timestamp("us")
_VERSION = [("source_version", _LONG), ("changed_at", _TIME)]
_CITY, _COUNTY, _TOWNSHIP = 2, 3, 4
_DAY = np.timedelta64(1, "D")

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
_CONNECTION = pa.schema(
    [
        *((name, _TEXT) for name in ("application_code", "region_code", "stage_code", "state_code")),
        *((name, _DATE) for name in ("planned_date", "finished_date")),
        ("open_problem_count", _LONG),
        ("remark", _TEXT),
        *_VERSION,
    ]
)
_UPGRADE = pa.schema(
    [
        *((name, _TEXT) for name in ("region_code", "component_code", "state_code")),
        ("progress_pct", _LONG),
        *((name, _DATE) for name in ("planned_date", "finished_date")),
        *((name, _TEXT) for name in ("platform_version", "remark")),
        *_VERSION,
    ]
)
# assumed: what a county of half a million residents takes in in a month once everybody uses it; share coordinated; months from the first simulated
# day to that on which connecting its cities began.
_MONTHLY_BUSINESS = {
    "dispute_code": (260, 0.16, -10), "mediation": (190, 0.22, -9), "people_call": (420, 0.30, -7), "police_grid": (310, 0.85, -5),
    "petition": (60, 0.35, -3), "integrated_enforcement": (150, 0.28, 0), "anti_fraud": (540, 0.08, 2), "community_correction": (35, 0.12, 4),
}  # fmt: skip
_OTHER_BUSINESS = (100, 0.2, 5)
# assumed: a first delivery has the quarter before it.
_MONTHS_BEFORE = 3
# assumed: the best city is connected after seven months, one with no zeal would take so many more; after so many months in use about two thirds of
# what will come is there.
_MONTHS_TO_CONNECT, _LAGGING_MONTHS, _MONTHS_TO_GROW = 7, 5.7, 5.0
_LEAST_ZEAL = 0.35
# assumed: the Spring Festival's month is short.
_SEASON = {1: 0.92, 2: 0.68, 10: 0.93}
_CORRECTED_SHARE = 0.02
# assumed: days planned for a stage of connecting a city, and for one change of a local platform.
_STAGE_DAYS, _UPGRADE_DAYS = 45, 150
_BLOCKED_SHARE, _OWN_PLATFORM_SHARE = 0.08, 0.4
_REMARKS = ("网关策略未开通，已发函协调", "接口字段与手册不一致，待应用方确认", "市级平台排期靠后", "测试数据不足")

_ACTIVITY_DIRT = (
    Dirt("wrong_type", "type", "received_count", {"received_count": "四百余件"}),
    Dirt("unknown_code", "code_list", "application_code", {"application_code": "jiefenma"}),
    Dirt("missing_required", "required", "completed_count", {"completed_count": None}),
    Dirt("unknown_region", "region_unknown", "region_code", {"region_code": "339901000000"}),
    Dirt("broken_rule", "on_time_within_completed", None, {"on_time_count": 99_999}),
)
_CONNECTION_DIRT = (
    Dirt("wrong_type", "type", "planned_date", {"planned_date": "三月底"}),
    Dirt("unknown_code", "code_list", "stage_code", {"stage_code": "联调"}),
    Dirt("broken_rule", "done_has_date", None, {"state_code": "done", "finished_date": None, "open_problem_count": 0}),
)
_UPGRADE_DIRT = (
    Dirt("wrong_type", "type", "progress_pct", {"progress_pct": "六成"}),
    Dirt("unknown_code", "code_list", "component_code", {"component_code": "大屏"}),
    Dirt("broken_rule", "done_is_whole", None, {"state_code": "in_progress", "progress_pct": 100, "finished_date": None}),
)


@dataclass(frozen=True)
class Standing:
    """How the cities and counties of the province stand, by which all feeds of applications and of the pilot go.

    `cities` has region_code, region_name and zeal (0 to 1, the best 1); `counties` these and city, resident_count, township_count.
    """

    cities: pd.DataFrame
    counties: pd.DataFrame

    @property
    def places(self) -> pd.DataFrame:
        """Cities, then counties: region_code, region_name, zeal."""
        return pd.concat([part[["region_code", "region_name", "zeal"]] for part in (self.cities, self.counties)], ignore_index=True)


def standing(random: np.random.Generator, vocabularies: Vocabularies) -> Standing:
    """Zeal drawn for each city, and a little of its own for each of its counties."""
    regions = vocabularies.regions.filter(pc.equal(vocabularies.regions.column("region_system"), "cn"))
    code, level = pd.Series(regions.column("region_code").to_numpy(), dtype=object), regions.column("region_level").to_numpy()
    name = regions.column("region_name").to_numpy()
    cities = pd.DataFrame({"region_code": code[level == _CITY], "region_name": name[level == _CITY]}).reset_index(drop=True)
    cities["zeal"] = random.permutation(np.linspace(_LEAST_ZEAL, 1.0, len(cities)))
    counties = pd.DataFrame({"region_code": code[level == _COUNTY], "region_name": name[level == _COUNTY]}).reset_index(drop=True)
    counties["city"] = counties.region_code.str[:4] + "00000000"
    zeal = counties.city.map(cities.set_index("region_code").zeal)
    counties["zeal"] = np.clip(zeal * random.uniform(0.8, 1.15, len(counties)), 0.2, 1.0)
    residents = vocabularies["county_position_gcj02"].rows.to_pandas().set_index("code").resident_count.dropna().astype(int)
    counties["resident_count"] = counties.region_code.map(residents).fillna(residents.median()).astype(int)
    townships = code[level == _TOWNSHIP].str[:6].value_counts()
    counties["township_count"] = counties.region_code.str[:6].map(townships).fillna(1).astype(int)
    return Standing(cities, counties)


def feeds(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, period: Period) -> Iterator[Feed]:
    """What the province sends of its major applications, as CSV by month."""
    yield application_activity(random, vocabularies, where, period)
    yield application_connection(random, vocabularies, where, period)
    yield platform_upgrade(random, vocabularies, where, period)


def application_activity(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, period: Period) -> Feed:
    """Each application's business in each county that it has reached, month by month; some months are corrected weeks later."""
    months = np.arange(period.first_day.astype("datetime64[M]") - _MONTHS_BEFORE, period.end.astype("datetime64[M]"))
    counties, applications = where.counties, vocabularies["major_application"].rows.column("code").to_pylist()
    application, county, month = _crossed(len(applications), len(counties), len(months))
    volume, coordinated, begun = np.array([_MONTHLY_BUSINESS.get(code, _OTHER_BUSINESS) for code in applications]).T
    zeal, townships = counties.zeal.to_numpy(), counties.township_count.to_numpy()
    in_use = month - _MONTHS_BEFORE - begun[application] - _MONTHS_TO_CONNECT - np.round((1 - zeal) * _LAGGING_MONTHS)[county]
    reached = in_use >= 0
    application, county, month, in_use = application[reached], county[reached], month[reached], in_use[reached]
    season = np.array([_SEASON.get(int(number) % 12 + 1, 1.0) for number in months.astype(int)])
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
            "on_time_count": random.binomial(completed, 0.8 + 0.19 * zeal[county]),
            "coordinated_count": random.binomial(received, coordinated[application]),
            "active_user_count": random.poisson(6 + 1.5 * townships[county] * zeal[county] * grown),
            "township_count": np.where(received > 0, np.maximum(random.binomial(townships[county], 1 - np.exp(-expected / 20)), 1), 0),
            "source_version": 1,
            # Due on the fifth of the next month.
            "changed_at": (months[month] + 1).astype("datetime64[s]") + (1 + application % 4) * _DAY + np.timedelta64(2, "h"),
        }
    )
    corrected = rows[(random.random(len(rows)) < _CORRECTED_SHARE) & (rows.received_count > 0)]
    later = random.integers(10, 40, len(corrected)) * _DAY
    corrected = corrected.assign(source_version=2, changed_at=corrected.changed_at + later)
    corrected["received_count"] = corrected.received_count + random.integers(1, 30, len(corrected))
    rows = pd.concat([rows, corrected], ignore_index=True)
    return deliveries.from_province(random, "application_activity", rows, _ACTIVITY, _ACTIVITY_DIRT, period)


def application_connection(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, period: Period) -> Feed:
    """The five stages of each application in each city, one after the other; a city without much zeal begins late and takes long."""
    applications, stages = (vocabularies[name].rows.column("code").to_pylist() for name in ("major_application", "connection_stage"))
    begun = np.array([_MONTHLY_BUSINESS.get(code, _OTHER_BUSINESS)[2] for code in applications])
    application, city = _crossed(len(applications), len(where.cities))
    zeal = where.cities.zeal.to_numpy()[city]
    first = period.start + begun[application] * 30 * _DAY
    planned = first[:, None] + np.arange(1, len(stages) + 1) * _STAGE_DAYS * _DAY
    took = np.round(_STAGE_DAYS * (1.7 - 0.75 * zeal)[:, None] * random.lognormal(0, 0.2, (len(application), len(stages)))) * _DAY
    finished = first[:, None] + took.cumsum(axis=1)
    record, stage = (axis.ravel() for axis in np.indices(finished.shape))
    started = np.concatenate([first[:, None], finished[:, :-1]], axis=1)
    is_blocked = random.random(len(record)) < _BLOCKED_SHARE
    troubled = np.where(is_blocked, (started + took // 2).ravel(), np.datetime64("NaT"))
    # Known from the start of the application; under way; in trouble; done.
    times = np.column_stack([first[record], (started + np.timedelta64(3600, "s")).ravel(), troubled, finished.ravel()])
    rows = deliveries.histories(_in_office_hours(random, times), period)
    at_hand, state = record[rows.record], np.array(["not_started", "in_progress", "blocked", "done"], object)[rows.state]
    is_done = state == "done"
    found = pd.DataFrame(
        {
            "application_code": np.array(applications, object)[application[at_hand]],
            "region_code": where.cities.region_code.to_numpy(object)[city[at_hand]],
            "stage_code": np.array(stages, object)[stage[rows.record]],
            "state_code": state,
            "planned_date": planned.ravel()[rows.record],
            "finished_date": rows["at"].where(is_done),
            "open_problem_count": np.where(np.isin(state, ["in_progress", "blocked"]), random.poisson(2.5, len(rows)), 0),
            "remark": kept(deliveries.drawn(random, dict.fromkeys(_REMARKS, 1.0), len(rows)), state == "blocked"),
            "source_version": rows.version,
            "changed_at": rows["at"],
        }
    )
    return deliveries.from_province(random, "application_connection", found, _CONNECTION, _CONNECTION_DIRT, period)


def platform_upgrade(random: np.random.Generator, vocabularies: Vocabularies, where: Standing, period: Period) -> Feed:
    """Each change of each city's platform, and of the counties that have one of their own."""
    components = vocabularies["platform_component"].rows.column("code").to_pylist()
    places = where.places
    places = places[(places.index < len(where.cities)) | (random.random(len(places)) < _OWN_PLATFORM_SHARE)].reset_index(drop=True)
    place, component = _crossed(len(places), len(components))
    zeal = places.zeal.to_numpy()[place]
    first = period.start + random.integers(-300, max(period.days * 2 // 3, 1), len(place)) * _DAY
    took = np.round(_UPGRADE_DAYS * (1.6 - 0.7 * zeal) * random.lognormal(0, 0.25, len(place)))
    times = np.column_stack([first, first + 20 * _DAY, first + np.round(took / 2) * _DAY, first + (20 + took) * _DAY])
    rows = deliveries.histories(_in_office_hours(random, times), period)
    record, state = rows.record.to_numpy(), rows.state.to_numpy()
    progress = np.array([0, 10, 55, 100])[state] + np.where((state == 1) | (state == 2), random.integers(0, 30, len(rows)), 0)
    found = pd.DataFrame(
        {
            "region_code": places.region_code.to_numpy(object)[place[record]],
            "component_code": np.array(components, object)[component[record]],
            "state_code": np.array(["not_started", "in_progress", "in_progress", "done"], object)[state],
            "progress_pct": progress,
            "planned_date": (first + _UPGRADE_DAYS * _DAY)[record],
            "finished_date": rows["at"].where(state == 3),
            "platform_version": kept(deliveries.drawn(random, dict.fromkeys(("V3.0", "V3.1", "V3.2", "V4.0"), 1.0), len(rows)), state == 3),
            "remark": kept(
                deliveries.drawn(random, dict.fromkeys(("待资金下达", "承建单位进场", "等待省级接口"), 1.0), len(rows)),
                (state == 2) & (random.random(len(rows)) < 0.2),
            ),
            "source_version": rows.version,
            "changed_at": rows["at"],
        }
    )
    return deliveries.from_province(random, "platform_upgrade", found, _UPGRADE, _UPGRADE_DIRT, period)


def _crossed(*counts: int) -> list[NDArray[np.int64]]:
    """Every combination, as one column of numbers for each count."""
    return [axis.ravel() for axis in np.indices(counts)]


def _in_office_hours(random: np.random.Generator, times: NDArray[np.datetime64]) -> NDArray[np.datetime64]:
    """The days of these times with an hour between nine and five: the same hour for all of a record, so that their order stays."""
    seconds = random.integers(9 * 3600, 17 * 3600, (len(times), 1)) + np.arange(times.shape[1]) * 60
    found: NDArray[np.datetime64] = times.astype("datetime64[D]").astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    return found
