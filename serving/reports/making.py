"""Making reports: the results of all subjects in one pass over the snapshot, then their documents, over several processes where they are many."""

from __future__ import annotations

import gc
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from serving.reports import issues, pdf
from serving.reports.content import compose
from serving.reports.declaration import Format, Report, ReportStopped, of_sources
from serving.reports.document import render_docx, render_html
from serving.reports.issues import Issue, Planned
from serving.reports.period import Period
from serving.reports.results import ask
from serving.reports.subjects import Subject
from serving.reports.workbook import render_xlsx
from serving.snapshots import Snapshot

FORMATS: tuple[str, ...] = get_args(Format)
# Below this many a process of its own takes longer to start than the reports to make.
_WORTH_A_PROCESS = 12
_PDFS_AT_A_TIME = 30


@dataclass(frozen=True)
class Made:
    """What became of each subject: its issue, and why there is none."""

    issues: list[Issue]
    stopped: list[ReportStopped]


def make(
    home: Path,
    snapshot: Snapshot,
    report: Report,
    subjects: Sequence[Subject],
    period: Period,
    formats: Iterable[str] = ("docx", "html"),
    advance: Callable[[], None] = lambda: None,
) -> Made:
    """The issues of one report and period, of subjects of one region system; a subject that is stopped does not hold up the others."""
    kinds = [kind for kind in FORMATS if kind in {*formats, "docx"}]
    system = subjects[0].system
    asked = ask(snapshot, report, system, subjects, period)
    stopped = list(asked.stopped.values())
    made: list[Issue] = []
    planned = [issues.plan(home, snapshot, report, subject, period, results) for subject, results in asked.results.items()]
    waiting = []
    for plan in planned:
        if (plan.made and {f".{kind}" for kind in kinds} <= {path.suffix for path in plan.made.files}) or (plan.made and plan.made.is_signed):
            made.append(plan.made)
            advance()
        else:
            waiting.append(plan)
    for batch in [waiting] if "pdf" not in kinds else map(list, _in_parts(waiting, _PDFS_AT_A_TIME)):
        rendered = []
        for plan, documents in zip(batch, _rendered(batch, [k for k in kinds if k != "pdf"]), strict=True):
            if isinstance(documents, ReportStopped):
                stopped.append(documents)
            else:
                rendered.append((plan, documents))
                if "pdf" not in kinds:
                    made.append(issues.write(home, plan, documents))
            advance()
        if "pdf" in kinds and rendered:
            printed = pdf.convert({plan.stem: documents["docx"] for plan, documents in rendered})
            made += [issues.write(home, plan, {**documents, "pdf": printed[plan.stem]}) for plan, documents in rendered]
    return Made(sorted(made, key=lambda issue: issue.folder), stopped)


def documents(report: Report, archived: bytes, kinds: Iterable[str]) -> dict[str, bytes]:
    """The documents of one archive by kind: docx, html, xlsx."""
    with _collector_paused():
        content = compose(report, archived)
        found = {"docx": render_docx(content)}
        for kind in kinds:
            if kind == "html":
                found[kind] = render_html(content, found["docx"])
            elif kind == "xlsx":
                found[kind] = render_xlsx(content)
    return found


@contextmanager
def _collector_paused() -> Iterator[None]:
    """The trees of one document are many objects that all live until it is done: looking through them on the way takes a third of the time."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _rendered(planned: Sequence[Planned], kinds: Sequence[str]) -> Iterator[dict[str, bytes] | ReportStopped]:
    """The documents of each plan in order; ReportStopped where they cannot be made."""
    workers = min(len(os.sched_getaffinity(0)), len(planned) // _WORTH_A_PROCESS)
    if workers < 2:
        yield from (_documents_or_why_not(plan.report, plan.archived, kinds) for plan in planned)
        return
    tasks = [(plan.report.name, dict(plan.report.sources), plan.archived, kinds) for plan in planned]
    # Spawned, not forked: a run's process has threads of the engine.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_in_a_process, tasks, chunksize=4)


def _in_a_process(task: tuple[str, Mapping[str, bytes], bytes, Sequence[str]]) -> dict[str, bytes] | ReportStopped:
    name, files, archived, kinds = task
    return _documents_or_why_not(of_sources(name, files), archived, kinds)


def _documents_or_why_not(report: Report, archived: bytes, kinds: Sequence[str]) -> dict[str, bytes] | ReportStopped:
    try:
        return documents(report, archived, kinds)
    except ReportStopped as error:
        return error


def _in_parts(planned: Sequence[Planned], size: int) -> Iterator[Sequence[Planned]]:
    for start in range(0, len(planned), size):
        yield planned[start : start + size]
