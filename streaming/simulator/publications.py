"""What the province publishes for everybody: the catalogue of items and the work calendar, each whole at the start and then what changes.

Both say again what the vocabularies `event_class` and `work_calendar` say, so that a code, a name, a limit and a holiday are written once.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa

from gridlake.vocabularies import Vocabularies
from streaming.simulator import dirt
from streaming.simulator.feeds import PROVINCE
from streaming.simulator.parcels import Feed, arranged

_SOURCE = "province_platform"
_NIGHTLY = np.timedelta64(2 * 3600, "s")
_CODE_DIGITS = 8
# assumed: a class handled within a day is a village's own, within a week a township's, the rest a county's.
_VILLAGE_HOURS, _TOWNSHIP_HOURS = 24, 168
# assumed: disputes and livelihood requests are handled in office hours, hazards and public order by the clock.
_WORKING_HOURS_CLASSES = ("01", "08")
_DISPUTES, _OTHER_DISPUTES = "01", "50"
# assumed: of a hundred items three are renamed in a year, which makes a new version of each.
_RENAMED_SHARE = 0.03
_BASIS = {"01": "中华人民共和国人民调解法", "09": "浙江省消防条例", "05": "中华人民共和国噪声污染防治法"}
# What counties may decide themselves: the She autonomous county has two days off for its festival in spring.
_JINGNING, _FESTIVAL = "331127000000", "三月三"

_ITEM = pa.schema(
    [
        ("item_code", pa.string()),
        ("item_version", pa.int64()),
        ("item_name", pa.string()),
        ("parent_code", pa.string()),
        ("class_code", pa.string()),
        ("dispute_type_code", pa.string()),
        ("region_level", pa.int64()),
        ("limit_hours", pa.int64()),
        ("limit_kind_code", pa.string()),
        ("responsible_role", pa.string()),
        ("legal_basis", pa.string()),
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_DAY = pa.schema(
    [
        ("calendar_date", pa.date32()),
        ("region_code", pa.string()),
        ("day_type", pa.string()),
        ("day_name", pa.string()),
        ("notice_no", pa.string()),
        ("announced_date", pa.date32()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
    ]
)
_BAD_ITEMS = (
    dirt.Dirt("wrong_type", "type", "limit_hours", {"limit_hours": "两天"}),
    dirt.Dirt("unknown_code", "code_list", "class_code", {"class_code": "8888"}),
    dirt.Dirt("missing_required", "required", "item_name", {"item_name": None}),
    dirt.Dirt("broken_rule", "limit_says_how_it_counts", None, {"limit_kind_code": None}),
)
_BAD_DAYS = (
    dirt.Dirt("wrong_type", "type", "calendar_date", {"calendar_date": "国庆当天"}),
    dirt.Dirt("unknown_code", "code_list", "day_type", {"day_type": "调休日"}),
    dirt.Dirt("unknown_code", "region_unknown", "region_code", {"region_code": "339900000000"}),
    dirt.Dirt("broken_rule", "named_when_moved", None, {"day_type": "holiday", "day_name": None}),
)


def feeds(random: np.random.Generator, vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> Iterator[Feed]:
    """The catalogue as XLSX and the calendar as CSV, from the province: all of it before the first day, changes in the month of each."""
    yield _item_catalogue(random, vocabularies, first_day, days)
    yield _work_calendar(random, vocabularies, first_day, days)


def item_code(class_code: pd.Series) -> pd.Series:
    """The item that a class of events is: PA and the class's digits, filled up with zeros."""
    return "PA" + class_code.str.ljust(_CODE_DIGITS, "0")


def _item_catalogue(random: np.random.Generator, vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> Feed:
    classes = vocabularies["event_class"].rows.to_pandas()
    hours = classes.limit_hours.astype(int)
    first = classes.code.str[:2]
    types = vocabularies["dispute_type"].rows.to_pandas()
    type_of_class = types.dropna(subset="event_class_code").set_index("event_class_code").code
    # A name that occurs twice in the list is a class with a second version; the catalogue numbers them.
    items = pd.DataFrame(
        {
            "item_code": item_code(classes.code),
            "item_version": classes.groupby("code").cumcount() + 1,
            "item_name": classes.name_zh,
            "parent_code": item_code(classes.parent_code),
            "class_code": classes.code,
            "dispute_type_code": classes.code.map(type_of_class),
            "region_level": np.select([hours <= _VILLAGE_HOURS, hours <= _TOWNSHIP_HOURS], [5, 4], 3),
            "limit_hours": hours,
            "limit_kind_code": np.where(first.isin(_WORKING_HOURS_CLASSES), "working", "calendar"),
            "responsible_role": classes.responsible_role,
            "legal_basis": first.map(_BASIS),
            "valid_from": pd.to_datetime(classes.valid_from),
            "valid_to": pd.to_datetime(classes.valid_to).astype("datetime64[s]"),
            "source_version": 1,
            "changed_at": first_day + _NIGHTLY,
        }
    )
    items = pd.concat([items, _items_of_disputes(types[types.event_class_code.isna()], items)], ignore_index=True)
    renamed_on = first_day + np.timedelta64(days // 2, "D")
    in_force = np.flatnonzero((items.valid_to.isna() & items.parent_code.notna()).to_numpy())
    chosen = np.sort(random.choice(in_force, size=max(1, round(len(in_force) * _RENAMED_SHARE * days / 365)), replace=False))
    ended = items.iloc[chosen].assign(valid_to=renamed_on.astype("datetime64[s]"), source_version=2, changed_at=renamed_on + _NIGHTLY)
    begun = items.iloc[chosen].assign(valid_from=renamed_on, changed_at=renamed_on + _NIGHTLY)
    begun = begun.assign(item_version=begun.item_version + 1, item_name=begun.item_name + "处置")
    changes = pd.concat([ended, begun], ignore_index=True)
    whole = _placed(items, f"item_catalogue-{_month(first_day)}-full.xlsx")
    parts = [whole, _placed(changes, f"item_catalogue-{_month(renamed_on)}.xlsx")]
    return arranged(
        "item_catalogue",
        [*parts, dirt.spoiled_cells(random, whole[whole.class_code.str.len().eq(4)], _BAD_ITEMS, 1, "item_code")],
        _ITEM,
        source=_SOURCE,
    )


def _items_of_disputes(types: pd.DataFrame, items: pd.DataFrame) -> pd.DataFrame:
    """Disputes of types that are no class of events: items below that of all disputes, with its limit."""
    whole = items[items.item_code == item_code(pd.Series([_DISPUTES]))[0]].iloc[0]
    of_type = items.iloc[np.full(len(types), whole.name)].reset_index(drop=True)
    number = pd.Series(np.arange(1, len(types) + 1)).astype(str).str.zfill(2)
    return of_type.assign(
        item_code="PA" + _DISPUTES + _OTHER_DISPUTES + number + "00",
        item_name=types.name_zh.to_numpy(object),
        parent_code=whole.item_code,
        class_code=None,
        dispute_type_code=types.code.to_numpy(object),
        region_level=4,
    )


def _work_calendar(random: np.random.Generator, vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> Feed:
    calendar = vocabularies.work_calendar.to_pandas()
    date = pd.to_datetime(calendar.date)
    moved = calendar.day_type.isin(["holiday", "makeup_workday"])
    whole = pd.DataFrame(
        {
            "calendar_date": date,
            "region_code": PROVINCE,
            "day_type": calendar.day_type,
            "day_name": calendar.name,
            "notice_no": ("国办发明电〔" + (date.dt.year - 1).astype(str) + "〕7 号").where(moved, None),
            # official: the State Council's notices come in November of the year before.
            "announced_date": pd.to_datetime((date.dt.year - 1).astype(str) + "-11-15"),
            "source_version": 1,
            "changed_at": first_day + _NIGHTLY,
        }
    )
    late = _late_announcements(whole, first_day, days)
    parts = [_placed(whole, f"work_calendar-{_month(first_day)}-full.csv")]
    parts += [_placed(rows, f"work_calendar-{month}-change.csv") for month, rows in late.groupby(late.changed_at.dt.strftime("%Y-%m"))]
    # The key of a day cannot be another one's, so the notice carries the mark of a bad row.
    return arranged("work_calendar", [*parts, dirt.spoiled_cells(random, parts[0], _BAD_DAYS, 1, "notice_no")], _DAY, source=_SOURCE)


def _late_announcements(whole: pd.DataFrame, first_day: np.datetime64, days: int) -> pd.DataFrame:
    """Two thirds into the days a working day is swapped for a Saturday, said three days before; and a county's own days off in spring."""
    known = whole[(whole.calendar_date >= first_day + np.timedelta64(days * 2 // 3, "D")) & (whole.source_version == 1)]
    free = known[(known.day_type == "workday") & (known.calendar_date.dt.weekday == 4)].head(1)
    worked = known[(known.day_type == "weekend") & (known.calendar_date.dt.weekday == 5)].head(1)
    swapped = pd.concat([free.assign(day_type="holiday", day_name="临时放假"), worked.assign(day_type="makeup_workday", day_name="临时补班")])
    swapped = swapped.assign(notice_no="浙政办发明电", source_version=2)
    spring = whole[(whole.calendar_date.dt.month == 4) & (whole.calendar_date.dt.day.between(18, 19)) & (whole.calendar_date > first_day)]
    county = spring.assign(region_code=_JINGNING, day_type="holiday", day_name=_FESTIVAL, notice_no=None, source_version=1)
    late = pd.concat([swapped, county], ignore_index=True)
    late["announced_date"] = late.calendar_date - pd.Timedelta(days=3)
    late["changed_at"] = late.announced_date + pd.Timedelta(hours=18)
    last = first_day + np.timedelta64(days - 1, "D")
    announced: pd.DataFrame = late[late.announced_date.between(pd.Timestamp(first_day), pd.Timestamp(last))].reset_index(drop=True)
    return announced


def _placed(rows: pd.DataFrame, file: str) -> pd.DataFrame:
    return rows.assign(_sender=PROVINCE, _file=file, _order=np.arange(len(rows), dtype=float))


def _month(day: np.datetime64) -> str:
    return str(day.astype("datetime64[M]"))
