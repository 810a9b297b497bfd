"""Rows of persons from three kinds of senders, with faults and the truth: what identity is measured on, from a thousand rows to millions.

Of ten persons each stands once in the register (one in ten moved and stands there twice) and seven on each of a city's two lists. Faults are the
issue's: 5 % slips in names, ID numbers and birth dates, missing numbers, phones that households and lodgers share, other phones, moves, twins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gridlake.contracts.compile import bronze_schema
from gridlake.privacy import Keys
from gridlake.runs import Run
from streaming.simulator import people, registers

FIRST_DAY = datetime(2026, 1, 1, tzinfo=UTC)
REGISTER, KEY_PERSONS, MEMBERS = "public_security__person", "city_platform__key_person", "city_platform__team_member"
LABELS = "province_platform__human_label"
_ENTITY = {REGISTER: "person", KEY_PERSONS: "key_person", MEMBERS: "team_member"}
_PER_PERSON = 2.5
SLIPS = {"name": 0.05, "id_number": 0.05, "born": 0.05}
NO_ID_NUMBER = {REGISTER: 0.01, KEY_PERSONS: 0.08, MEMBERS: 0.08}
NO_PHONE, OTHER_PHONE, MOVED, SHARED_PHONE, TWINS = 0.05, 0.08, 0.08, 0.25, 0.02
_RESIDENTS_PER_VILLAGE, _HOUSEHOLD = 2500, 2.5


@dataclass(frozen=True)
class Records:
    """One row per record and version of it.

    Columns: feed, sender_code, local_id, person (the truth), name, id_number, phone, address (None: unknown), born, is_male, village, day
    (on which it comes), version, op.
    """

    rows: pd.DataFrame


def pairs(sizes: pd.Series) -> int:
    """How many pairs there are in groups of these sizes."""
    return int((sizes * (sizes - 1) // 2).sum())


def drawn(seed: int, rows: int, *, days: int = 11, base: float = 0.9) -> Records:
    """About so many records; the share `base` comes on the first day, the others on the days after it."""
    random = np.random.default_rng(seed)
    persons = _persons(random, round(rows / _PER_PERSON))
    count = len(persons)
    again = np.flatnonzero(random.random(count) < 0.1)
    parts = [_record(random, persons, np.concatenate([np.arange(count), again]), REGISTER)]
    parts += [_record(random, persons, np.sort(random.choice(count, round(count * 0.7), replace=False)), feed) for feed in (KEY_PERSONS, MEMBERS)]
    found = pd.concat(parts, ignore_index=True)
    found.loc[found.feed == MEMBERS, "born"], found.loc[found.feed == MEMBERS, "address"] = pd.NaT, None
    found["day"] = np.where(random.random(len(found)) < base, 0, random.integers(1, max(days, 2), len(found)))
    found["local_id"] = np.char.add("R", np.char.zfill(random.permutation(len(found)).astype(str), 8)).astype(object)
    return Records(found)


def _persons(random: np.random.Generator, count: int) -> pd.DataFrame:
    household = np.sort(random.integers(max(round(count / _HOUSEHOLD), 1), size=count))
    is_first = np.diff(household, prepend=-1) > 0
    head = np.maximum.accumulate(np.where(is_first, np.arange(count), 0))
    age = random.integers(1, 90 * 365, count)
    twin = ~is_first & (random.random(count) < TWINS) & (np.arange(count) > 0)
    age = np.where(twin, np.roll(age, 1), age)
    born = np.datetime64("2025-12-31", "D") - age.astype("timedelta64[D]")
    is_male = random.random(count) < 0.5
    names = people.names(random, count)
    names = np.where(twin, pd.Series(np.roll(names, 1)).str[:-1] + pd.Series(names).str[-1], names)
    phones = people.phones(random, count)
    phones = np.where(~is_first & (random.random(count) < SHARED_PHONE), phones[head], phones)
    # A foreman's number for the twenty whom he brought.
    lodger = random.random(count) < 0.01
    phones = np.where(lodger, phones[np.arange(count) // 2000 * 2000], phones)
    village = household * 1.0 * _HOUSEHOLD // _RESIDENTS_PER_VILLAGE
    return pd.DataFrame(
        {
            "person": np.arange(count),
            "name": names,
            "id_number": people.id_numbers_of(random, born, is_male),
            "phone": phones,
            "address": np.char.add("某路", household.astype(str)).astype(object),
            "born": born,
            "is_male": is_male,
            "village": village.astype(int),
        }
    )


def _record(random: np.random.Generator, persons: pd.DataFrame, who: NDArray[np.int64], feed: str) -> pd.DataFrame:
    found = persons.iloc[who].reset_index(drop=True)
    count = len(found)
    missing = {"id_missing": NO_ID_NUMBER[feed], "phone_missing": NO_PHONE, "phone_other": OTHER_PHONE}
    said = registers.written(random, found, {"id_swap": SLIPS["id_number"], **missing})
    # A slip puts another person's last character in the place of one's own.
    slip = random.random(count) < SLIPS["name"]
    other = pd.Series(people.names(random, count)).str[-1]
    found["name"] = np.where(slip, found.name.str[:-1] + other, found.name)
    found["id_number"], found["phone"] = said.id_number, said.phone
    wrong_day = random.random(count) < SLIPS["born"]
    shift = random.integers(1, 28, count).astype("timedelta64[D]")
    found["born"] = np.where(wrong_day, found.born - shift, found.born).astype("datetime64[D]")
    moved = random.random(count) < MOVED
    found["village"] = np.where(moved, random.integers(found.village.max() + 1, size=count), found.village)
    found["address"] = np.where(moved, np.char.add("某路", random.integers(count, size=count).astype(str)).astype(object), found.address)
    sender = "zj_public_security" if feed == REGISTER else np.where(found.village % 2 == 0, "330100000000", "330400000000")
    return found.assign(feed=feed, sender_code=sender, version=1, op="upsert")


def crafted(*rows: dict[str, Any]) -> Records:
    """Records of given columns; a row not said otherwise is the newest known of 陈伟, in the register, on the first day."""
    ordinary = {
        "feed": REGISTER, "sender_code": "zj_public_security", "person": 0, "name": "陈伟", "id_number": None, "phone": None, "address": None,
        "born": np.datetime64("1990-05-01", "D"), "is_male": True, "village": 7, "day": 0, "version": 1, "op": "upsert",
    }  # fmt: skip
    city = {"sender_code": "330100000000"}
    whole = [ordinary | (city if row.get("feed", REGISTER) != REGISTER else {}) | row for row in rows]
    return Records(pd.DataFrame([r | ({"born": np.datetime64("NaT", "D")} if r["feed"] == MEMBERS else {}) for r in whole]))


def land(run: Run, records: Records, *, until: int | None = None, labels: Sequence[Mapping[str, Any]] = ()) -> None:
    """Let the lake hold the records of the days up to `until`, and these labels (columns of human_label, `day` on which it comes)."""
    # A row keeps its place in its delivery, whatever else comes.
    rows = records.rows.assign(place=np.arange(len(records.rows)))
    rows = rows if until is None else rows[rows.day <= until]
    landed = {feed: _bronze(run, feed, of_feed.reset_index(drop=True)) for feed, of_feed in rows.groupby("feed")}
    if labels:
        said = [_label(number, label) for number, label in enumerate(labels)]
        landed[LABELS] = pa.Table.from_pylist(said, bronze_schema(run.contracts[LABELS]))
    for feed, content in landed.items():
        run.tables.overwrite(f"bronze.{feed}", content)
    villages, senders = np.unique(records.rows.village), ("330100000000", "330400000000")
    grids = [(sender, f"G{village}", village_code(village)) for sender in senders for village in villages]
    columns = [[f"{sender}-{grid}" for sender, grid, _ in grids], [grid for _, grid, _ in grids], ["cn"] * len(grids), [code for *_, code in grids]]
    staged = dict(zip(("grid_id", "local_id", "region_system", "region_code"), columns, strict=True))
    run.tables.overwrite("staging.stg_grid", pa.table(staged))
    run.cut = {f"bronze.{feed}": run.tables.version(f"bronze.{feed}") for feed in landed}
    run.engine.register(run.cut)


def _label(number: int, label: Mapping[str, Any]) -> dict[str, Any]:
    day = FIRST_DAY + timedelta(days=label["day"])
    place = {"_received_at": day, "_source_position": f"labels#{number:010}", "_op": "upsert", "_sender_code": "zj_province_platform"}
    said = {"label_id": f"L{number}", "model": "person_link", "source_version": number + 1, "changed_at": day, **place, **label}
    return {name: value for name, value in said.items() if name != "day"}


def village_code(number: int) -> str:
    """The twelve digits of a made-up village."""
    return f"3301{number // 400 + 10:02}{number // 20 % 20 + 1:03}{number % 20 + 200:03}"


def _bronze(run: Run, feed: str, rows: pd.DataFrame) -> pa.Table:
    schema = bronze_schema(run.contracts[feed])
    at = pd.Timestamp(FIRST_DAY) + pd.to_timedelta(rows.day, unit="D")
    token = {c: tokens(run.keys, rows[c]) for c in ("name", "id_number", "phone", "address")}
    born = pa.array(rows.born.to_numpy().astype("datetime64[D]"), pa.date32())
    key = f"{_ENTITY[feed]}_id".replace("team_member", "member")
    village = rows.village.map({v: village_code(v) for v in rows.village.unique()})
    given: dict[str, Any] = {
        key: rows.local_id,
        "person_name_token": token["name"],
        "id_number_token": token["id_number"],
        "phone_token": token["phone"],
        "registered_address_token": token["address"],
        "home_address_token": token["address"],
        "birth_date": born,
        "sex_code": np.where(rows.is_male, "1", "2"),
        "region_code": village,
        "grid_id": "G" + rows.village.astype(str),
        "source_version": rows.version,
        "changed_at": at,
        "_received_at": at,
        "_sender_code": rows.sender_code,
        "_source_position": "files:" + rows.day.astype(str) + "#" + rows.place.astype(str).str.zfill(10),
        "_op": rows.op,
    }
    columns = [
        pa.nulls(len(rows), f.type) if f.name not in given else (v if isinstance(v := given[f.name], pa.Array) else pa.array(v)).cast(f.type)
        for f in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def tokens(keys: Keys, texts: pd.Series) -> pa.Array:
    """Join tokens as the lander makes them; of None none."""
    return keys.token(pa.array(texts.astype(object).where(texts.notna(), None), pa.string()))


def measured(records: Records, person_of: pd.Series) -> dict[str, Any]:
    """Pairwise precision and recall of `person_of` (by local id) against the truth."""
    found = records.rows.assign(found=records.rows.local_id.map(person_of))
    found = found[found.found.notna()]
    right = pairs(found.groupby(["person", "found"]).size())
    said, true = pairs(found.groupby("found").size()), pairs(found.groupby("person").size())
    return {"pairs": true, "precision": round(right / said, 5) if said else None, "recall": round(right / true, 5) if true else None}
