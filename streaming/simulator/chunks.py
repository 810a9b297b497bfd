"""Makes the events chunk by chunk in several processes, and puts each file together from what the chunks have for it.

Which process makes what has no influence on a byte: every chunk draws from streams of its own, and a file's rows are merged in the chunks' order.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from streaming.simulator import dirt, event_feeds, people
from streaming.simulator.event_feeds import Calendar, Format
from streaming.simulator.events import Reports, Vocabulary, happen
from streaming.simulator.handling import ACTIONS, STATES, Steps, handle
from streaming.simulator.parcels import CITY_PLATFORM, LINE, replace
from streaming.simulator.plan import CHANNELS, DAY, KINDS, LEVELS, Plan, Scene, stream

# Below this many events another process would take longer to start than it saves.
_WORTH_A_PROCESS = 60_000
_SCENE, _PLAN = "scene.pickle", "plan.arrow"
# Rows of some kinds there are in the smallest province too: so many in its first chunk, whatever the shares say.
_AT_LEAST = 2
_TRUNCATED_FILES = 4
_Job = TypeVar("_Job")
_Done = TypeVar("_Done")


@dataclass(frozen=True)
class ChunkJob:
    """What a process needs to make a chunk, beside the scene and the plan in the folder."""

    folder: Path
    number: int
    event_format: Format
    planted: tuple[people.Person, ...] = ()
    planted_refused: tuple[people.Person, ...] = ()


@dataclass(frozen=True)
class Made:
    """What is known of a chunk once it is made: how each event ended, in the order of its plan, and where the rows of which file lie."""

    ends: pd.DataFrame  # state (place in STATES), closed (seconds, -1 while open), is_deleted
    steps: Path  # event (row of the chunk), step_no, action, from_state, to_state (places), happened (seconds)
    parcels: Mapping[tuple[str, str, str], tuple[tuple[Path, int], ...]]  # by feed, sender and file: container and batch


@dataclass(frozen=True)
class FileJob:
    """A file and where its rows lie, in the order of the chunks that they come from; whether it is to break off in its last line."""

    inbox: Path
    feed: str
    sender: str
    file: str
    parcels: tuple[tuple[Path, int], ...]
    breaks_off: int | None = None


@dataclass(frozen=True)
class Written:
    """A file that was written, and its rows that are not just good ones, as dirt_truth.parquet has them."""

    path: str
    feed: str
    rows: int
    dirt: pd.DataFrame


class _Studio:
    """What a process keeps from chunk to chunk."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.vocabulary = Vocabulary(scene)
        event_feeds.add_letters(self.vocabulary)
        self.calendar = Calendar.of(scene)


_studios: dict[Path, _Studio] = {}


def _studio(folder: Path) -> _Studio:
    if folder not in _studios:
        _studios.clear()
        _studios[folder] = _Studio(pickle.loads((folder / _SCENE).read_bytes()))  # noqa: S301 - written by this run
    return _studios[folder]


def make_chunk(job: ChunkJob) -> Made:
    """Draw a chunk's events and steps and leave the rows that are sent of them in the folder."""
    studio, number = _studio(job.folder), job.number
    scene, vocabulary = studio.scene, studio.vocabulary
    planned = _batch(job.folder / _PLAN, number).to_pandas()
    reports = happen(stream(scene.seed, f"events {number}"), scene, vocabulary, planned, job.planted)
    steps = handle(stream(scene.seed, f"steps {number}"), scene, reports)
    deleted = event_feeds.deletions(stream(scene.seed, f"deletions {number}"), scene, reports, steps)
    sender = event_feeds.Sender(scene, vocabulary, studio.calendar, job.event_format)
    at_least = _AT_LEAST if number == 0 else 0
    feeds = {
        event_feeds.EVENT: sender.events(stream(scene.seed, f"event {number}"), reports, steps, deleted, job.planted_refused, at_least=at_least),
        event_feeds.EVENT_STEP: sender.steps(stream(scene.seed, f"event_step {number}"), reports, steps, deleted, at_least=at_least),
    }
    parcels: dict[tuple[str, str, str], tuple[tuple[Path, int], ...]] = {}
    for feed, sent in feeds.items():
        _store(job.folder, f"{number:04d}-{feed}", sent, parcels)
    return Made(_ends(reports, steps, deleted), _store_steps(job.folder / f"{number:04d}-steps.arrow", steps), parcels)


def _store_steps(path: Path, steps: Steps) -> Path:
    columns = {"event": steps.event.astype(np.int32), "step_no": steps.step_no.astype(np.int8), "happened": steps.happened.astype(np.int32)}
    table = pa.table(columns | {name: getattr(steps, name) for name in ("action", "from_state", "to_state")})
    with pa.ipc.new_file(path, table.schema) as writer:
        writer.write_table(table)
    return path


def _store(folder: Path, name: str, parcels: Iterable[event_feeds.Parcel], index: dict[tuple[str, str, str], tuple[tuple[Path, int], ...]]) -> None:
    """One container for each schema, a batch for each parcel."""
    writers: dict[pa.Schema, tuple[Path, pa.RecordBatchFileWriter, list[int]]] = {}
    for parcel in parcels:
        if parcel.rows.schema not in writers:
            path = folder / f"{name}-{len(writers)}.arrow"
            options = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
            writers[parcel.rows.schema] = (path, pa.ipc.new_file(path, parcel.rows.schema, options=options), [0])
        path, writer, count = writers[parcel.rows.schema]
        key = parcel.feed, parcel.sender, parcel.file
        for batch in parcel.rows.combine_chunks().to_batches():
            writer.write_batch(batch)
            index[key] = (*index.get(key, ()), (path, count[0]))
            count[0] += 1
    for _, writer, _ in writers.values():
        writer.close()


def _ends(reports: Reports, steps: Steps, deleted: event_feeds.Deletions) -> pd.DataFrame:
    last = np.flatnonzero(np.append(steps.event[1:] != steps.event[:-1], True))
    state = np.full(len(reports), -1, np.int8)
    state[steps.event[last]] = steps.to_state[last]
    closed = np.full(len(reports), -1, np.int64)
    ended = last[steps.to_state[last] == STATES.index("closed")]
    closed[steps.event[ended]] = steps.happened[ended]
    return pd.DataFrame({"state": state, "closed": closed, "is_deleted": np.isin(np.arange(len(reports)), deleted.event)})


def write_file(job: FileJob) -> Written:
    """Merge a file's rows in their order and write it."""
    table = pa.concat_tables([_batch(path, batch) for path, batch in job.parcels]).combine_chunks()
    order = np.argsort(table.column("_order").to_numpy(), kind="stable")
    table = table.take(pa.array(order))
    said = table.column("_truth")
    marked = np.flatnonzero(np.asarray(said.is_valid()))
    truths = [json.loads(truth) for truth in said.take(pa.array(marked)).to_pylist()]
    path = job.inbox / CITY_PLATFORM / job.feed / job.sender / job.file
    count = table.num_rows
    if path.suffix == ".jsonl":
        content: Any = _line_bytes(table.column(LINE).combine_chunks())
        if job.breaks_off is not None:
            good = np.flatnonzero(np.asarray(said.is_null()))
            broken = dirt.truncated_line(table.column(LINE)[int(good[-1])].as_py(), job.breaks_off, f"{job.feed}_id")
            content = b"".join([content, broken])
            count += 1
            marked = np.append(marked, count - 1)
            truths.append([dirt.TRUNCATED.kind, dirt.REFUSED, dirt.TRUNCATED.rule, dirt.TRUNCATED.field])
    else:
        sink = pa.BufferOutputStream()
        pq.write_table(table.drop_columns(["_order", "_truth"]).replace_schema_metadata(None), sink, compression="zstd")
        content = sink.getvalue()
    replace(path, content)
    rows = pd.DataFrame(truths, columns=["kind", "expected_state", "rule", "field"], dtype=object)
    rows = rows.assign(feed=job.feed, sender_code=job.sender, file_name=job.file, row_number=marked + 1)
    return Written(str(path.relative_to(job.inbox)), job.feed, count, rows)


def _batch(path: Path, batch: int) -> pa.Table:
    with pa.memory_map(str(path)) as source:
        return pa.Table.from_batches([pa.ipc.open_file(source).get_batch(batch)])


def _line_bytes(lines: pa.Array) -> memoryview:
    """Lines that end in their line ends, as they lie in memory."""
    offsets = np.frombuffer(lines.buffers()[1], np.int32, len(lines) + 1, lines.offset * 4)
    return memoryview(lines.buffers()[2])[offsets[0] : offsets[-1]]


def file_jobs(random: np.random.Generator, inbox: Path, made: Sequence[Made]) -> list[FileJob]:
    """The files of all chunks; some JSONL files of events are chosen to break off in their last line."""
    parcels: dict[tuple[str, str, str], tuple[tuple[Path, int], ...]] = {}
    for chunk in made:
        for key, places in chunk.parcels.items():
            parcels[key] = (*parcels.get(key, ()), *places)
    keys = sorted(parcels)
    lines = [key for key in keys if key[0] == event_feeds.EVENT and key[2].endswith(".jsonl")]
    chosen = np.sort(random.permutation(len(lines))[:_TRUNCATED_FILES])
    broken = {lines[at]: number for number, at in enumerate(chosen)}
    return [FileJob(inbox, *key, parcels[key], broken.get(key)) for key in keys]


def event_frame(scene: Scene, plan: Plan, made: Sequence[Made]) -> pd.DataFrame:
    """All events as `Ground.events` has them, `original` (the event_id that a near duplicate repeats), `said_class_code` and `said_level_code`."""
    events, ends = plan.events, pd.concat([chunk.ends for chunk in made], ignore_index=True)
    sender = pd.Categorical(scene.territory.grids.sender_code)
    code = sender.codes[events.grid]
    order = _by_sender_and_time(scene, plan)
    ids = _event_ids(scene, events.reported.to_numpy(), events.sequence.to_numpy())
    firsts = np.repeat(plan.bounds[:-1], np.diff(plan.bounds))
    is_repeat = events.repeated.to_numpy() >= 0
    original = pa.array(np.where(is_repeat, firsts + events.repeated.to_numpy(), 0), mask=~is_repeat)
    start = scene.first_day.astype("datetime64[s]")
    string = pd.StringDtype("pyarrow")

    def category(codes: NDArray[Any], categories: Any) -> pd.Categorical:
        return pd.Categorical.from_codes(codes[order], categories)

    closed = ends.closed.to_numpy()[order]
    classes = scene.classes
    offices = pd.Categorical(classes.responsible_role)
    return pd.DataFrame(
        {
            "event_id": pd.Series(ids.take(pa.array(order)), dtype=string),
            "sender_code": category(code, sender.categories),
            "grid": events.grid.to_numpy()[order],
            "class_code": category(events.class_number.to_numpy(), list(classes.code)),
            "level_code": category(events.level.to_numpy(), list(LEVELS)),
            "channel_code": category(events.channel.to_numpy(), list(CHANNELS)),
            "office": category(offices.codes[events.class_number.to_numpy()], offices.categories),
            "limit_hours": classes.limit_hours.to_numpy(np.int32)[events.class_number.to_numpy()[order]],
            "reporter": events.reporter.to_numpy()[order],
            "reported_at": start + events.reported.to_numpy()[order].astype("timedelta64[s]"),
            "closed_at": np.where(closed < 0, np.datetime64("NaT"), start + closed.astype("timedelta64[s]")),
            "state_code": category(ends.state.to_numpy(), list(STATES)),
            "kind": category(events.kind.to_numpy(), list(KINDS)),
            "said_class_code": category(events.said_class.to_numpy(), list(classes.code)),
            "said_level_code": category(events.said_level.to_numpy(), list(LEVELS)),
            "is_deleted": ends.is_deleted.to_numpy()[order],
            "original": pd.Series(ids.take(original).take(pa.array(order)), dtype=string),
        }
    )


def step_frame(scene: Scene, plan: Plan, made: Sequence[Made]) -> pd.DataFrame:
    """All steps as `Ground.steps` has them; only while the workshop is open."""
    parts = [pa.ipc.open_file(pa.memory_map(str(chunk.steps))).read_all().to_pandas() for chunk in made]
    steps = pd.concat(parts, ignore_index=True)
    row = np.empty(len(plan.events), np.int64)
    row[_by_sender_and_time(scene, plan)] = np.arange(len(plan.events))
    event = row[steps.event.to_numpy() + np.repeat(plan.bounds[:-1], [len(part) for part in parts])]
    order = np.lexsort((steps.step_no.to_numpy(), event))
    steps, start = steps.iloc[order].reset_index(drop=True), scene.first_day.astype("datetime64[s]")

    def category(name: str, categories: Any) -> pd.Series:
        return pd.Series(pd.Categorical.from_codes(np.asarray(steps[name]), categories))

    return pd.DataFrame(
        {
            "event": event[order],
            "step_no": steps.step_no,
            "action_code": category("action", ACTIONS),
            "from_state": category("from_state", STATES),
            "to_state": category("to_state", STATES),
            "happened_at": start + steps.happened.to_numpy().astype("timedelta64[s]"),
        }
    )


def _by_sender_and_time(scene: Scene, plan: Plan) -> NDArray[np.int64]:
    sender = pd.Categorical(scene.territory.grids.sender_code).codes[plan.events.grid]
    return np.lexsort((plan.events.reported.to_numpy(), sender))


def _event_ids(scene: Scene, reported: NDArray[np.int32], sequence: NDArray[np.int32]) -> pa.Array:
    """SJ, the day and six digits, of all events at once: 16 bytes each."""
    days = np.char.replace(np.datetime_as_string(scene.first_day + np.arange(scene.days)), "-", "").astype("S8").view(np.uint8).reshape(-1, 8)
    text = np.empty((len(reported), 16), np.uint8)
    text[:, :2] = np.frombuffer(b"SJ", np.uint8)
    text[:, 2:10] = days[reported // DAY]
    for place in range(6):
        text[:, 15 - place] = 48 + sequence // 10**place % 10
    offsets = np.arange(0, 16 * (len(reported) + 1), 16, dtype=np.int64)
    return pa.LargeStringArray.from_buffers(len(reported), pa.py_buffer(offsets), pa.py_buffer(text))


class Workshop:
    """A folder for what lies between plan and files, and processes that work in it where there is enough to do for them."""

    def __init__(self, folder: Path, pool: ProcessPoolExecutor | None) -> None:
        self.folder = folder
        self._pool = pool

    def do(self, work: Callable[[_Job], _Done], jobs: Iterable[_Job]) -> Iterator[_Done]:
        """What comes of each job, in the order of the jobs."""
        return self._pool.map(work, jobs) if self._pool else map(work, jobs)

    def dismiss(self) -> None:
        """Let the processes go, and their memory; the folder stays."""
        if self._pool:
            self._pool.shutdown()


def laid_out(folder: Path) -> tuple[Scene, Plan]:
    """The scene and the plan that lie in a workshop's folder."""
    scene = pickle.loads((folder / _SCENE).read_bytes())  # noqa: S301 - written by this run
    with pa.memory_map(str(folder / _PLAN)) as source:
        plan = pa.ipc.open_file(source)
        bounds = np.cumsum([0, *(plan.get_batch(number).num_rows for number in range(plan.num_record_batches))])
        return scene, Plan(plan.read_all().to_pandas(), tuple(bounds.tolist()))


@contextmanager
def workshop(inbox: Path, scene: Scene, plan: Plan) -> Iterator[Workshop]:
    """The scene and the plan laid out in a folder of the inbox, which is removed in the end."""
    folder = inbox / ".simulating"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        (folder / _SCENE).write_bytes(pickle.dumps(scene, protocol=5))
        schema = pa.Schema.from_pandas(plan.events, preserve_index=False)
        with pa.ipc.new_file(folder / _PLAN, schema) as writer:
            for first, last in pairwise(plan.bounds):
                writer.write_batch(pa.RecordBatch.from_pandas(plan.events.iloc[first:last], schema, preserve_index=False))
        processes = min(2, len(os.sched_getaffinity(0)))
        if processes < 2 or len(plan.events) < _WORTH_A_PROCESS:
            yield Workshop(folder, None)
        else:
            # Started anew: what a fork copies of Arrow's threads does not run.
            with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
                yield Workshop(folder, pool)
    finally:
        _studios.clear()
        shutil.rmtree(folder, ignore_errors=True)
