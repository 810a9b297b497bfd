"""Invented people: names, ID numbers, phones.

No number can belong to anybody: the division 3399 of the ID numbers and the prefixes of the phones were never issued. Checksums are right.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from streaming.simulator.texts import Texts

# The commonest surnames of the province, roughly by frequency.
_SURNAMES = tuple("陈王张李徐吴周沈朱金胡陆俞钱林叶何蒋方章顾杨姚郑许潘孙黄赵冯施邵余毛傅汪倪蔡夏应范楼裘戴卢洪郭褚童宋")
_GIVEN = tuple(
    "伟芳娜敏静丽强磊军洋勇艳杰娟涛明超秀霞平刚桂英华玉兰建国红梅文斌志鹏海燕晓峰云飞雪莲春林佳慧思远雨欣子涵浩宇梓萱嘉怡俊豪诗琪欣然一诺天宇若曦博文美玲水根阿金福财根法仁荣"
    "建民永康卫东利群国庆爱珍菊仙月琴银凤彩娣关富生炳土木火"
)
# Nobody in the ordinary draw has these, so a byte search for them finds only what was planted.
_RARE_SURNAMES = ("欧阳", "司徒", "上官", "慕容", "令狐", "皇甫", "尉迟", "澹台", "公冶", "宗政")
_RARE_GIVEN = tuple("霁珩昀翊璟旻曦芃骁翯珺旸")
_PLANTED_MEMBERS, _PLANTED_AT_MOST = 24, 80
_PHONE_PREFIXES = np.array(["154", "160", "161", "163", "164", "168"])
_ID_WEIGHTS = np.array([7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2])
_ID_CHECKS = np.array(list("10X98765432"))


def names(random: np.random.Generator, count: int) -> Texts:
    """Chinese names of two or three characters."""
    surnames = np.array(_SURNAMES, object)
    weights = 1 / np.arange(4, 4 + len(surnames))
    given = np.array(_GIVEN, object)
    second = np.where(random.random(count) < 0.78, given[random.integers(len(given), size=count)], "")
    first = given[random.integers(len(given), size=count)]
    full: Texts = surnames[random.choice(len(surnames), size=count, p=weights / weights.sum())] + first + second
    return full


def rare_names(count: int) -> list[str]:
    """So many different names of four characters that the ordinary draw never gives."""
    every = [s + a + b for a in _RARE_GIVEN for b in _RARE_GIVEN if a != b for s in _RARE_SURNAMES]
    return every[:: len(every) // count][:count]


def phones(random: np.random.Generator, count: int) -> Texts:
    """Mobile numbers of eleven digits under prefixes that were never issued."""
    if not count:
        return np.empty(0, object)
    prefix = _PHONE_PREFIXES[random.integers(len(_PHONE_PREFIXES), size=count)]
    return np.char.add(prefix, np.char.zfill(random.integers(10**8, size=count).astype(str), 8)).astype(object)


def id_numbers(random: np.random.Generator, count: int, *, oldest: int = 1962, youngest: int = 2003) -> Texts:
    """Different ID numbers of eighteen digits with right checksums, for births in the years from `oldest` to `youngest`."""
    if not count:
        return np.empty(0, object)
    first, last = np.datetime64(f"{oldest}-01-01"), np.datetime64(f"{youngest}-12-31")
    span = int((last - first).astype(int)) + 1
    # A draw without repeats from division × birthday × sequence, so that no two people share a number.
    drawn = random.choice(20 * span * 999, size=count, replace=False, shuffle=True)
    division = 339901 + drawn // (span * 999)
    born = np.char.replace((first + (drawn // 999 % span).astype("timedelta64[D]")).astype(str), "-", "")
    sequence = np.char.zfill((drawn % 999 + 1).astype(str), 3)
    body = np.char.add(np.char.add(division.astype(str), born), sequence)
    digits = body.astype("U17").view("U1").reshape(count, 17).astype(int)
    return np.char.add(body, _ID_CHECKS[digits @ _ID_WEIGHTS % 11]).astype(object)


def id_numbers_of(random: np.random.Generator, born: NDArray[np.datetime64], is_male: NDArray[np.bool_], *, group: int = 0) -> Texts:
    """Different ID numbers with right checksums for these birthdays and sexes; each group (0 to 2) has divisions that no other number has."""
    if not len(born):
        return np.empty(0, object)
    same = pd.DataFrame({"born": born, "is_male": is_male}).groupby(["born", "is_male"])
    # Who shares a birthday counts on from where the first one began, so nobody shares a number.
    drawn = (pd.Series(random.integers(20 * 499, size=len(born))).groupby(same.ngroup().to_numpy()).transform("first") + same.cumcount()) % (20 * 499)
    sequence = drawn.to_numpy() % 499 * 2 + np.where(is_male, 1, 2)
    division = 339921 + 20 * group + drawn.to_numpy() // 499
    days = np.char.replace(born.astype("datetime64[D]").astype(str), "-", "")
    body = np.char.add(np.char.add(division.astype(str), days), np.char.zfill(sequence.astype(str), 3))
    digits = body.astype("U17").view("U1").reshape(len(born), 17).astype(int)
    return np.char.add(body, _ID_CHECKS[digits @ _ID_WEIGHTS % 11]).astype(object)


@dataclass(frozen=True)
class Person:
    """Somebody whose values are looked for after a run: none may be found."""

    name: str
    phone: str
    id_number: str


@dataclass
class Planted:
    """The values of class L4 that were put where a byte search can tell whether one leaked; all of them rare enough to mean a leak."""

    values: dict[str, list[str]] = field(default_factory=lambda: {"id_number": [], "phone": [], "name": []})
    _names: list[str] = field(default_factory=lambda: rare_names(_PLANTED_AT_MOST))

    def draw(self, random: np.random.Generator, count: int) -> list[Person]:
        """So many people that nobody else is called like, entered as planted."""
        drawn = [
            Person(self._names.pop(0), str(phone), str(id_number))
            for phone, id_number in zip(phones(random, count), id_numbers(random, count, oldest=1950, youngest=1961), strict=True)
        ]
        self.values["name"] += [p.name for p in drawn]
        self.values["phone"] += [p.phone for p in drawn]
        self.values["id_number"] += [p.id_number for p in drawn]
        return drawn

    def into_members(self, random: np.random.Generator, members: pd.DataFrame) -> None:
        """Some serving members get planted names, phones and ID numbers."""
        rows = _some(random, members.index[members.phone.notna() & members.id_number.notna() & members.left_date.isna()], _PLANTED_MEMBERS)
        drawn = self.draw(random, len(rows))
        for column, values in (
            ("person_name", [p.name for p in drawn]),
            ("phone", [p.phone for p in drawn]),
            ("id_number", [p.id_number for p in drawn]),
        ):
            members.loc[rows, column] = values


def in_words(person: Person) -> str:
    """How a person's values stand in a report's text."""
    return f"联系人{person.name}，电话{person.phone}，身份证号{person.id_number}。"


def _some(random: np.random.Generator, rows: pd.Index, count: int) -> pd.Index:
    return rows[np.sort(random.choice(len(rows), size=min(count, len(rows)), replace=False))]
