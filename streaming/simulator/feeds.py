"""The feeds of regions, grids and teams: which row is sent when, in which file, and in which format."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import dirt
from streaming.simulator.parcels import Feed, arranged
from streaming.simulator.people import Planted
from streaming.simulator.residents import Residents
from streaming.simulator.territory import Territory, region_table

PROVINCE = "330000000000"
# The vocabulary has the statistical codes of this day.
_REGIONS_SINCE = np.datetime64("2023-12-31")
_NIGHTLY = np.timedelta64(2 * 3600, "s")
_REDRAWN_SHARE = 0.01
_PLANTED_REFUSED_MEMBERS = 8

_REGION = pa.schema(
    [
        ("region_code", pa.string()),
        ("region_name", pa.string()),
        ("region_level", pa.int64()),
        ("parent_code", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_GRID = pa.schema(
    [
        ("grid_id", pa.string()),
        ("grid_name", pa.string()),
        ("region_code", pa.string()),
        ("grid_type_code", pa.string()),
        ("household_count", pa.int64()),
        ("resident_count", pa.int64()),
        ("boundary", pa.string()),
        ("longitude", pa.float64()),
        ("latitude", pa.float64()),
        ("established_date", pa.date32()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_TEAM_MEMBER = pa.schema(
    [
        ("member_id", pa.string()),
        ("grid_id", pa.string()),
        ("role_code", pa.string()),
        ("person_name", pa.string()),
        ("id_number", pa.string()),
        ("phone", pa.string()),
        ("organisation_name", pa.string()),
        ("joined_date", pa.date32()),
        ("left_date", pa.date32()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)


@dataclass(frozen=True)
class Ground:
    """What happened, before anybody reports it to the province.

    For feeds that hang on events: `events` is one light frame of all of them, by sender and time of report, index 0, 1, 2 …, and its columns are
    all there is to rely on: event_id, sender_code, grid (row of territory.grids), class_code, level_code, channel_code, office, limit_hours,
    reporter (row of members, -1 for others), reported_at and closed_at (local, seconds; NaT while open), state_code, kind (what was injected, or
    empty), is_deleted. Texts and positions exist only while the chunk of days is simulated that they belong to. `steps` is made when it is asked
    for: event (row of events), step_no, action_code, from_state, to_state, happened_at, by event and number. Strings may be categories:
    compare and map them, and take `.to_numpy(object)` before adding them up.
    """

    territory: Territory
    members: pd.DataFrame
    events: pd.DataFrame
    first_day: np.datetime64
    days: int
    _residents: Callable[[], Residents]
    _steps: Callable[[], pd.DataFrame] = pd.DataFrame

    @cached_property
    def residents(self) -> Residents:
        """Who lives where and what stands there; settled when first asked for."""
        return self._residents()

    @cached_property
    def steps(self) -> pd.DataFrame:
        """The steps that happened by the end, of deleted events too."""
        return self._steps()

    @property
    def key_persons(self) -> pd.DataFrame:
        """Everybody on a list of key persons, in the columns that `residents.settle` names."""
        return self.residents.key_persons

    @property
    def key_places(self) -> pd.DataFrame:
        """Every place on a list of key places, in the columns that `residents.settle` names."""
        return self.residents.key_places

    @property
    def end(self) -> pd.Timestamp:
        """When the last day is over; local, as all times here."""
        return pd.Timestamp(self.first_day + np.timedelta64(self.days, "D"))

    @property
    def first_month(self) -> str:
        """The month of the first day, as file names have it."""
        return str(self.first_day.astype("datetime64[M]"))


def region(random: np.random.Generator, vocabularies: Vocabularies, first_day: np.datetime64) -> Feed:
    """The whole tree once, from the province, as Parquet."""
    rows = region_table(vocabularies).to_pandas().assign(valid_from=_REGIONS_SINCE, valid_to=None, source_version=1, changed_at=first_day + _NIGHTLY)
    rows = _placed(rows, PROVINCE, f"region-{first_day.astype('datetime64[M]')}-full.parquet", np.arange(len(rows)))
    villages = rows[rows.region_level == 5]
    return arranged("region", [rows, dirt.spoiled_cells(random, villages, dirt.REGION, 1, "region_code", first=1)], _REGION)


def grid(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Feed:
    """All grids at the start as CSV, every second city's in GB18030; later the ones that were counted anew."""
    grids = ground.territory.grids
    established = np.datetime64("2020-01-01") + random.integers(0, 1800, len(grids)).astype("timedelta64[D]")
    rows = grids.assign(
        boundary=ground.territory.boundaries,
        longitude=((grids.west + grids.east) / 2).round(6),
        latitude=((grids.south + grids.north) / 2).round(6),
        established_date=established,
        source_version=1,
        changed_at=ground.first_day + _NIGHTLY,
    )
    rows = _placed(rows, rows.sender_code, f"grid-{ground.first_month}-full.csv", np.arange(len(rows)))
    drawn = random.random(len(rows))
    recounted = []
    for part in (1, 2):
        changed_at = ground.first_day + np.timedelta64(ground.days * part // 3, "D") + _NIGHTLY
        some = rows[(drawn >= (part - 1) * _REDRAWN_SHARE) & (drawn < part * _REDRAWN_SHARE)]
        some = some.assign(source_version=2, changed_at=changed_at, resident_count=some.resident_count + random.integers(5, 200, len(some)))
        recounted.append(_placed(some, some.sender_code, f"grid-{changed_at.astype('datetime64[M]')}.csv", np.arange(len(some))))
    bad = dirt.spoiled_cells(random, rows, dirt.GRID, 2, "grid_id")
    return arranged("grid", [rows, *recounted, bad], _GRID, gb18030_senders=cities[1::2])


def team_member(random: np.random.Generator, ground: Ground, cities: Sequence[str], planted: Planted) -> Feed:
    """All members at the start as CSV, every second city's in GB18030; then who came and left in each month, from every second city as XLSX."""
    members = ground.members.assign(grid_id=ground.territory.grids.grid_id.to_numpy()[ground.members.grid], source_version=1)
    new = (members.joined_date >= ground.first_day).to_numpy()
    start = members[~new].assign(left_date=_no_dates((~new).sum()), changed_at=ground.first_day + _NIGHTLY)
    came = members[new].assign(changed_at=members.joined_date[new] + np.timedelta64(9, "h"))
    gone = members[members.left_date.notna()]
    gone = gone.assign(source_version=2, changed_at=gone.left_date + np.timedelta64(18, "h"))
    suffix = dict.fromkeys(cities[0::2], "csv") | dict.fromkeys(cities[1::2], "xlsx")
    changes = pd.concat([came, gone], ignore_index=True).sort_values("changed_at", kind="stable", ignore_index=True)
    change_file = "team_member-" + _month(changes.changed_at) + "." + changes.sender_code.map(suffix)
    rows = [
        _placed(start, start.sender_code, f"team_member-{ground.first_month}-full.csv", np.arange(len(start))),
        _placed(changes, changes.sender_code, change_file, np.arange(len(changes))),
    ]
    bad = dirt.spoiled_cells(random, rows[0], dirt.TEAM_MEMBER, 3, "member_id")
    bad_changes = dirt.spoiled_cells(random, rows[1], dirt.TEAM_MEMBER, 1, "member_id", first=1000)
    with_values = (
        bad.index[bad._rule == "code_list"]
        .append(bad.index[bad._rule == "type"])
        .append(bad.index[bad._field == "grid_id"])[:_PLANTED_REFUSED_MEMBERS]
    )
    for at, person in zip(with_values, planted.draw(random, len(with_values)), strict=True):
        bad.loc[at, ["person_name", "phone", "id_number"]] = [person.name, person.phone, person.id_number]
    copies = dirt.repeated(random, rows[0], 6)
    return arranged("team_member", [*rows, bad, bad_changes, copies], _TEAM_MEMBER, gb18030_senders=cities[1::2])


def _placed(rows: pd.DataFrame, sender: Any, file: Any, order: Any) -> pd.DataFrame:
    return rows.assign(_sender=sender, _file=file, _order=order).astype({"_order": float})


def _month(times: pd.Series) -> pd.Series:
    return pd.Series(np.datetime_as_string(times.to_numpy().astype("datetime64[M]")), times.index, object)


def _no_dates(count: int) -> NDArray[np.datetime64]:
    return np.full(count, np.datetime64("NaT"), "datetime64[s]")
