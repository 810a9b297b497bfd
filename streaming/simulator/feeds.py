"""The five feeds of the province: which row is sent when, in which file, and in which format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

from gridlake.vocabularies import Vocabularies
from streaming.simulator import dirt, profiles
from streaming.simulator.parcels import LINE, PLACE, Feed, arranged, json_lines
from streaming.simulator.people import Planted, in_words
from streaming.simulator.residents import Residents
from streaming.simulator.territory import Territory, region_table
from streaming.simulator.texts import kept

PROVINCE = "330000000000"
# The vocabulary has the statistical codes of this day.
_REGIONS_SINCE = np.datetime64("2023-12-31")
_NIGHTLY = np.timedelta64(2 * 3600, "s")
# Share of an event feed's rows for each way to spoil one, for copies and for late rows. assumed: half a percent of rows refused in all.
_EACH_KIND_SHARE, _REPEATED_SHARE, _LATE_SHARE = 0.0003, 0.002, 0.002
_TRUNCATED_FILES = 4
_REDRAWN_SHARE = 0.01
_PLANTED_REFUSED_EVENTS, _PLANTED_REFUSED_MEMBERS = 10, 8

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
_EVENT_COLUMNS = (
    "event_id", "class_code", "level_code", "description", "region_code", "grid_id", "address", "longitude", "latitude", "occurred_at",
    "reported_at", "deadline_at", "closed_at", "state_code", "channel_code", "organisation_name", "closing_note", "reporter_member_id",
    "reporter_name", "reporter_phone", "source_version", "changed_at",
)  # fmt: skip
_STEP = pa.schema(
    [
        ("step_id", pa.string()),
        ("event_id", pa.string()),
        ("step_no", pa.int64()),
        ("action_code", pa.string()),
        ("from_state", pa.string()),
        ("to_state", pa.string()),
        ("actor_organisation", pa.string()),
        ("happened_at", pa.timestamp("us")),
        ("deadline_at", pa.timestamp("us")),
        ("evidence_digest", pa.string()),
        ("source_version", pa.int64()),
        ("changed_at", pa.timestamp("us")),
        ("_op", pa.string()),
    ]
)


@dataclass(frozen=True)
class Ground:
    """What happened, before anybody reports it to the province.

    For feeds that hang on events: `events` is one light frame of all of them, by sender and time of report, index 0, 1, 2 …, and its columns are
    all there is to rely on: event_id, sender_code, grid (row of territory.grids), class_code, level_code, channel_code, office, limit_hours,
    reporter (row of members, -1 for others), reported_at and closed_at (local, seconds; NaT while open), state_code, kind (what was injected, or
    empty), is_deleted. Texts, positions and steps exist only while the chunk of days is simulated that they belong to. Strings may be
    categories: compare and map them, and take `.to_numpy(object)` before adding them up.
    """

    territory: Territory
    members: pd.DataFrame
    events: pd.DataFrame
    steps: pd.DataFrame
    deleted: pd.DataFrame
    first_day: np.datetime64
    days: int
    residents: Residents

    @property
    def key_persons(self) -> pd.DataFrame:
        """Everybody on a list of key persons, in the columns that `residents.settle` names."""
        return self.residents.key_persons

    @property
    def key_places(self) -> pd.DataFrame:
        """Every place on a list of key places, in the columns that `residents.settle` names."""
        return self.residents.key_places

    @property
    def first_month(self) -> str:
        """The month of the first day, as file names have it."""
        return str(self.first_day.astype("datetime64[M]"))


def deletions(random: np.random.Generator, events: pd.DataFrame, steps: pd.DataFrame, end: np.datetime64) -> pd.DataFrame:
    """Which events their sender takes back after the last step: event (row), source_version and changed_at of the deletion."""
    last = steps.groupby("event").agg(step_no=("step_no", "last"), happened_at=("happened_at", "last"), state=("to_state", "last"))
    plain = last[last.state.isin(["closed", "rejected", "withdrawn"]) & (events.kind == "") & ~events.event_id.isin(events.original.dropna())]
    plain = plain[random.random(len(plain)) < profiles.DELETED_SHARE]
    changed_at = plain.happened_at.to_numpy() + random.integers(3600, 20 * 86400, len(plain)).astype("timedelta64[s]")
    found = pd.DataFrame({"event": plain.index.to_numpy(), "source_version": plain.step_no.to_numpy() + 1, "changed_at": changed_at})
    return found[found.changed_at < end].reset_index(drop=True)


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


def event(random: np.random.Generator, ground: Ground, planted: Planted) -> Feed:
    """Each week a JSONL file a city: the state that each event had reached at the week's end, of some platforms every state in between."""
    rows = _versions(random, ground)
    lines = _lined(rows, _EVENT_COLUMNS)
    each = max(1, round(len(rows) * _EACH_KIND_SHARE))
    # Truth must stand in the lake as planted, and a copy must have its original before it: neither comes late.
    movable = (ground.events.kind.to_numpy()[rows.event] == "") & (random.random(len(rows)) < 0.5)
    rows = dirt.delayed(random, lines, pd.Series(movable), max(2, round(len(rows) * _LATE_SHARE)))
    good = rows[rows["_kind"].isna()]
    people = planted.draw(random, _PLANTED_REFUSED_EVENTS)
    values = [{"reporter_name": p.name, "reporter_phone": p.phone, "description": "群众反映楼道堆物，" + in_words(p)} for p in people]
    unknown_class = next(d for d in dirt.EVENT if d.field == "class_code" and d.rule == "code_list")
    parts = [
        rows,
        dirt.spoiled_lines(random, good, dirt.EVENT, each, "event_id"),
        dirt.planted_lines(random, good, unknown_class, values, "event_id"),
        dirt.truncated(random, good, _TRUNCATED_FILES, "event_id"),
        dirt.repeated(random, good, max(2, round(len(rows) * _REPEATED_SHARE))),
        _deleted_events(ground),
    ]
    return arranged("event", parts, pa.schema([]))


def event_step(random: np.random.Generator, ground: Ground, cities: Sequence[str]) -> Iterator[Feed]:
    """Each month's steps: Parquet, and apart from those JSONL from every second city; the steps of deleted events are deleted with them."""
    steps, events = ground.steps, ground.events
    rows = steps.assign(event_id=events.event_id.to_numpy()[steps.event], source_version=1, changed_at=steps.happened_at, _op="upsert")
    rows["step_id"] = rows.event_id + "-" + rows.step_no.astype(str)
    deleted = rows.merge(ground.deleted[["event", "changed_at"]], on="event", suffixes=("_before", ""))
    deleted = deleted.assign(
        source_version=2, _op="delete", event_id=None, step_no=None, happened_at=_no_dates(len(deleted)), deadline_at=_no_dates(len(deleted))
    )
    deleted[["action_code", "from_state", "to_state", "actor_organisation", "evidence_digest"]] = None
    each = max(1, round(len(rows) * _EACH_KIND_SHARE / 4))
    for suffix, senders in (("parquet", cities[0::2]), ("jsonl", cities[1::2])):
        parts = []
        for part in (rows, deleted):
            sender = events.sender_code.to_numpy()[part.event]
            sent = part[np.isin(sender, senders)].drop(columns="event")
            file = "event_step-" + _month(sent.changed_at) + "." + suffix
            parts.append(_placed(sent, sender[np.isin(sender, senders)], file, _seconds(sent.changed_at)))
        if not len(parts[0]):
            continue
        # A report step would break the rules about reports besides.
        later = (parts[0].step_no > 1).to_numpy()
        if suffix == "parquet":
            parts.append(dirt.spoiled_cells(random, parts[0][later], dirt.EVENT_STEP_TYPED, each, "step_id"))
        else:
            columns = [name for name in _STEP.names if name != "_op"]
            parts = [_lined(parts[0], columns), _lined(parts[1], ["step_id", "source_version", "changed_at", "_op"])]
            parts.append(dirt.spoiled_lines(random, parts[0][later], dirt.EVENT_STEP, each, "step_id"))
        yield arranged("event_step", [part for part in parts if len(part)], _STEP)


def _versions(random: np.random.Generator, ground: Ground) -> pd.DataFrame:
    """One row for each state of an event that is sent."""
    steps, events, grids = ground.steps, ground.events, ground.territory.grids
    week = _week_file(steps.happened_at)
    last_of_week = (steps.event != steps.event.shift(-1)) | (week != week.shift(-1))
    every_version = random.random(len(events)) < profiles.EVERY_VERSION_SHARE
    sent = steps[last_of_week | every_version[steps.event]]
    of = events.iloc[sent.event].reset_index(drop=True)
    sent = sent.reset_index(drop=True)
    closed = sent.to_state == "closed"
    place = grids.iloc[of.grid].reset_index(drop=True)
    member = kept(ground.members.member_id.to_numpy()[of.reporter.clip(lower=0)], (of.reporter >= 0).to_numpy())
    rows = of.assign(
        event=sent.event,
        region_code=place.region_code,
        grid_id=place.grid_id,
        deadline_at=of.reported_at + pd.to_timedelta(of.limit_hours, unit="h"),
        closed_at=sent.happened_at.where(closed),
        closing_note=of.closing_note.where(closed),
        state_code=sent.to_state,
        organisation_name=sent.actor_organisation,
        reporter_member_id=member,
        source_version=sent.step_no,
        changed_at=sent.happened_at,
    )
    return _placed(rows, rows.sender_code, _week_file(rows.changed_at), _seconds(rows.changed_at))


def _deleted_events(ground: Ground) -> pd.DataFrame:
    rows = ground.deleted.assign(event_id=ground.events.event_id.to_numpy()[ground.deleted.event], _op="delete")
    rows = _placed(rows, ground.events.sender_code.to_numpy()[rows.event], _week_file(rows.changed_at), _seconds(rows.changed_at))
    return _lined(rows, ["event_id", "_op", "source_version", "changed_at"])


def _placed(rows: pd.DataFrame, sender: Any, file: Any, order: Any) -> pd.DataFrame:
    return rows.assign(_sender=sender, _file=file, _order=order).astype({"_order": float})


def _lined(rows: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """The rows as JSON lines in their places."""
    return rows[PLACE].assign(**{LINE: json_lines(rows, columns)})


def _month(times: pd.Series) -> pd.Series:
    return pd.Series(np.datetime_as_string(times.to_numpy().astype("datetime64[M]")), times.index, object)


def _week_file(times: pd.Series) -> pd.Series:
    """Files by ISO week; their names sort by time."""
    calendar = times.dt.isocalendar()
    names: pd.Series = "event-" + calendar.year.astype(str) + "-w" + calendar.week.astype(str).str.zfill(2) + ".jsonl"
    return names


def _seconds(times: pd.Series) -> NDArray[np.int64]:
    return times.to_numpy().astype("datetime64[s]").astype(np.int64)


def _no_dates(count: int) -> NDArray[np.datetime64]:
    return np.full(count, np.datetime64("NaT"), "datetime64[s]")
