"""Puts the simulated province together: regions, grids, teams, events, steps, dirt, files, and the truth about what was injected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gridlake import vocabularies as vocabulary_files
from gridlake.progress import ProgressLog
from gridlake.runs import RunError
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies
from streaming.simulator import beside_events, chunks, dirt, people, profiles, teams
from streaming.simulator.beside_events import Sent
from streaming.simulator.event_feeds import Format
from streaming.simulator.parcels import replace
from streaming.simulator.plan import Plan, set_scene, stream
from streaming.simulator.plan import plan as draw_plan
from streaming.simulator.territory import Territory, check_cities, every_city, lay_out
from streaming.simulator.truth import KINDS, Truth

TRUTH = "_truth"
MODEL, WRONG_EVENT = "invalid_event", "wrong_event"
_LEDGER = "simulation.json"
_PLANTED_EVENTS = 10
ALL_CITIES = "all"


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
    format: Format = "jsonl"
    spine: bool = False
    scale: float | None = None

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
    format: Format = Parameters.format,
    spine: bool = Parameters.spine,
    scale: float | None = None,
    progress: ProgressLog | None = None,
) -> dict[str, Any]:
    """Fill the inbox with the files of `days` days up to and with `until`, and `_truth/` with what is known about them.

    `villages` limits each city to so many; `resident_share` of all households and enterprises are sent. Events come as `format`; with `spine`
    regions, grids, teams, events and their steps are all that is sent, for size.
    `scale` takes the place of `events`: so many times as many as the cities' residents report. `cities` may be "all".
    Gives what `_truth/simulation.json` says, with `unchanged` true where the inbox held just this already.
    Raises InboxTaken where it holds files of other origin or parameters, UnknownCity where a city is none of the vocabulary.
    """
    vocabularies = vocabulary_files.load_all(Settings())
    named = every_city(vocabularies) if list(cities) == [ALL_CITIES] else cities
    parameters = Parameters(days, events, seed, until, tuple(named), villages, resident_share, format, spine, scale)
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
        return stream(parameters.seed, name)

    first_day = np.datetime64(parameters.until) - np.timedelta64(parameters.days - 1, "D")
    planted, sent = people.Planted(), Sent()
    progress.say("simulating grids and teams")
    territory = lay_out(random("territory"), vocabularies, parameters.cities, parameters.villages)
    members = teams.gather(random("teams"), territory, first_day, parameters.days)
    planted.into_members(random("planted members"), members)
    progress.say("simulating events and their handling")
    scene = set_scene(parameters.seed, territory, members, vocabularies, first_day, parameters.days)
    plan = draw_plan(scene, parameters.events if parameters.scale is None else _reported_by(territory, parameters.days, parameters.scale))
    with chunks.workshop(inbox, scene, plan) as shop:
        with progress.task("making events", total=len(plan.bounds) - 1) as task:
            made = []
            for chunk in shop.do(chunks.make_chunk, _chunk_jobs(shop.folder, plan, planted, random("planted events"), parameters.format)):
                made.append(chunk)
                task.advance()
        half = beside_events.ResidentsJob(shop.folder, inbox, tuple(made), parameters.cities, parameters.resident_share)
        # The longest job first; what is given to the processes is done while this one goes on.
        other_half = shop.do(beside_events.send_residents, [] if parameters.spine else [half])
        jobs = chunks.file_jobs(random("broken files"), inbox, made)
        event_files = shop.do(chunks.write_file, jobs)
        if parameters.spine:
            # For millions of events: their processes are gone before this one holds all events.
            event_files = iter([*event_files])
            shop.dismiss()
        events = chunks.event_frame(scene, plan, made)
        _note_injected(sent.truth, events)
        ground = beside_events.ground_of(scene, plan, made, events, parameters.resident_share)
        with progress.task("writing files") as task:
            given = (parameters.seed, ground, vocabularies, parameters.cities, planted)
            sent.write(beside_events.of_lists(*given), inbox, task.advance)
            if not parameters.spine:
                sent.write(beside_events.of_events(*given, sent.truth), inbox, task.advance)
        with progress.task("writing events", total=len(jobs)) as task:
            for written in event_files:
                sent.files.append(written.path)
                sent.rows[written.feed] = sent.rows.get(written.feed, 0) + written.rows
                sent.spoiled.append(written.dirt)
                task.advance()
        for other in other_half:
            sent.add(other)
    findings = sent.truth.table
    dirt_rows = pd.concat(sent.spoiled)
    dirt_truth = pa.Table.from_pandas(dirt_rows, pa.schema(beside_events.DIRT_COLUMNS), preserve_index=False).replace_schema_metadata(None)
    pq.write_table(findings, inbox / TRUTH / "finding_truth.parquet")
    pq.write_table(dirt_truth, inbox / TRUTH / "dirt_truth.parquet")
    for name, table in sent.truth.kept.items():
        pq.write_table(table, inbox / TRUTH / f"{name}.parquet")
    replace(inbox / TRUTH / "planted.json", json.dumps(planted.values, ensure_ascii=False, indent=1).encode())
    files = set(sent.files)
    return {
        "rows": sent.rows,
        "events": len(events),
        "deleted_events": int(events.is_deleted.sum()),
        "findings": _counted(findings.column("kind")),
        "dirt": _counted(dirt_truth.column("kind")),
        "expected": {state: n for state, n in _counted(dirt_truth.column("expected_state")).items() if state != dirt.ACCEPTED},
        "files": len(files),
        "bytes": sum((inbox / path).stat().st_size for path in files),
    }


def _reported_by(territory: Territory, days: int, scale: float) -> int:
    """How many events the residents of the grids report in so many days."""
    residents = int(territory.grids.resident_count.sum())
    return max(1, round(scale * residents / 1000 * profiles.EVENTS_PER_1000_RESIDENTS_AND_YEAR * days / 365))


def _chunk_jobs(folder: Path, plan: Plan, planted: people.Planted, random: np.random.Generator, event_format: Format) -> Iterator[chunks.ChunkJob]:
    """One job a chunk; the planted people report in the first."""
    accepted, refused = (tuple(planted.draw(random, _PLANTED_EVENTS)) for _ in range(2))
    for number in range(len(plan.bounds) - 1):
        yield chunks.ChunkJob(folder, number, event_format, *((accepted, refused) if number == 0 else ()))


def _note_injected(truth: Truth, events: pd.DataFrame) -> None:
    """The events that something was injected into; a near duplicate's other half is the report that it repeats.

    `_truth/wrong_event_truth.parquet` says of each wrong event besides what its text is about: kind, sender_code, event_id, class_code and
    level_code as sent, true_class_code, true_level_code.
    """
    for model in (MODEL, WRONG_EVENT):
        found = events[events.kind.isin(KINDS[model]) & ~events.is_deleted]
        truth.add(model, found.kind.astype(object), found.sender_code.astype(object), found.event_id, found.original)
    names = {"said_class_code": "true_class_code", "said_level_code": "true_level_code"}
    wrong = found.rename(columns=names)[["kind", "sender_code", "event_id", "class_code", "level_code", *names.values()]].astype(object)
    schema = pa.schema([(name, pa.string()) for name in wrong.columns])
    truth.keep("wrong_event_truth", pa.Table.from_pandas(wrong, schema, preserve_index=False).replace_schema_metadata(None))


def _counted(values: pa.ChunkedArray) -> dict[str, int]:
    return {str(kind): int(count) for kind, count in pd.Series(values.to_pylist()).value_counts().sort_index().items()}
