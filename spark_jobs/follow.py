"""What `detect` judged last, and so which months it has to judge again.

Those in which events changed, those whose events are compared with them, and those of events in grids that changed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F  # noqa: N812 - the name every PySpark reader knows

from gridlake.contracts.staging import MONTH
from gridlake.runs import Run
from gridlake.tables import differing_parts, fsync, write_file
from spark_jobs.declarations import BUILT_IN, Factor
from spark_jobs.slices import MOST_LOOKBACK_DAYS, months_compared_with

EVENT = "business.event"


class Kept:
    """The note of the last finished judgement, `<home>/jobs/detect.json`: declarations, code, tables read and written, as they were."""

    def __init__(self, run: Run, declarations: Iterable[Path], written: Sequence[str]) -> None:
        self._run, self._written = run, written
        self._file = run.settings.home.absolute() / "jobs" / "detect.json"
        self._known: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {}
        code = [*BUILT_IN.glob("*.py"), *(BUILT_IN / "factors" / "inputs").glob("*.sql")]
        self._judged_by = _digest([*declarations, *code])

    def months_to_judge(self, factors: Iterable[Factor]) -> list[str] | None:
        """The months to judge again; None for everything."""
        now, before = self._state(), self._known
        looks_everywhere = any(f.lookback_days is None or f.lookback_days > MOST_LOOKBACK_DAYS for f in factors)
        alike = ("judged_by", "feeds", "reporting", "written")
        if looks_everywhere or not now["parts"] or any(before.get(name) != now[name] for name in alike):
            return None
        changed = set(differing_parts(now["parts"], before["parts"]))
        for name in (n for n in now["grids"] if before["grids"].get(n) != now["grids"][n]):
            past = before["grid_versions"].get(name)
            if past is None or not all(Path(file).exists() for file in self._run.tables.files(name, past)):
                return None
            changed |= self._months_of_moved_grids(name, past)
        return months_compared_with(sorted(changed))

    def begin(self) -> None:
        """From here until `finish` the tables may be anything."""
        self._file.unlink(missing_ok=True)
        if self._file.parent.exists():
            fsync(self._file.parent)

    def finish(self) -> None:
        """Keep what the tables were made of."""
        write_file(self._file, json.dumps(self._state()).encode())

    def _state(self) -> dict[str, Any]:
        tables, spark = self._run.tables, self._run.spark
        reporting = spark.table(EVENT).where(F.col("step_count") > 0).select("sender_code").distinct().toArrow()
        grids = self._grid_tables()
        return {
            "judged_by": self._judged_by,
            "parts": tables.parts(EVENT),
            "grids": {name: tables.state(name) for name in grids},
            "grid_versions": {name: tables.version(name) for name in grids},
            "feeds": tables.state("staging.feed") if tables.exists("staging.feed") else None,
            # Whether a sender reports steps at all is said of all its events.
            "reporting": sorted(reporting.column(0).to_pylist()),
            "written": {name: tables.state(name) for name in self._written if tables.exists(name)},
        }

    def _grid_tables(self) -> list[str]:
        found = [f"staging.stg_{c.id}" for c in self._run.contracts.conforming("grid")]
        return [name for name in found if self._run.tables.exists(name)]

    def _months_of_moved_grids(self, name: str, past: int) -> set[str]:
        """The months of the events in grids that have come, gone or changed."""
        spark, columns = self._run.spark, ["grid_id", "_source_position"]
        self._run.tables.reach(name)
        now, before = spark.table(name).select(columns), spark.sql(f"select grid_id, _source_position from {name} version as of {past}")
        moved = now.join(before, columns, "left_anti").unionByName(before.join(now, columns, "left_anti"))
        places = spark.table(EVENT).select("grid_id", MONTH).join(moved, "grid_id", "left_semi")
        return set(places.select(MONTH).distinct().toArrow().column(0).to_pylist())


def _digest(paths: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for path in sorted(paths):
        digest.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
