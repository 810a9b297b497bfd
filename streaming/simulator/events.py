"""What happens in the grids: who reports what, when and where, and what is injected to be found."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import people, profiles
from streaming.simulator.territory import Territory
from streaming.simulator.texts import Grammar, Rows, Texts, kept

NIL_REPORT, NEAR_DUPLICATE, INSTANT_CLOSE = "nil_report", "near_duplicate", "instant_close"
_PARTS_OF_DAY = ((0, 6, "凌晨"), (6, 9, "清晨"), (9, 12, "上午"), (12, 14, "中午"), (14, 17, "下午"), (17, 19, "傍晚"), (19, 24, "晚间"))
# A repeat comes within three days of the report that it repeats.
_REPEAT_SECONDS = (20 * 60, 70 * 3600)
_SHORTENED_SHARE = 0.15
_ROADS_OF_GRID = 3
_CONTACT_IN_TEXT_SHARE = 0.04
_ID_IN_TEXT_SHARE = 0.005
# A trap for whoever takes every “未发现” for a nil report.
_NO_HARM_SHARE = 0.005


@cache
def phrases() -> Mapping[str, Any]:
    """The words of the reports, as phrases.yml has them."""
    document: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("phrases.yml").read_text(encoding="utf-8"))
    return document


def happen(
    random: np.random.Generator,
    territory: Territory,
    members: pd.DataFrame,
    vocabularies: Vocabularies,
    first_day: np.datetime64,
    days: int,
    count: int,
) -> pd.DataFrame:
    """`count` events by sender and time of report.

    Columns: sender_code, event_id, grid (row of the territory), class_code, level_code, channel_code, occurred_at and reported_at (local,
    seconds), address, longitude, latitude, description, closing_note, reporter (row of members, -1 for others), reporter_name,
    reporter_phone, limit_hours, office, kind (what was injected, or empty) and original (event_id that a near duplicate repeats).
    """
    repeats = round(count * profiles.NEAR_DUPLICATE_SHARE)
    events = _first_reports(random, territory, members, vocabularies, first_day, days, count - repeats)
    events = pd.concat([events, _repeats(random, events, territory, repeats, first_day, days)], ignore_index=True)
    events = events.sort_values(["sender_code", "reported_at"], kind="stable")
    day = np.char.replace(events.reported_at.to_numpy().astype("datetime64[D]").astype(str), "-", "").astype(object)
    events["event_id"] = "SJ" + day + np.char.zfill((events.groupby("sender_code").cumcount().to_numpy() + 1).astype(str), 6).astype(object)
    # Still labelled by position before the sort, which is what `repeated` points at.
    events["original"] = events.repeated.map(events.event_id)
    return events.drop(columns="repeated").reset_index(drop=True)


def day_weights(vocabularies: Vocabularies, first_day: np.datetime64, days: int) -> NDArray[np.float64]:
    """How many reports a day brings, relative to others: weekday and public holidays."""
    dates = first_day + np.arange(days).astype("timedelta64[D]")
    weekday = (dates.astype(int) + 3) % 7
    calendar = vocabularies.work_calendar.to_pandas()
    kinds = pd.Series(calendar.day_type.to_numpy(), index=pd.to_datetime(calendar.date)).reindex(pd.to_datetime(dates)).to_numpy()
    weights = np.array(profiles.WEEKDAYS)[weekday]
    weights = np.where(kinds == "holiday", profiles.WEEKDAYS[6] * profiles.HOLIDAY_FACTOR, weights)
    return np.asarray(np.where(kinds == "makeup_workday", profiles.WEEKDAYS[0], weights), dtype=np.float64)


def _first_reports(
    random: np.random.Generator,
    territory: Territory,
    members: pd.DataFrame,
    vocabularies: Vocabularies,
    first_day: np.datetime64,
    days: int,
    count: int,
) -> pd.DataFrame:
    grids = territory.grids
    weight = grids.resident_count.to_numpy() * random.lognormal(0, 0.4, len(grids))
    events = pd.DataFrame({"grid": random.choice(len(grids), size=count, p=weight / weight.sum())})
    events["sender_code"] = grids.sender_code.to_numpy()[events.grid]
    classes = _active_classes(vocabularies)
    events["class_code"] = classes.code.to_numpy()[random.choice(len(classes), size=count, p=classes.share.to_numpy())]
    events["limit_hours"] = events.class_code.map(classes.set_index("code").limit_hours).astype(int)
    events["office"] = events.class_code.map(classes.set_index("code").responsible_role)
    events["level_code"] = _drawn(random, profiles.LEVEL_SHARE, count)
    events["channel_code"] = _drawn(random, profiles.CHANNEL_SHARE, count)
    events["kind"] = _injected(random, events, count)
    day = _days(random, events, day_weights(vocabularies, first_day, days), first_day, days)
    hour = _hours(random, (events.channel_code == "grid").to_numpy())
    seconds = (day * 24 + hour) * 3600 + random.integers(0, 3600, count)
    events["reported_at"] = first_day.astype("datetime64[s]") + seconds.astype("timedelta64[s]")
    delay = np.minimum(random.lognormal(np.log(15 * 60), 1.1, count), 20 * 3600).astype(int)
    events["occurred_at"] = events.reported_at - pd.to_timedelta(np.where(events.channel_code == "grid", delay // 3, delay), unit="s")
    _say_who(random, events, members)
    _say_where(random, events, territory)
    _say_what(random, events, territory)
    return events.assign(repeated=-1)


def _active_classes(vocabularies: Vocabularies) -> pd.DataFrame:
    """Second-level classes in force, each with its share of all events."""
    classes = vocabularies["event_class"].rows.to_pandas()
    classes = classes[classes.parent_code.notna() & classes.valid_to.isna()].reset_index(drop=True)
    # assumed: within a class, the kinds listed first are commoner.
    share = 1 / (classes.groupby("parent_code").cumcount() + 2.0)
    share = share / share.groupby(classes.parent_code).transform("sum") * classes.parent_code.map(profiles.CLASS_SHARE)
    active: pd.DataFrame = classes.assign(share=share / share.sum(), limit_hours=classes.limit_hours.astype(int))
    return active


def _drawn(random: np.random.Generator, shares: Mapping[str, float], count: int) -> Texts:
    return np.array(list(shares), object)[random.choice(len(shares), size=count, p=np.array(list(shares.values())) / sum(shares.values()))]


def _injected(random: np.random.Generator, events: pd.DataFrame, count: int) -> Texts:
    """Which reports of grid members are made nil reports or instant closes; the shares are of all events, repeats included."""
    kinds = np.full(count, "", object)
    candidates = random.permutation(np.flatnonzero(events.channel_code == "grid"))
    every = round(count / (1 - profiles.NEAR_DUPLICATE_SHARE))
    nil, instant = round(every * profiles.NIL_REPORT_SHARE), round(every * profiles.INSTANT_CLOSE_SHARE)
    kinds[candidates[:nil]] = NIL_REPORT
    kinds[candidates[nil : nil + instant]] = INSTANT_CLOSE
    return kinds


def _rows_by(keys: pd.Series) -> list[tuple[str, Rows]]:
    """The rows of each key, keys in order."""
    return [(str(key), np.asarray(rows, np.intp)) for key, rows in keys.groupby(keys, sort=True).indices.items()]


def _days(random: np.random.Generator, events: pd.DataFrame, weights: NDArray[np.float64], first_day: np.datetime64, days: int) -> NDArray[np.int64]:
    months = (first_day + np.arange(days).astype("timedelta64[D]")).astype("datetime64[M]").astype(int) % 12 + 1
    drawn = np.zeros(len(events), np.int64)
    for code, rows in _rows_by(events.class_code):
        season = profiles.SEASONS.get(code, {})
        of_class = weights * np.array([season.get(int(month), 1.0) for month in months])
        drawn[rows] = random.choice(days, size=len(rows), p=of_class / of_class.sum())
    return drawn


def _hours(random: np.random.Generator, on_patrol: NDArray[np.bool_]) -> NDArray[np.int64]:
    everybody = np.array(profiles.HOURS)
    patrol = np.where(np.isin(np.arange(24), profiles.PATROL_HOURS), everybody, 0)
    drawn = np.zeros(len(on_patrol), np.int64)
    for group, weights in ((on_patrol, patrol), (~on_patrol, everybody)):
        drawn[group] = random.choice(24, size=int(group.sum()), p=weights / weights.sum())
    return drawn


def _say_who(random: np.random.Generator, events: pd.DataFrame, members: pd.DataFrame) -> None:
    """A serving member of the grid, or somebody who calls, posts or writes; cameras and offices have no name."""
    upto = np.concatenate([[0.0], np.cumsum(members.reporting_weight.to_numpy())])
    edges = np.searchsorted(members.grid.to_numpy(), np.arange(int(members.grid.max()) + 2))
    low, high = upto[edges[events.grid]], upto[edges[events.grid + 1]]
    picked = np.searchsorted(upto, low + random.random(len(events)) * (high - low), side="right") - 1
    by_member = (events.channel_code == "grid").to_numpy() & (high > low)
    events["reporter"] = np.where(by_member, picked, -1)
    by_citizen = events.channel_code.isin(["citizen", "hotline", "petition"]).to_numpy()
    name, phone = people.names(random, len(events)), people.phones(random, len(events))
    silent = random.random(len(events))
    name = kept(name, by_citizen & (silent < 0.85))
    phone = kept(phone, by_citizen & (silent < 0.75) & (events.channel_code != "petition").to_numpy())
    member = np.where(by_member, picked, 0)
    events["reporter_name"] = np.where(by_member, members.person_name.to_numpy()[member], name)
    events["reporter_phone"] = np.where(by_member, members.phone.to_numpy()[member], phone)


def _say_where(random: np.random.Generator, events: pd.DataFrame, territory: Territory) -> None:
    """A point inside the grid's cell, away from its edges, and an address; some reports have no point."""
    place = territory.grids.iloc[events.grid]
    unknown = random.random(len(events)) < profiles.NO_POSITION_SHARE
    for axis, low, high in (("longitude", "west", "east"), ("latitude", "south", "north")):
        share = random.uniform(0.05, 0.95, len(events))
        value = place[low].to_numpy() + (place[high] - place[low]).to_numpy() * share
        events[axis] = np.where(unknown, np.nan, np.round(value, 6))
    roads = np.array(phrases()["roads"], object)
    events["road"] = roads[(events.grid.to_numpy() * 7 + random.integers(_ROADS_OF_GRID, size=len(events)) * 11) % len(roads)]
    events["side_road"] = roads[(events.grid.to_numpy() * 7 + 5 + random.integers(_ROADS_OF_GRID, size=len(events)) * 13) % len(roads)]
    number = random.integers(1, 400, len(events)).astype(str).astype(object)
    house = random.integers(1, 60, len(events)).astype(str).astype(object)
    region = place.county.to_numpy() + place.town.to_numpy() + place.village.to_numpy()
    urban = region + events.road.to_numpy() + number + "号" + house + "幢"
    rural = region + house + "组" + number + "号"
    address = np.where(place.is_urban, urban, rural)
    events["address"] = kept(address, random.random(len(events)) >= 0.05)


def _say_what(random: np.random.Generator, events: pd.DataFrame, territory: Territory) -> None:
    words = phrases()
    grammar = Grammar(random, words["rules"], words["nil_reports"], {k: v for k, v in words["closings"].items() if ":" not in k})
    hour = events.reported_at.dt.hour.to_numpy()
    part_of_day = np.empty(len(events), object)
    for start, end, name in _PARTS_OF_DAY:
        part_of_day[(hour >= start) & (hour < end)] = name
    given: dict[str, Texts] = {
        "village": territory.grids.village.to_numpy()[events.grid],
        "road": events.road.to_numpy(),
        "side_road": events.side_road.to_numpy(),
        "office": events.office.to_numpy(),
        "part_of_day": part_of_day,
        **{symbol: np.full(len(events), "", object) for symbol in ("what", "detail", "ending", "done", "opening")},
    }
    for code, rows in _rows_by(events.class_code):
        given["what"][rows] = grammar.choose(words["happenings"][code]["what"], given, rows)
        given["detail"][rows] = grammar.choose(words["happenings"][code]["detail"], given, rows)
    harmless = np.flatnonzero(random.random(len(events)) < _NO_HARM_SHARE)
    given["what"][harmless] = given["what"][harmless] + grammar.write("no_harm", given, harmless)
    for code, rows in _rows_by(events.class_code.str[:2]):
        given["ending"][rows] = grammar.choose(words["endings"][code], given, rows)
        given["done"][rows] = grammar.choose(words["closings"][f"done:{code}"], given, rows)
    speaker = events.channel_code.map({"grid": "opening_grid", "citizen": "opening_citizen"}).fillna("opening_other")
    for symbol, rows in _rows_by(speaker):
        given["opening"][rows] = grammar.write(symbol, given, rows)
    text = grammar.write("sentence", given, len(events))
    nil = np.flatnonzero(events.kind == NIL_REPORT)
    text[nil] = grammar.write("nil", given, nil)
    note = grammar.write("closing", given, len(events))
    note[nil] = grammar.write("nil_closing", given, nil)
    note[np.flatnonzero(events.kind == INSTANT_CLOSE)] = None
    events["description"] = _with_contact(random, events, text)
    events["closing_note"] = note
    events.drop(columns=["road", "side_road"], inplace=True)


def _with_contact(random: np.random.Generator, events: pd.DataFrame, text: Texts) -> Texts:
    """Some who report write their own name and number, a few their ID number, into the text."""
    named = (events.reporter_name.notna() & events.reporter_phone.notna() & (events.reporter < 0)).to_numpy()
    drawn = random.random(len(events))
    with_contact = np.flatnonzero(named & (drawn < _CONTACT_IN_TEXT_SHARE))
    text[with_contact] = (
        text[with_contact] + "联系人" + events.reporter_name.to_numpy()[with_contact] + "，电话" + events.reporter_phone.to_numpy()[with_contact]
    )
    with_id = np.flatnonzero(named & (drawn > 1 - _ID_IN_TEXT_SHARE))
    text[with_id] = text[with_id] + "本人" + events.reporter_name.to_numpy()[with_id] + "，身份证号" + people.id_numbers(random, len(with_id))
    return text


def _without_a_clause(text: str) -> str:
    clauses = text.split("，")
    return "，".join(clauses[:-2] + clauses[-1:]) if len(clauses) > 3 else text


def _repeats(
    random: np.random.Generator, events: pd.DataFrame, territory: Territory, count: int, first_day: np.datetime64, days: int
) -> pd.DataFrame:
    """Reports that say again what the same person reported from the same place up to three days before, in slightly other words."""
    words = phrases()["repeats"]
    end = (first_day + np.timedelta64(days, "D")).astype("datetime64[s]") - np.timedelta64(_REPEAT_SECONDS[1], "s")
    candidates = np.flatnonzero((events.kind == "") & events.reporter_name.notna() & (events.reported_at < end))
    chosen = np.sort(random.choice(candidates, size=min(count, len(candidates)), replace=False))
    repeats = events.iloc[chosen].copy()
    repeats["kind"], repeats["repeated"] = NEAR_DUPLICATE, chosen
    later = pd.to_timedelta(random.integers(*_REPEAT_SECONDS, size=len(chosen)), unit="s")
    repeats["reported_at"], repeats["occurred_at"] = repeats.reported_at + later, repeats.occurred_at + later
    text = repeats.description.str.removesuffix("。")
    for old, new in words["edits"]:
        edited = random.random(len(chosen)) < 0.2
        text = text.where(~edited, text.str.replace(old, new, n=1, regex=False))
    shortened = random.random(len(chosen)) < _SHORTENED_SHARE
    text = text.where(~shortened, text.map(_without_a_clause))
    openings, endings = np.array(words["openings"], object), np.array(words["endings"], object)
    text = openings[random.integers(len(openings), size=len(chosen))] + text + endings[random.integers(len(endings), size=len(chosen))] + "。"
    # An unchanged text would be a copy, not a repeat in other words.
    repeats["description"] = text.where(text != repeats.description, "再报：" + text)
    place = territory.grids.iloc[repeats.grid]
    for axis, low, high in (("longitude", "west", "east"), ("latitude", "south", "north")):
        moved = repeats[axis].to_numpy() + random.normal(0, 0.00008, len(chosen))
        repeats[axis] = np.round(np.clip(moved, place[low].to_numpy(), place[high].to_numpy()), 6)
    return repeats
