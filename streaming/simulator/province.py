"""Puts the simulated province together: regions, grids, teams, events, steps, dirt, files, and the truth about what was injected."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gridlake import vocabularies as vocabulary_files
from gridlake.progress import ProgressLog
from gridlake.runs import RunError
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies
from streaming.simulator import dirt, disputes, feeds, interface_calls, people, publications, residents, reviews, teams
from streaming.simulator.events import happen
from streaming.simulator.handling import handle
from streaming.simulator.parcels import Feed, replace, write
from streaming.simulator.territory import check_cities, lay_out
from streaming.simulator.truth import KINDS, Truth

TRUTH = "_truth"
MODEL = "invalid_event"
_LEDGER = "simulation.json"
Stream: TypeAlias = Callable[[str], np.random.Generator]
_DIRT_COLUMNS = {
    "feed": pa.string(),
    "sender_code": pa.string(),
    "file_name": pa.string(),
    "row_number": pa.int64(),
    "kind": pa.string(),
    "expected_state": pa.string(),
    "rule": pa.string(),
    "field": pa.string(),
}


class InboxTaken(RunError):
    """The inbox holds something else than the simulation asked for."""


@dataclass(frozen=True)
class Parameters:
    """What a simulation is determined by: equal parameters give equal bytes."""

    days: int = 400
    events: int = 200_000
    seed: int = 42
    until: date = date(2026, 10, 31)
    cities: tuple[str, ...] = ("330100000000", "330400000000")
    villages: int | None = None
    resident_share: float = 0.001

    @property
    def document(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self) | {"until": self.until.isoformat(), "cities": list(self.cities)}

    @staticmethod
    def read(document: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of `simulate` that a document names."""
        return {**document, "until": date.fromisoformat(document["until"])}


def simulate(
    inbox: Path,
    *,
    days: int = Parameters.days,
    events: int = Parameters.events,
    seed: int = Parameters.seed,
    until: date = Parameters.until,
    cities: Sequence[str] = Parameters.cities,
    villages: int | None = None,
    resident_share: float = Parameters.resident_share,
    progress: ProgressLog | None = None,
) -> dict[str, Any]:
    """Fill the inbox with the files of `days` days up to and with `until`, and `_truth/` with what is known about them.

    `villages` limits each city to so many; `resident_share` of all households and enterprises are sent.
    Gives what `_truth/simulation.json` says, with `unchanged` true where the inbox held just this already.
    Raises InboxTaken where it holds files of other origin or parameters, UnknownCity where a city is none of the vocabulary.
    """
    parameters = Parameters(days, events, seed, until, tuple(cities), villages, resident_share)
    before = ledger(inbox)
    if before and before["parameters"] != parameters.document:
        raise InboxTaken(
            f"{inbox}: expected an empty folder or one simulated with {parameters.document}; it was simulated with {before['parameters']}. "
            "Name another folder with --inbox, or remove this one"
        )
    if before and before["complete"]:
        return before | {"unchanged": True}
    if not before and inbox.is_dir() and any(p for p in inbox.iterdir() if not p.name.startswith(".")):
        raise InboxTaken(
            f"{inbox}: holds files that no simulation wrote. Land them with `gridlake run --input {inbox}`, or name another folder with --inbox"
        )
    vocabularies = vocabulary_files.load_all(Settings())
    check_cities(vocabularies, parameters.cities)
    # Said before the first file, so that a simulation that was cut off is taken up again, over the same files.
    _write_ledger(inbox, {"parameters": parameters.document, "complete": False})
    made = _simulate(inbox, parameters, vocabularies, progress or ProgressLog(quiet=True))
    document = {"parameters": parameters.document, "complete": True, **made}
    _write_ledger(inbox, document)
    return document | {"unchanged": False}


def ledger(inbox: Path) -> dict[str, Any] | None:
    """What `_truth/simulation.json` says; None where there is none."""
    path = inbox / TRUTH / _LEDGER
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def _write_ledger(inbox: Path, document: dict[str, Any]) -> None:
    replace(inbox / TRUTH / _LEDGER, json.dumps(document, ensure_ascii=False, indent=1).encode())


def _simulate(inbox: Path, parameters: Parameters, vocabularies: Vocabularies, progress: ProgressLog) -> dict[str, Any]:
    def random(name: str) -> np.random.Generator:
        # A stream for each part: what one part draws does not move the others.
        return np.random.default_rng([parameters.seed, zlib.crc32(name.encode())])

    first_day = np.datetime64(parameters.until) - np.timedelta64(parameters.days - 1, "D")
    end = (np.datetime64(parameters.until) + np.timedelta64(1, "D")).astype("datetime64[s]")
    planted, truth = people.Planted(), Truth()
    progress.say("simulating grids and teams")
    territory = lay_out(random("territory"), vocabularies, parameters.cities, parameters.villages)
    members = teams.gather(random("teams"), territory, first_day, parameters.days)
    planted.into_members(random("planted members"), members)
    settled = residents.settle(random("residents"), territory, members, first_day, parameters.days, parameters.resident_share)
    progress.say("simulating events and their handling")
    events = happen(random("events"), territory, members, vocabularies, first_day, parameters.days, parameters.events)
    planted.into_events(random("planted events"), events)
    steps = handle(random("steps"), events, territory, end)
    deleted = feeds.deletions(random("deletions"), events, steps, end)
    _note_invalid_events(truth, events, deleted)
    _add_ends(events, steps, deleted)
    ground = feeds.Ground(territory, members, events, steps, deleted, first_day, parameters.days, settled)
    rows: dict[str, int] = {}
    files: dict[str, int] = {}
    spoiled: list[pd.DataFrame] = []
    with progress.task("writing files") as task:
        # One feed at a time: all of them at once would hold every row twice.
        for feed in _feeds(random, ground, vocabularies, parameters.cities, planted, truth):
            files |= write(feed, inbox, task.advance)
            spoiled.append(_dirt_of(feed))
            rows[feed.name] = rows.get(feed.name, 0) + len(feed.rows)
            del feed
    findings = truth.table
    dirt_truth = pa.Table.from_pandas(pd.concat(spoiled), pa.schema(_DIRT_COLUMNS), preserve_index=False).replace_schema_metadata(None)
    pq.write_table(findings, inbox / TRUTH / "finding_truth.parquet")
    pq.write_table(dirt_truth, inbox / TRUTH / "dirt_truth.parquet")
    for name, table in truth.kept.items():
        pq.write_table(table, inbox / TRUTH / f"{name}.parquet")
    replace(inbox / TRUTH / "planted.json", json.dumps(planted.values, ensure_ascii=False, indent=1).encode())
    return {
        "rows": rows,
        "events": len(events),
        "deleted_events": len(deleted),
        "findings": _counted(findings.column("kind")),
        "dirt": _counted(dirt_truth.column("kind")),
        "expected": {state: n for state, n in _counted(dirt_truth.column("expected_state")).items() if state != dirt.ACCEPTED},
        "files": len(files),
        "bytes": sum((inbox / path).stat().st_size for path in files),
    }


def _feeds(
    random: Stream, ground: feeds.Ground, vocabularies: Vocabularies, cities: Sequence[str], planted: people.Planted, truth: Truth
) -> Iterator[Feed]:
    yield feeds.region(random("region"), vocabularies, ground.first_day)
    yield feeds.grid(random("grid"), ground, cities)
    yield feeds.team_member(random("team_member"), ground, cities, planted)
    yield feeds.event(random("event"), ground, planted)
    yield from feeds.event_step(random("event_step"), ground, cities)
    yield from disputes.feeds(random("disputes"), ground, vocabularies, cities)
    yield interface_calls.feed(random("interface_call"), ground, vocabularies, truth)
    yield from publications.feeds(random("publications"), vocabularies, ground.first_day, ground.days)
    yield from reviews.feeds(random("reviews"), ground, cities, planted, truth)


def _add_ends(events: pd.DataFrame, steps: pd.DataFrame, deleted: pd.DataFrame) -> None:
    """How far each event got by the end: state_code, closed_at (NaT while open) and is_deleted."""
    last = steps.groupby("event").last()
    events["state_code"] = last.to_state.reindex(events.index)
    events["closed_at"] = last.happened_at.where(last.to_state == "closed").reindex(events.index)
    events["is_deleted"] = events.index.isin(deleted.event)


def _note_invalid_events(truth: Truth, events: pd.DataFrame, deleted: pd.DataFrame) -> None:
    """The events that something was injected into; a near duplicate's other half is the report that it repeats."""
    found = events[events.kind.isin(KINDS[MODEL]) & ~events.index.isin(deleted.event)]
    truth.add(MODEL, found.kind, found.sender_code, found.event_id, found.original)


def _dirt_of(feed: Feed) -> pd.DataFrame:
    """The feed's rows that are not just good ones, in the columns of dirt_truth.parquet."""
    names = {"_sender": "sender_code", "_file": "file_name", "row_number": "row_number", "_kind": "kind", "_state": "expected_state"}
    names |= {"_rule": "rule", "_field": "field"}
    rows = feed.rows.loc[feed.rows["_kind"].notna(), list(names)]
    return rows.rename(columns=names).assign(feed=feed.name)[list(_DIRT_COLUMNS)]


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {str(kind): int(count) for kind, count in pd.Series(values.to_pylist()).value_counts().sort_index().items()}
