"""What senders write down about people: the same person at several of them, with slips of the pen, missing numbers, moves that nobody closed.

The truth about it is one table: for each record of a person at a sender, which person it is and what in it differs from him.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from streaming.simulator import people, profiles
from streaming.simulator.texts import Texts

PERSON_TRUTH = pa.schema(
    [(name, pa.string()) for name in ("source", "feed", "sender_code", "local_id")] + [("person", pa.int64()), ("differences", pa.string())]
)
# What sounds or looks alike; of each pair either may be written for the other.
_ALIKE = (
    "伟玮 芳方 静婧 丽莉 磊雷 军君 洋阳 勇永 艳燕 杰洁 娟鹃 涛韬 明铭 超朝 霞侠 平萍 英瑛 玉钰 兰岚 文雯 斌彬 志智 鹏朋 "
    "晓小 峰锋 云芸 飞菲 春椿 林琳 佳嘉 慧惠 思斯 欣新 涵含 浩皓 宇雨 梓紫 怡宜 俊骏 琪淇 诺喏 根跟 福富 仙先 凤风 娣弟"
)
_SWAPPED = {pair[i]: pair[1 - i] for pair in _ALIKE.split() for i in (0, 1)}


def written(random: np.random.Generator, persons: pd.DataFrame, shares: Mapping[str, float]) -> pd.DataFrame:
    """name, id_number, phone and born as a sender has them, and `differences`: which of the kinds in `shares` befell the record, commas between.

    Kinds: name_typo, id_swap (two digits of the sequence change places), id_missing, phone_other, phone_missing, birth_slip (some days too early). A
    kind that changes nothing in a record (two like digits) is not named.
    """
    name, id_number, phone = (persons[column].to_numpy(object) for column in ("name", "id_number", "phone"))
    count = len(persons)
    hit = {kind: random.random(count) < share for kind, share in shares.items()}
    last = pd.Series(name, dtype=object).str[-1]
    typo = np.where(last.map(_SWAPPED).notna(), pd.Series(name, dtype=object).str[:-1] + last.map(_SWAPPED), name)
    text = pd.Series(id_number, dtype=object)
    swap = (text.str[:15] + text.str[16] + text.str[15] + text.str[17]).to_numpy(object)
    changes: list[tuple[str, str, Texts]] = [
        ("name_typo", "name", typo),
        ("id_missing", "id_number", np.full(count, None, object)),
        ("id_swap", "id_number", swap),
        ("phone_missing", "phone", np.full(count, None, object)),
        ("phone_other", "phone", people.phones(random, count)),
    ]
    found = pd.DataFrame({"name": name, "id_number": id_number, "phone": phone}, dtype=object)
    if "born" in persons:
        found["born"] = persons.born.to_numpy(object)
    if "birth_slip" in shares:
        early = persons.born - pd.to_timedelta(random.integers(1, 28, count), unit="D")
        changes.append(("birth_slip", "born", early.to_numpy(object)))
    differences = pd.Series("", range(count), dtype=object)
    for kind, column, value in changes:
        if kind in hit:
            where = hit[kind] & found[column].notna().to_numpy() & (found[column].to_numpy(object) != value)
            found.loc[where, column] = value[where]
            differences[where] += "," + kind
    return found.assign(differences=differences.str[1:].to_numpy())


def registrations(random: np.random.Generator, persons: pd.DataFrame, houses: pd.DataFrame, first_day: np.datetime64, days: int) -> pd.DataFrame:
    """What public security has of the sampled persons, one row a registration.

    Columns: person_id (its own), person, house, name, id_number, phone, differences, moved_in_on, since (NaT: from the start), status_code,
    status_on.
    Who moves inside the sample is registered anew at his new home; half of the old registrations stay open.
    """
    sampled = persons[persons.is_sampled].reset_index(drop=True)
    count = len(sampled)
    found = pd.concat([sampled[["person", "house"]], written(random, sampled, profiles.DIFFERENCES_AT_PUBLIC_SECURITY)], axis=1)
    moved_in = first_day - random.integers(30, 9000, count).astype("timedelta64[D]")
    found["moved_in_on"] = np.maximum(moved_in, sampled.born.to_numpy().astype("datetime64[D]")).astype("datetime64[s]")
    found["since"] = np.full(count, np.datetime64("NaT"), "datetime64[s]")
    dead, gone = sampled.died_on.notna().to_numpy(), sampled.moved_on.notna().to_numpy()
    found["status_code"] = np.select([dead, gone], ["deceased", "moved_out"], "living")
    found["status_on"] = sampled.died_on.where(dead, sampled.moved_on)
    moves = ~dead & ~gone & (random.random(count) < profiles.MOVES_PER_YEAR * days / 365)
    day = (first_day + random.integers(1, max(days - 1, 2), count).astype("timedelta64[D]")).astype("datetime64[s]")
    anew = found[moves].copy()
    homes = np.flatnonzero(houses.is_sampled.to_numpy())
    anew["house"] = homes[random.integers(len(homes), size=len(anew))]
    anew["moved_in_on"], anew["since"] = day[moves], day[moves]
    other_phone = (random.random(len(anew)) < 0.3) & ~anew.differences.str.contains("phone_other").to_numpy()
    anew["phone"] = np.where(other_phone, people.phones(random, len(anew)), anew.phone)
    anew["differences"] = (anew.differences + ",moved" + np.where(other_phone, ",phone_other", "")).str.lstrip(",")
    closed = moves & (random.random(count) < 0.5)
    found.loc[closed, "status_code"] = "moved_out"
    found.loc[closed, "status_on"] = day[closed]
    found = pd.concat([found, anew] if len(anew) else [found], ignore_index=True)
    found.insert(0, "person_id", "RK" + np.char.zfill((np.arange(len(found)) + 1).astype(str), 9).astype(object))
    return found


def person_truth(persons: pd.DataFrame, registered: pd.DataFrame, key_persons: pd.DataFrame, members: pd.DataFrame) -> pa.Table:
    """For each record of a person at a sender which person it is; members whom no other sender knows are persons of their own numbers."""
    of_member = np.arange(len(members)) + len(persons)
    known = persons[persons.member >= 0]
    of_member[known.member] = known.person
    parts = [
        _records("public_security", "person", "zj_public_security", registered.person_id, registered.person, registered.differences),
        _records("city_platform", "key_person", key_persons.sender_code, key_persons.key_person_id, key_persons.person, key_persons.differences),
        _records("city_platform", "team_member", members.sender_code, members.member_id, of_member, ""),
    ]
    return pa.Table.from_pandas(pd.concat(parts, ignore_index=True), PERSON_TRUTH, preserve_index=False).replace_schema_metadata(None)


def _records(
    source: str, feed: str, sender: pd.Series | str, local_id: pd.Series, person: pd.Series | NDArray[np.int64], differences: pd.Series | str
) -> pd.DataFrame:
    columns = {"source": source, "feed": feed, "sender_code": sender, "local_id": local_id, "person": person, "differences": differences}
    return pd.DataFrame(
        {name: value.to_numpy() if isinstance(value, pd.Series) else value for name, value in columns.items()}, index=range(len(local_id))
    )
