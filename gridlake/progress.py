"""How long work is shown: a bar on a terminal, plain lines elsewhere; always on stderr."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_SECONDS_BETWEEN_LINES = 10.0


class Task:
    """One piece of long work, counted in whatever unit it has."""

    def __init__(self, title: str, total: int | None, bar: Progress | None, console: Console) -> None:
        self._title, self._total, self._done = title, total, 0
        self._bar, self._console = bar, console
        self._id: TaskID | None = bar.add_task(title, total=total) if bar else None
        self._last_line = time.monotonic()

    def advance(self, steps: int = 1) -> None:
        """So much more is done."""
        self._done += steps
        if self._bar is not None and self._id is not None:
            self._bar.advance(self._id, steps)
        elif time.monotonic() - self._last_line >= _SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            self._console.print(f"  {self._title}: {self._done:,}" + (f" of {self._total:,}" if self._total else ""), highlight=False)


class ProgressLog:
    """Where steps say what they are doing."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet)

    def say(self, text: str) -> None:
        """One line for the person who waits."""
        self._console.print(text, highlight=False, markup=False)

    @contextmanager
    def task(self, title: str, total: int | None = None) -> Iterator[Task]:
        """Work with a title; `total` is in the unit that `advance` counts."""
        if not self._console.is_terminal:
            yield Task(title, total, None, self._console)
            return
        columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._console, transient=True) as bar:
            yield Task(title, total, bar, self._console)
