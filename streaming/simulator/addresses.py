"""Standard addresses of the simulated cities: roads and compounds in towns, hamlets and groups in the country, each with its point."""

from __future__ import annotations

import numpy as np
import pandas as pd

from streaming.simulator.codes import address_codes
from streaming.simulator.events import phrases
from streaming.simulator.territory import Territory
from streaming.simulator.texts import Texts

PROVINCE_NAME = "浙江省"
_COMPOUND_FIRST = (
    "翠苑", "金都", "绿园", "锦绣", "阳光", "景芳", "采荷", "三里", "东方", "华景", "嘉苑", "江南", "湖滨", "桂语", "香樟", "云栖", "春江", "世纪",
    "文景", "南星", "碧水", "月雅", "清河", "梧桐", "望湖", "星海", "紫金", "和睦", "长乐", "万家", "丽景", "秋水", "北苑", "聚贤", "安宁", "枫华",
)  # fmt: skip
_COMPOUND_LAST = ("花园", "家园", "公寓", "小区", "新村", "苑", "名苑", "雅苑", "里", "府", "人家", "嘉园")
_HAMLET_FIRST = (
    "上", "下", "前", "后", "东", "西", "大", "小", "陈家", "王家", "徐家", "沈家", "朱家", "吴家", "塘", "石", "新", "老", "里", "外", "梅",
    "竹", "桑", "双",
)  # fmt: skip
_HAMLET_LAST = ("塘", "埠", "坞", "桥", "浜", "埭", "岙", "圩", "湾", "坂", "桥头", "村", "门", "湖", "岭", "坑")
_ROADS_OF_GRID, _COMPOUNDS_OF_GRID, _HAMLETS_OF_GRID = 3, 3, 2


def draw(random: np.random.Generator, territory: Territory, grid: np.ndarray, is_home: np.ndarray) -> pd.DataFrame:
    """A place for each row of `grid` (rows of the territory), a dwelling or one that faces the street; the same text twice is the same place.

    Columns: grid, region_code, road_name, road_number, compound_name, hamlet_name, building_number, unit_number, room_number (None where the place
    has none), address_text (province to room), longitude, latitude (GCJ-02, inside the grid's cell), address_code.
    """
    place = territory.grids.iloc[grid].reset_index(drop=True)
    count = len(grid)
    urban = place.is_urban.to_numpy()
    roads = np.array(phrases()["roads"], object)
    # The roads of a grid are those that its events name.
    road = roads[(grid * 7 + random.integers(_ROADS_OF_GRID, size=count) * 11) % len(roads)]
    compound = _named(_COMPOUND_FIRST, _COMPOUND_LAST, grid * 5 + random.integers(_COMPOUNDS_OF_GRID, size=count) * 17)
    hamlet = _named(_HAMLET_FIRST, _HAMLET_LAST, grid * 3 + random.integers(_HAMLETS_OF_GRID, size=count) * 19)
    in_compound, on_street = urban & is_home, urban | ~is_home
    drawn = {
        "road_name": (road, on_street),
        "road_number": (_number(random, 1, 399, count), np.ones(count, bool)),
        "compound_name": (compound, in_compound),
        "hamlet_name": (hamlet, ~on_street),
        "group_number": (_number(random, 1, 18, count), ~on_street),
        "building_number": (_number(random, 1, 46, count), in_compound),
        "unit_number": (_number(random, 1, 4, count), in_compound),
        "room_number": (_number(random, 1, 18, count) + "0" + _number(random, 1, 4, count), in_compound),
    }
    found = pd.DataFrame({name: pd.Series(values, dtype=object).where(where, None) for name, (values, where) in drawn.items()})
    # All of a compound stands behind one number of its road.
    numbered = np.where(in_compound, ((grid * 13 + pd.factorize(compound)[0] * 7) % 398 + 1).astype(str), found.road_number)
    found["road_number"] = pd.Series(numbered, dtype=object)
    region = PROVINCE_NAME + place.city + place.county + place.town + place.village
    street = found.road_name.fillna("") + found.road_number + "号"
    dwelling = found.compound_name.fillna("") + found.building_number.fillna("") + "幢" + found.unit_number.fillna("") + "单元"
    dwelling = dwelling + found.room_number.fillna("") + "室"
    country = found.hamlet_name.fillna("") + found.group_number.fillna("") + "组" + found.road_number + "号"
    text = region + np.select([in_compound, on_street], [street + dwelling, street], country)
    found = found.assign(grid=grid, region_code=place.region_code, address_text=text)
    for axis, low, high in (("longitude", "west", "east"), ("latitude", "south", "north")):
        share = random.uniform(0.05, 0.95, count)
        found[axis] = (place[low] + (place[high] - place[low]) * share).round(6)
    # Whoever draws a place that is there already stands at the same door.
    same = ["longitude", "latitude", "grid"]
    found[same] = found.groupby("address_text")[same].transform("first")
    return found


def listed(drawn: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
    """The different places with their standard address codes, and for each drawn row the place's row."""
    which, _ = pd.factorize(drawn.address_text)
    places = drawn.iloc[np.unique(which, return_index=True)[1]].reset_index(drop=True)
    return places.assign(address_code=address_codes(places.region_code)), which


def elsewhere(random: np.random.Generator, count: int) -> Texts:
    """Registered addresses of people who came from other provinces."""
    homes = np.array(
        [
            "安徽省阜阳市临泉县",
            "安徽省六安市霍邱县",
            "江西省上饶市玉山县",
            "河南省信阳市固始县",
            "贵州省毕节市织金县",
            "四川省达州市宣汉县",
            "云南省昭通市镇雄县",
            "湖北省黄冈市蕲春县",
        ],
        object,
    )
    village = _named(_HAMLET_FIRST, _HAMLET_LAST, random.integers(10**4, size=count))
    found: Texts = (
        homes[random.integers(len(homes), size=count)] + village + "村" + _number(random, 1, 12, count) + "组" + _number(random, 1, 90, count) + "号"
    )
    return found


def _named(first: tuple[str, ...], last: tuple[str, ...], which: np.ndarray) -> Texts:
    named: Texts = np.array(first, object)[which % len(first)] + np.array(last, object)[which // 2 % len(last)]
    return named


def _number(random: np.random.Generator, low: int, high: int, count: int) -> Texts:
    drawn: Texts = random.integers(low, high + 1, count).astype(str).astype(object)
    return drawn
