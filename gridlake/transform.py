"""The dbt steps `stage`, `build` and `mart`: puts the project together and runs dbt in this process, in the run's session.

A failed model ends the step. A failed test is recorded, and `check` stops publication because of it.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterable
from datetime import UTC
from pathlib import Path
from typing import Any

import pyarrow as pa

from gridlake import reference
from gridlake.barriers import barrier
from gridlake.contracts import staging
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA, bronze_schema
from gridlake.runs import Run, RunError
from gridlake.tables import fsync, write_file

LIBRARY = ("theme", "item", "business", "sharing")
_PROJECT = ("models", "macros", "tests")
_FAILED = {"error", "fail", "skipped", "runtime error"}


class TransformError(RunError):
    """A model that dbt could not build, or a project that dbt cannot read."""


def stage(run: Run) -> dict[str, Any]:
    """Reference tables; then one row per key of each feed in canonical columns, and each entity's union of feeds."""
    written = reference.write(run)
    _show_absent_feeds(run)
    done = _build(run, "stage", ("staging",))
    return {**done, "tables": {**written, **done["tables"]}}


def build(run: Run) -> dict[str, Any]:
    """The libraries: theme, item, business, sharing."""
    return _build(run, "build", LIBRARY)


def mart(run: Run) -> dict[str, Any]:
    """The tables that people read; after them what `--contracts DIR/models` adds in schemas of its own."""
    _show_absent_feeds(run)
    return _build(run, "mart", ("mart", *_schemas_of_overlay(run)))


def assemble(run: Run) -> Path:
    """Put the dbt project together in `<home>/dbt`: ours, what the contracts give, and `--contracts DIR/models` laid over both."""
    project = run.settings.project / "dbt"
    folder = run.settings.home.absolute() / "dbt"
    ours = [project / "dbt_project.yml", project / "profiles.yml"]
    ours += [p for part in _PROJECT for p in sorted((project / part).rglob("*")) if p.is_file()]
    wanted = {path.relative_to(project).as_posix(): path.read_bytes() for path in ours}
    written_by_hand = frozenset(Path(name).stem for name in wanted if name.startswith("models/"))
    wanted |= {name: text.encode() for name, text in staging.files(run.contracts, written_by_hand).items()}
    overlay = _overlay(run)
    if overlay:
        wanted |= {f"models/{p.relative_to(overlay).as_posix()}": p.read_bytes() for p in sorted(overlay.glob("*/*")) if p.suffix in {".sql", ".yml"}}
    present = {path.relative_to(folder).as_posix() for part in _PROJECT for path in (folder / part).rglob("*") if path.is_file()}
    for name in present - wanted.keys():
        (folder / name).unlink()
    for name, content in wanted.items():
        path = folder / name
        # An untouched file keeps its modification time, by which dbt knows what it need not parse again.
        if not path.exists() or path.read_bytes() != content:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return folder


def _build(run: Run, step: str, schemas: tuple[str, ...]) -> dict[str, Any]:
    folder = assemble(run)
    models = sorted(p.stem for schema in schemas for p in (folder / "models" / schema).glob("*.sql"))
    selection = [f"path:models/{schema}" for schema in schemas]
    history = _History(folder, step, run.cut)
    options = ["--full-refresh"] if history.must_start_anew() else []
    history.begin()
    results = _dbt(run, folder, "run", step, [*options, "--select", *selection], len(models))
    history.finish(run.settings.tables / schema for schema in schemas)
    names = sorted(f"{r.node.schema}.{r.node.alias}" for r in results if r.node.resource_type == "model")
    # buildable: a test that reads a later step's tables too waits for that step.
    # The manifest that `check` reads is written by then.
    tested = _dbt(run, folder, "test", step, ["--no-write-json", "--indirect-selection", "buildable", "--select", *selection], None)
    return {"tables": {name: run.tables.row_count(name) for name in names}, "tests": _summary(tested)}


class _History:
    """What a step's tables were built from. Increments count only on a finished build by the same project from no later cut."""

    def __init__(self, folder: Path, step: str, cut: dict[str, int]) -> None:
        self._file = folder / f"{step}.built.json"
        self._now: dict[str, Any] = {"project": _digest(folder), "cut": cut}

    def must_start_anew(self) -> bool:
        """Whether increments are not to be trusted: other SQL, an earlier cut, or a build that was cut short (perhaps with the power)."""
        if not self._file.exists():
            return True
        known = json.loads(self._file.read_text(encoding="utf-8"))
        return known["project"] != self._now["project"] or any(v > self._now["cut"].get(n, -1) for n, v in known["cut"].items())

    def begin(self) -> None:
        """From here until `finish` the tables may be anything."""
        self._file.unlink(missing_ok=True)
        self._began = time.time()

    def finish(self, folders: Iterable[Path]) -> None:
        """The tables in these folders hold what this project makes of this cut; they are synced here, as the engine does not do it."""
        for folder in folders:
            # Whole seconds of doubt: a clock tick is coarser than time.time().
            for path in (p for p in folder.rglob("*") if p.stat().st_mtime >= self._began - 1):
                fsync(path)
        write_file(self._file, json.dumps(self._now).encode())


def _dbt(run: Run, folder: Path, command: str, step: str, options: list[str], total: int | None) -> list[Any]:
    # dbt takes a second to import; a command that does not transform need not wait for it.
    from dbt.cli.main import dbtRunner

    assert run.as_of is not None
    scratch = folder / "changes"
    shutil.rmtree(scratch, ignore_errors=True)
    logs = run.settings.home.absolute() / "logs"
    variables = {"as_of": f"{run.as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}", "tables": str(run.settings.tables), "scratch": str(scratch)}
    arguments = ["--quiet", "--log-level", "none", "--log-level-file", "info", "--log-path", str(logs), "--no-send-anonymous-usage-stats"]
    arguments += [command, "--project-dir", str(folder), "--profiles-dir", str(folder), "--target-path", str(folder / "target")]
    arguments += ["--vars", json.dumps(variables), *options]
    run.engine.spark  # noqa: B018 - dbt finds the session through SPARK_REMOTE, which the engine sets
    with run.progress.task(f"dbt {command} {step}", total=total) as task:

        def on_event(event: Any) -> None:
            if event.info.name == "NodeFinished":
                task.advance()
                if (step, command) == ("build", "run"):
                    barrier("build.mid")

        outcome = dbtRunner(callbacks=[on_event]).invoke(arguments)
    results = list(getattr(outcome.result, "results", None) or [])
    if outcome.exception is not None:
        raise TransformError(f"dbt {command} ({step}): {outcome.exception}; more in {logs / 'dbt.log'}")
    failed = [r for r in results if str(r.status) in _FAILED]
    if command == "run" and failed:
        said = "; ".join(f"{r.node.schema}.{r.node.alias}: {(r.message or r.status).strip()[:500]}" for r in failed if str(r.status) != "skipped")
        raise TransformError(f"dbt run ({step}): {len(failed)} of {len(results)} models not built; {said}; more in {logs / 'dbt.log'}")
    return results


def _summary(results: list[Any]) -> dict[str, Any]:
    failures = [
        {"name": r.node.name, "model": _tested(r.node), "message": (r.message or "").strip()[:500], "rows": r.failures}
        for r in results
        if str(r.status) in _FAILED
    ]
    warnings = [{"name": r.node.name, "model": _tested(r.node), "rows": r.failures} for r in results if str(r.status) == "warn"]
    return {"passed": len(results) - len(failures), "failed": len(failures), "failures": failures, "warnings": warnings}


def _tested(node: Any) -> str:
    attached = getattr(node, "attached_node", None)
    return str(attached).split(".")[-1] if attached else str(node.name)


def _show_absent_feeds(run: Run) -> None:
    """A feed that never landed is an empty table, so that declaring it is enough."""
    wanted = {f"bronze.{c.id}": bronze_schema(c) for c in run.contracts.values()}
    wanted |= {f"quarantine.{c.id}": QUARANTINE_SCHEMA for c in run.contracts.values()}
    wanted["ops.receipt"] = RECEIPT_SCHEMA
    for name, schema in wanted.items():
        if name not in run.cut:
            columns = ", ".join(f"cast(null as {_sql_type(field.type)}) as {field.name}" for field in schema)
            run.spark.sql(f"create or replace view {name} as select {columns} where false")


def _sql_type(kind: pa.DataType) -> str:
    if pa.types.is_list(kind):
        return f"array<{_sql_type(kind.value_type)}>"
    if pa.types.is_struct(kind):
        return f"struct<{', '.join(f'{field.name}: {_sql_type(field.type)}' for field in kind)}>"
    if pa.types.is_timestamp(kind):
        return "timestamp"
    return {"string": "string", "int64": "bigint", "double": "double", "bool": "boolean", "date32[day]": "date"}[str(kind)]


def _overlay(run: Run) -> Path | None:
    folder = run.settings.contracts / "models" if run.settings.contracts else None
    return folder if folder and folder.is_dir() else None


def _schemas_of_overlay(run: Run) -> list[str]:
    overlay = _overlay(run)
    known = {"staging", "mart", *LIBRARY}
    return sorted(p.name for p in overlay.iterdir() if p.is_dir() and p.name not in known) if overlay else []


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in [folder / "dbt_project.yml", *(p for part in ("models", "macros") for p in sorted((folder / part).rglob("*.sql")))]:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
