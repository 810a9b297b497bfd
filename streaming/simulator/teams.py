"""Grid teams of the “1+3+N” pattern and how they change over the simulated days."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streaming.simulator import people, profiles
from streaming.simulator.territory import Territory

# The post each role holds, as `organisation_name` names it; a member of the other forces comes from one of several.
_ORGANISATIONS = {
    "leader": ("{village}党组织",),
    "dedicated": ("{town}社会治理办公室",),
    "part_time": ("{village}",),
    "adviser": ("{town}机关",),
    "other": ("{village}平安志愿服务队", "{town}派出所", "{village}物业服务中心", "{town}综合执法队", "{village}老年协会"),
}
_FIRST_JOINED = np.datetime64("2018-01-01")


def gather(random: np.random.Generator, territory: Territory, first_day: np.datetime64, days: int) -> pd.DataFrame:
    """One row a member, by sender and grid.

    Columns: sender_code, grid (row of the territory), member_id, role_code, person_name, id_number, phone, organisation_name, joined_date,
    left_date (NaT while serving), reporting_weight (0 for who joins or leaves meanwhile).
    """
    grids = territory.grids
    members = _posts(random, len(grids))
    members["joined_date"] = _FIRST_JOINED + random.integers(0, int((first_day - _FIRST_JOINED).astype(int)), len(members)).astype("timedelta64[D]")
    leaving = random.random(len(members)) < profiles.LEAVING_SHARE_PER_YEAR * days / 365
    left_date = np.full(len(members), np.datetime64("NaT"), "datetime64[D]")
    left_date[leaving] = first_day + random.integers(1, max(days, 2), leaving.sum()).astype("timedelta64[D]")
    members["left_date"] = left_date
    members["reporting_weight"] = np.where(leaving, 0.0, members.role_code.map(profiles.REPORTING_WEIGHT))
    last_day = first_day + np.timedelta64(days - 1, "D")
    newcomers = members[leaving & (random.random(len(members)) < profiles.REPLACED_SHARE)].copy()
    joined = newcomers.left_date.to_numpy() + random.integers(0, 30, len(newcomers)).astype("timedelta64[D]")
    newcomers["joined_date"] = np.minimum(joined, last_day.astype("datetime64[s]"))
    newcomers["left_date"], newcomers["reporting_weight"] = np.full(len(newcomers), np.datetime64("NaT"), "datetime64[s]"), 0.0
    members = pd.concat([members, newcomers], ignore_index=True).sort_values("grid", kind="stable", ignore_index=True)
    members["sender_code"] = grids.sender_code.to_numpy()[members.grid]
    members["member_id"] = "RY" + _numbered(members.sender_code, 7)
    members["person_name"] = people.names(random, len(members))
    members["id_number"] = people.id_numbers(random, len(members))
    members["phone"] = people.phones(random, len(members))
    # Who only lends a hand need not leave papers or a number.
    members.loc[(members.role_code == "other") & (random.random(len(members)) < 0.3), "id_number"] = None
    members.loc[(members.role_code == "other") & (random.random(len(members)) < 0.15), "phone"] = None
    members["organisation_name"] = _organisations(random, members, territory)
    return members


def _posts(random: np.random.Generator, grids: int) -> pd.DataFrame:
    every = np.arange(grids)
    parts = [pd.DataFrame({"grid": every[random.random(grids) >= missing], "role_code": role}) for role, missing in profiles.MISSING_SHARE.items()]
    others = np.repeat(every, random.poisson(profiles.OTHER_FORCES_PER_GRID, grids))
    return pd.concat([*parts, pd.DataFrame({"grid": others, "role_code": "other"})], ignore_index=True).sort_values(
        "grid", kind="stable", ignore_index=True
    )


def _organisations(random: np.random.Generator, members: pd.DataFrame, territory: Territory) -> NDArray[np.object_]:
    place = territory.grids.iloc[members.grid]
    names = np.empty(len(members), object)
    for role, patterns in _ORGANISATIONS.items():
        drawn = random.integers(len(patterns), size=len(members))
        for number, pattern in enumerate(patterns):
            at = np.flatnonzero((members.role_code == role) & (drawn == number))
            level = "town" if pattern.startswith("{town}") else "village"
            names[at] = place[level].to_numpy()[at] + pattern.removeprefix(f"{{{level}}}")
    return names


def _numbered(sender: pd.Series, digits: int) -> NDArray[np.object_]:
    """1, 2, 3 … within each sender, zero-padded: the same local ids at every sender, as real platforms have them."""
    return np.char.zfill((sender.groupby(sender).cumcount().to_numpy() + 1).astype(str), digits).astype(object)
