"""The feeds beside events and steps, in two halves that two processes make at once: what hangs on events, and what hangs on residents.

Which process makes what has no influence on a byte: every feed draws from a stream of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa

from gridlake import vocabularies as vocabulary_files
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies
from streaming.simulator import (
    address_corrections,
    applications,
    chunks,
    city_lists,
    collaboration,
    departments,
    disputes,
    feeds,
    interface_calls,
    opinion,
    other_systems,
    people,
    pilot,
    publications,
    residents,
    reviews,
    scenario_projects,
    tasks,
    training,
    visits,
)
from streaming.simulator.deliveries import Period
from streaming.simulator.parcels import Feed, write
from streaming.simulator.plan import Plan, Scene, stream
from streaming.simulator.truth import Truth

DIRT_COLUMNS = {
    "feed": pa.string(),
    "sender_code": pa.string(),
    "file_name": pa.string(),
    "row_number": pa.int64(),
    "kind": pa.string(),
    "expected_state": pa.string(),
    "rule": pa.string(),
    "field": pa.string(),
}


@dataclass
class Sent:
    """What was written: files (relative to the inbox), rows by feed, the rows that are not just good ones, and what was injected."""

    files: list[str] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    spoiled: list[pd.DataFrame] = field(default_factory=list)
    truth: Truth = field(default_factory=Truth)

    def write(self, made: Iterator[Feed], inbox: Path, advance: Callable[[int], None]) -> None:
        """Write feeds as they are made, one at a time: all of them at once would hold every row twice."""
        for feed in made:
            self.files += write(feed, inbox, advance)
            self.spoiled.append(_dirt_of(feed))
            self.rows[feed.name] = self.rows.get(feed.name, 0) + len(feed.rows)
            del feed

    def add(self, other: Sent) -> None:
        """Take in what another process has written."""
        self.files += other.files
        self.spoiled += other.spoiled
        self.rows |= other.rows
        self.truth.extend(other.truth)


@dataclass(frozen=True)
class ResidentsJob:
    """What a process needs for the feeds that hang on residents, beside the scene and the plan in the folder."""

    folder: Path
    inbox: Path
    made: tuple[chunks.Made, ...]
    cities: tuple[str, ...]
    resident_share: float


def ground_of(scene: Scene, plan: Plan, made: Sequence[chunks.Made], events: pd.DataFrame, resident_share: float) -> feeds.Ground:
    """What happened, as the feeds look at it."""
    territory, members, first_day, days = scene.territory, scene.members, scene.first_day, scene.days
    return feeds.Ground(
        territory,
        members,
        events,
        first_day,
        days,
        lambda: residents.settle(stream(scene.seed, "residents"), territory, members, first_day, days, resident_share),
        lambda: chunks.step_frame(scene, plan, made),
    )


def send_residents(job: ResidentsJob) -> Sent:
    """Make and write the feeds that hang on residents."""
    scene, plan = chunks.laid_out(job.folder)
    ground = ground_of(scene, plan, job.made, chunks.event_frame(scene, plan, job.made), job.resident_share)
    sent = Sent()
    made = of_residents(scene.seed, ground, vocabulary_files.load_all(Settings()), job.cities, sent.truth)
    sent.write(made, job.inbox, lambda _: None)
    return sent


def of_lists(seed: int, ground: feeds.Ground, vocabularies: Vocabularies, cities: Sequence[str], planted: people.Planted) -> Iterator[Feed]:
    """Regions, grids and teams."""
    yield feeds.region(stream(seed, "region"), vocabularies, ground.first_day)
    yield feeds.grid(stream(seed, "grid"), ground, cities)
    yield feeds.team_member(stream(seed, "team_member"), ground, cities, planted)


def of_events(
    seed: int, ground: feeds.Ground, vocabularies: Vocabularies, cities: Sequence[str], planted: people.Planted, truth: Truth
) -> Iterator[Feed]:
    """What hangs on events, what the province publishes, and how offices and systems work together."""
    calls = interface_calls.feed(stream(seed, "interface_call"), ground, vocabularies, truth)
    failed_calls = collaboration.failed(calls.rows)
    yield calls
    del calls
    yield from publications.feeds(stream(seed, "publications"), vocabularies, ground.first_day, ground.days)
    yield from reviews.feeds(stream(seed, "reviews"), ground, cities, planted, truth)
    yield opinion.feed(stream(seed, "opinion"), ground, truth)
    yield from training.feeds(stream(seed, "training"), ground)
    yield from collaboration.feeds(stream(seed, "collaboration"), ground, cities, failed_calls)
    yield from other_systems.feeds(stream(seed, "other systems"), ground, planted)
    yield from of_applications(seed, vocabularies, Period(ground.first_day, ground.days))


def of_applications(seed: int, vocabularies: Vocabularies, period: Period) -> Iterator[Feed]:
    """Major applications, scenario applications and the pilot assessment, in all cities."""
    where = applications.standing(stream(seed, "standing"), vocabularies)
    yield from applications.feeds(stream(seed, "applications"), vocabularies, where, period)
    projects = scenario_projects.launch(stream(seed, "projects"), where, period)
    yield from scenario_projects.feeds(stream(seed, "scenario applications"), projects, where, period)
    yield from pilot.feeds(stream(seed, "pilot"), vocabularies, where, projects, period)


def of_residents(seed: int, ground: feeds.Ground, vocabularies: Vocabularies, cities: Sequence[str], truth: Truth) -> Iterator[Feed]:
    """Disputes, lists of people and places with what is wrong with their addresses, tasks and visits."""
    yield from disputes.feeds(stream(seed, "disputes"), ground, vocabularies, cities)
    yield from city_lists.feeds(stream(seed, "city lists"), ground, cities)
    yield from departments.feeds(stream(seed, "departments"), ground)
    yield address_corrections.feed(stream(seed, "address corrections"), ground, cities)
    truth.keep("person_truth", ground.residents.person_truth)
    work = tasks.carry_out(stream(seed, "tasks"), ground, cities)
    yield from tasks.feeds(stream(seed, "task feeds"), ground, work, cities)
    yield visits.feed(stream(seed, "visits"), ground, vocabularies, work, truth)


def _dirt_of(feed: Feed) -> pd.DataFrame:
    """The feed's rows that are not just good ones, in the columns of dirt_truth.parquet."""
    names = {"_sender": "sender_code", "_file": "file_name", "row_number": "row_number", "_kind": "kind", "_state": "expected_state"}
    names |= {"_rule": "rule", "_field": "field"}
    rows = feed.rows.loc[feed.rows["_kind"].notna(), list(names)]
    return rows.rename(columns=names).assign(feed=feed.name)[list(DIRT_COLUMNS)]
