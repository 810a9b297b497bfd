"""Lands and builds one delivery after the other on one engine, in a process of its own: `python -m tests.engine.deliveries HOME AS_OF INBOX…`.

dbt's tests, Great Expectations, snapshot and reports are left out: they make no table that another step reads, and on Apache Spark each of some
hundred tests costs half a second. Prints the seconds of each step.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gridlake import transform
from gridlake.runs import Run, only_writer
from gridlake.settings import Settings

STEPS = ("land", "stage", "resolve", "build", "detect", "mart")


def land_and_build(home: Path, as_of: Sequence[datetime], inboxes: Sequence[Path], *, build_last_alone: bool = False) -> list[dict[str, float]]:
    """Every inbox in turn into the lake, each at its moment; the seconds of each run by step. With `build_last_alone` the others are landed only."""
    taken = []
    for inbox, moment in zip(inboxes, as_of, strict=True):
        settings = Settings(home=home, inbox=inbox, as_of=moment)
        with only_writer(settings):
            run = Run.start(settings, quiet=True)
            try:
                for step in STEPS[:1] if build_last_alone and inbox != inboxes[-1] else STEPS:
                    run.perform(step)
            finally:
                run.close()
        taken.append({step: used["seconds"] for step, used in run.footprints.items()})
    return taken


def _no_tests(*_: Any) -> list[Any]:
    return []


if __name__ == "__main__":
    transform._Dbt.test = _no_tests  # type: ignore[assignment,method-assign]
    # As if there were many steps of events.
    transform.SPAN_ROWS = 500
    given = [Path(p) for p in sys.argv[3:]]
    print(json.dumps(land_and_build(Path(sys.argv[1]), [datetime.fromisoformat(sys.argv[2])] * len(given), given)))
