"""The dbt steps `stage`, `build` and `mart`: puts the project together and runs dbt in this process, in the run's session.

A failed model ends the step. A failed test is recorded, and `check`, which asks most of what the YAML tests itself, stops publication because of it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gridlake import cache, reference, suites
from gridlake.barriers import barrier
from gridlake.contracts import staging
from gridlake.contracts.compile import QUARANTINE_SCHEMA, RECEIPT_SCHEMA, bronze_schema
from gridlake.engine import AT_A_TIME, EMBEDDED
from gridlake.runs import CUT_SCHEMAS, CUT_TABLES, LIBRARY, Run, RunError
from gridlake.tables import Forgotten, Standing, differing_parts, fsync, write_file

_PROJECT = ("models", "macros", "tests")
_WRITES = re.compile(r"\b(create or replace table|create table|merge into|insert into|drop table|alter table)\s+(\S+)")
_CLOCK = re.compile(r"""var\(\s*["']as_of""")
_SCRATCH = re.compile(r"\bcreate or replace (?:table|view) (changes\.\w+)")
DBT_STEPS = ("stage", "build", "mart")
# Beyond so many rows, 2 GB of steps as Arrow holds them, a first build with a window over all of them goes span by span (dbt/macros/spans.sql).
SPAN_ROWS = 4_000_000
# By project folder, what dbt read in it and the digest of its files.
_PARSED: dict[Path, tuple[str, Any]] = {}
_FAILED = {"error", "fail", "skipped", "runtime error"}


class TransformError(RunError):
    """A model that dbt could not build, or a project that dbt cannot read."""


def stage(run: Run) -> dict[str, Any]:
    """Reference tables; then one row per key of each feed in canonical columns, and each entity's union of feeds."""
    written = reference.write(run)
    _show_absent_feeds(run)
    done = _build(run, "stage", ("staging",))
    return {**done, "tables": {**written, **done["tables"]}}


def build(run: Run, library: str | None = None) -> dict[str, Any]:
    """The libraries: theme, item, business, sharing. One of them where it is named: the others are given then, as an earlier step's tables are.

    A lake may be built either way, now and then: each way compares the tables with those that it left.
    """
    if library is None:
        return _build(run, "build", LIBRARY)
    built = run.steps.get("build", {}).get("libraries", {})
    done = _build(run, f"build.{library}", (library,), missing={name for name in LIBRARY if name not in built} - {library})
    return _with_others(run, library, done)


def mart(run: Run) -> dict[str, Any]:
    """The tables that people read; after them what `--contracts DIR/models` adds in schemas of its own."""
    _show_absent_feeds(run)
    return _build(run, "mart", ("mart", *_schemas_of_overlay(run)))


def queries(home: Path) -> dict[str, str]:
    """The SQL of each table and view that dbt built in this lake from all of its sources, scratch tables among them; nothing before a build."""
    kept = (home.absolute() / "dbt" / f"{step}.queries.json" for step in DBT_STEPS)
    return {table: sql for file in kept if file.exists() for table, sql in json.loads(file.read_text(encoding="utf-8")).items()}


def compiled(run: Run) -> dict[str, str]:
    """The same of a project that nothing was built from, compiled by the run's engine on its empty lake."""
    run.as_of = run.as_of or run.received_at
    dbt = _Dbt(run, assemble(run), "compile", {})
    return dbt.compiled()


def assemble(run: Run) -> Path:
    """Put the dbt project together in `<home>/dbt`: ours, what the contracts give, and `--contracts DIR/models` laid over both."""
    project = run.settings.project / "dbt"
    folder = run.settings.home.absolute() / "dbt"
    ours = [project / "dbt_project.yml", project / "profiles.yml"]
    ours += [p for part in _PROJECT for p in sorted((project / part).rglob("*")) if p.is_file()]
    wanted = {path.relative_to(project).as_posix(): path.read_bytes() for path in ours}
    wanted |= {name: text.encode() for name, text in staging.files(run.contracts).items()}
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
            barrier("project.after_file", name)
    return folder


def _see_own_stage(run: Run, step: str) -> None:
    """Raise RunError where another run has made the staging tables anew since this run made them: what follows would be of two cuts."""
    made = run.settings.home.absolute() / "dbt" / "stage.built.json"
    if step == "stage" or "stage" not in run.steps or not made.exists():
        return
    maker = json.loads(made.read_text(encoding="utf-8")).get("run_id", run.run_id)
    if maker != run.run_id:
        raise RunError(f"run {run.run_id}: {step} expected the staging tables of this run, run {maker} has made them anew; go on with that one")


def _with_others(run: Run, library: str, done: dict[str, Any]) -> dict[str, Any]:
    """What the step `build` gives of all libraries that this run has built one by one."""
    parts = {**run.steps.get("build", {}).get("libraries", {}), library: done}
    tests = [part["tests"] for part in parts.values()]
    after = {part["after_run"] for part in parts.values()}
    return {
        "tables": {table: rows for part in parts.values() for table, rows in part["tables"].items()},
        "tests": {
            **{state: sum(t[state] for t in tests) for state in ("passed", "failed")},
            **{kind: [found for t in tests for found in t[kind]] for kind in ("failures", "warnings")},
        },
        "months": {table: months for part in parts.values() for table, months in part["months"].items()},
        "was": {table: version for part in parts.values() for table, version in part["was"].items()},
        "since": done["since"],
        # Increments of different runs are none of one run's.
        "after_run": after.pop() if len(after) == 1 and len(parts) == len(LIBRARY) else None,
        "libraries": parts,
    }


def _build(run: Run, step: str, schemas: tuple[str, ...], missing: Collection[str] = ()) -> dict[str, Any]:
    """Build the models of these schemas. `missing` are libraries that this run has not built: RunError where a model reads one."""
    _see_own_stage(run, step)
    folder = assemble(run)
    selection = ["--select", *(f"path:models/{schema}" for schema in schemas)]
    history = _History(folder, step, run)
    since = history.arrived_since()
    dbt = _Dbt(run, folder, step, since)
    models = dbt.models(schemas)
    if awaited := sorted(set(missing) & {table.partition(".")[0] for m in models for table in m.tables_above}):
        first = f"gridlake build --run-id {run.run_id} --library {awaited[0]}"
        raise RunError(f"run {run.run_id}: {step} reads {', '.join(awaited)}, which this run has not built; do: {first}")
    # The libraries built one by one share their file with the whole step, which makes the same of the same project.
    kept = folder / f"{step.partition('.')[0]}.queries.json"
    anew = history.must_start_anew() or not kept.exists()
    # Opens every table that the step reads or writes, so once.
    now = {} if anew else history.states(models)
    to_build = models if anew else history.to_build(models, now)
    following, moved = ([], {}) if anew else history.following(models, to_build, now)
    history.begin()
    if to_build:
        options = [*(["--full-refresh"] if anew else []), *selection, *_left_out(models, to_build)]
        dbt.follow(following, moved, history.was_as_of)
        results = dbt.run(options, len(to_build))
        if anew:
            # What an increment asks is a part of it.
            others = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() and step not in DBT_STEPS else {}
            write_file(kept, json.dumps({**others, **dbt.scratch_queries, **_queries(results)}).encode())
    months = history.months_written(models, following, to_build)
    history.finish(models, (run.settings.tables / schema for schema in schemas))
    dbt.test_only(months)
    summary = _summary(dbt.test(schemas))
    history.close(is_sound=not summary["failures"])
    tables = {m.table: run.tables.row_count(m.table) for m in models if not m.is_view}
    was = {} if anew else history.versions_before(models)
    return {"tables": tables, "tests": summary, "months": months, "was": was, "since": since, "after_run": history.after_run}


@dataclass(frozen=True)
class _Model:
    """What decides whether a model's table may have to change."""

    name: str
    path: str
    table: str
    is_view: bool
    # The models and the tables that it reads, also through views and other models.
    models_above: frozenset[str]
    tables_above: frozenset[str]
    # Of the tables above those that stand at its step's beginning: what landed, what earlier steps made.
    given_tables: frozenset[str]
    reads_clock: bool
    # By --contracts DIR/models: it may read what it does not declare.
    is_given: bool
    # What it looks up itself where it follows changes (macros/follow.sql): tables without partitions, `as_of`. None where it never follows.
    looked_up: frozenset[str] | None


class _History:
    """What a step's tables were built from. Increments count only on a finished build by the same project from no later cut."""

    def __init__(self, folder: Path, step: str, run: Run) -> None:
        self._file = folder / f"{step}.built.json"
        self._run = run
        self._now: dict[str, Any] = {"project": _digest(folder), "cut": run.cut, "as_of": _clock(run)}
        self._known: dict[str, Any] = json.loads(self._file.read_text(encoding="utf-8")) if self._file.exists() else {"project": None, "cut": {}}

    def must_start_anew(self) -> bool:
        """Whether increments are not to be trusted: other SQL, an earlier cut, or a build that was cut short (perhaps with the power)."""
        later = any(version > self._run.cut.get(name, -1) for name, version in self._known["cut"].items())
        return bool(self._known["project"] != self._now["project"]) or later

    def arrived_since(self) -> dict[str, str]:
        """By feed the earliest `_received_at` (UTC) among its bronze rows that were not there at the last build, '' where there are none.

        Left out is a feed that had none, or whose files were rewritten since and are no longer told from new ones: all its rows count as new.
        """
        since = {}
        for name, version in self._run.cut.items():
            schema, _, feed = name.partition(".")
            if schema != "bronze" or name not in self._known["cut"]:
                continue
            files = self._arrived(name, self._known["cut"][name], version)
            if files is not None:
                earliest = min(map(_earliest, files), default=None)
                since[feed] = f"{earliest.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" if earliest else ""
        return since

    def _arrived(self, name: str, known: int, version: int) -> set[str] | None:
        """The files with what arrived after a version; None where that is no longer known."""
        tables = self._run.tables
        before, after = (set(tables.files(name, v)) for v in (known, version))
        if before <= after:
            return after - before
        try:
            return {file for _, files in tables.appended_files(name, known, version) for file in files}
        except Forgotten:
            return None

    def to_build(self, models: list[_Model], now: Mapping[str, str | None]) -> list[_Model]:
        """The models whose tables may have to change: what they are made of is not as it was at the last build, or is changed in this step.

        A model is a function of the tables that it declares and, with some, of the clock; of the same it would make the same.
        """
        known = self._known.get("tables", {})
        moved = {name for name in now if name not in known or known[name] != now[name]}
        new_day = self._known.get("as_of") != self._now["as_of"]
        moving = {m.name for m in models if m.is_given or (m.reads_clock and new_day) or moved & {m.table, *m.tables_above}}
        return [m for m in models if m.name in moving or moving & m.models_above]

    def following(self, models: list[_Model], to_build: list[_Model], now: Mapping[str, str | None]) -> tuple[list[str], dict[str, Any]]:
        """The models that need give only what has changed since the last build, and where: by table its version then and the partitions that changed,
        None for a table without partitions.

        A model follows where everything that moved above it is a partitioned table whose former files are still there, or what it looks up
        itself, and its own table is as it was left.
        """
        known = self._known.get("tables", {})
        before, parts = self._known.get("versions", {}), self._known.get("parts", {})
        built_here = {m.table for m in models}
        moved: dict[str, Any] = {}
        for name in sorted(n for n in now if known.get(n) != now[n] and n in before and n not in built_here):
            if now[name] and all(Path(file).exists() for file in self._run.tables.files(name, before[name])):
                held = self._run.tables.parts(name, self._run.cut.get(name))
                months = differing_parts(held, parts.get(name, {})) if held or name in parts else None
                moved[name] = {"version": before[name], "months": months}
        by_month = {name for name, said in moved.items() if said["months"] is not None}
        new_day = self._known.get("as_of") != self._now["as_of"]
        building: set[str] = {m.name for m in to_build}
        following: list[str] = []
        for model in _in_order(to_build):
            others = {name for name in model.given_tables if known.get(name) != now[name]}
            if (
                model.looked_up is not None
                and now[model.table] is not None
                and now[model.table] == known.get(model.table)
                and others <= by_month | model.looked_up
                and all(name in moved for name in others if not name.startswith(tuple(f"{schema}." for schema in CUT_SCHEMAS)))
                and (not (model.reads_clock and new_day) or "as_of" in model.looked_up)
                and model.models_above & building <= set(following)
            ):
                following.append(model.name)
        return following, moved

    def begin(self) -> None:
        """From here until `finish` the tables may be anything."""
        self._file.unlink(missing_ok=True)
        fsync(self._file.parent)
        barrier("history.after_unlink", self._file.name)
        self._began = time.time()

    def finish(self, models: list[_Model], folders: Iterable[Path]) -> None:
        """The tables in these folders hold what this project makes of this cut; they are synced here, as the engine does not do it."""
        for folder in folders:
            # A second of doubt: files' clocks are coarser than this one.
            for path in (p for p in folder.rglob("*") if p.stat().st_mtime >= self._began - 1):
                fsync(path)
        standing = {name: self._standing(name) for name in self._names(models)}
        there = {name: table for name, table in standing.items() if table}
        self._now |= {
            "tables": {name: table.state if table else None for name, table in standing.items()},
            "parts": {name: table.parts for name, table in there.items() if table.parts},
            "versions": {name: table.version for name, table in there.items()},
        }
        write_file(self._file, json.dumps(self._now).encode())

    def months_written(self, models: list[_Model], following: list[str], to_build: list[_Model]) -> dict[str, list[str]]:
        """By table, for those in which what lies in other months is as it was when all its tests passed: the months written since.

        Empty where something failed then: what was wrong may lie in any month.
        """
        if not self._known.get("is_sound"):
            return {}
        left_alone = {m.name for m in models} - {m.name for m in to_build}
        known = self._known.get("parts", {})
        written = {}
        for model in (m for m in models if m.table in known and m.name in left_alone.union(following)):
            written[model.table] = differing_parts(self._run.tables.parts(model.table), known[model.table])
        here = {m.table for m in models}
        for view in (m for m in models if m.is_view):
            below = here & view.tables_above
            if below and below <= written.keys():
                written[view.table] = sorted({month for table in below for month in written[table]})
        return written

    def close(self, *, is_sound: bool) -> None:
        """Say whether all tests passed."""
        write_file(self._file, json.dumps({**self._now, "is_sound": is_sound, "run_id": self._run.run_id}).encode())

    @property
    def after_run(self) -> str | None:
        """The run whose tables these were made from by increments."""
        return self._known.get("run_id")

    def versions_before(self, models: list[_Model]) -> dict[str, int]:
        """By table of the models the version that the last build left."""
        known = self._known.get("versions", {})
        return {m.table: known[m.table] for m in models if m.table in known}

    @property
    def was_as_of(self) -> str | None:
        """What `as_of` was at the last build, in UTC."""
        return self._known.get("as_of")

    def states(self, models: list[_Model]) -> dict[str, str | None]:
        """What each table that the models write or read is made of; None where there is no table."""
        return {name: table.state if (table := self._standing(name)) else None for name in self._names(models)}

    @staticmethod
    def _names(models: list[_Model]) -> list[str]:
        return sorted({m.table for m in models if not m.is_view}.union(*(m.tables_above for m in models)))

    def _standing(self, name: str) -> Standing | None:
        # Of what goes on growing, the version that the models see.
        version = self._run.cut.get(name)
        if version is None and (name.partition(".")[0] in CUT_SCHEMAS or name in CUT_TABLES or not self._run.tables.exists(name)):
            return None
        return self._run.tables.standing(name, version)


class _Dbt:
    """dbt on one assembled project; parses it once."""

    def __init__(self, run: Run, folder: Path, step: str, since: dict[str, str]) -> None:
        self._run, self._folder, self._step = run, folder, step
        self._logs = run.settings.home.absolute() / "logs"
        self._scratch = folder / "changes"
        self.scratch_queries: dict[str, str] = {}
        self._variables = {
            "as_of": _clock(run),
            "tables": str(run.settings.tables),
            "scratch": str(self._scratch),
            "span_rows": SPAN_ROWS,
            "since": since,
        }
        # Without variables: dbt would parse everything anew whenever one of them has changed.
        self._manifest = self._parsed()

    def _parsed(self) -> Any:
        """What dbt reads in the project; the steps of one run read it once."""
        digest = _digest(self._folder, ("sql", "yml"))
        known = _PARSED.get(self._folder)
        if known is None or known[0] != digest or not (self._folder / "target" / "manifest.json").exists():
            known = digest, self._parse(f"dbt-{metadata.version('dbt-core')}-{metadata.version('dbt-spark')}-{digest}.msgpack")
            _PARSED.clear()
            _PARSED[self._folder] = known
        return known[1]

    def _parse(self, name: str) -> Any:
        """dbt reads the project, from what it has kept of this lake's or of another one's that was the same: a sixth of the time."""
        read_before = self._folder / "target" / "partial_parse.msgpack"
        if read_before.exists():
            return self._invoke("parse", []).result
        if found := cache.kept(self._run.settings, name):
            read_before.parent.mkdir(parents=True, exist_ok=True)
            read_before.write_bytes(found)
        manifest = self._invoke("parse", []).result
        if not found and read_before.exists():
            cache.keep(self._run.settings, name, read_before.read_bytes())
        return manifest

    def models(self, schemas: tuple[str, ...]) -> list[_Model]:
        """The models of these schemas, by table."""
        found = [node for node in self._manifest.nodes.values() if node.resource_type == "model" and node.fqn[1] in schemas]
        return sorted((self._model(node, schemas) for node in found), key=lambda m: m.table)

    def _model(self, node: Any, schemas: tuple[str, ...]) -> _Model:
        nodes, sources, macros = self._manifest.nodes, self._manifest.sources, self._manifest.macros
        above = _reached(node.depends_on.nodes, lambda i: nodes[i].depends_on.nodes if i in nodes else ())
        is_given = {i for i in above if i in nodes and nodes[i].config.materialized != "view" and nodes[i].fqn[1] not in schemas}
        near = _reached(node.depends_on.nodes, lambda i: nodes[i].depends_on.nodes if i in nodes and i not in is_given else ())
        called = _reached(node.depends_on.macros, lambda i: macros[i].depends_on.macros if i in macros else ())
        code = [node.raw_code, *(macros[i].macro_sql for i in called if i in macros)]
        overlay = _overlay(self._run)
        return _Model(
            node.name,
            node.original_file_path,
            f"{node.schema}.{node.alias}",
            node.config.materialized == "view",
            frozenset(nodes[i].name for i in above if i in nodes),
            frozenset(f"{n.schema}.{n.identifier}" for n in (sources[i] for i in above if i in sources))
            | frozenset(f"{n.schema}.{n.alias}" for n in (nodes[i] for i in above if i in nodes) if n.config.materialized != "view"),
            frozenset(f"{n.schema}.{n.identifier}" for n in (sources[i] for i in near if i in sources))
            | frozenset(f"{nodes[i].schema}.{nodes[i].alias}" for i in near & is_given),
            any(_CLOCK.search(text) for text in code),
            overlay is not None and (overlay / node.path).exists(),
            frozenset(node.config.meta["looked_up"]) if "looked_up" in node.config.meta else None,
        )

    def follow(self, following: list[str], moved: dict[str, Any], was_as_of: str | None) -> None:
        """Say which models may give only what has changed, where tables have, and what "now" was before (macros/follow.sql)."""
        for table in moved:
            self._run.tables.reach(table)
        self._variables |= {"following": following, "moved": moved, "was_as_of": was_as_of}

    def test_only(self, months: dict[str, list[str]]) -> None:
        """Say of which tables only some months need be tested (macro get_where_subquery)."""
        self._variables |= {"tested": months}

    def run(self, options: list[str], models: int) -> list[Any]:
        """Build models; raises TransformError where one could not be built."""
        shutil.rmtree(self._scratch, ignore_errors=True)
        barrier("scratch.after_clearing", self._step)
        with self._run.progress.task(f"dbt run {self._step}", total=models) as task:
            barriers = _Barriers()

            def on_event(event: Any) -> None:
                barriers.hear(event)
                if event.info.name == "SQLQuery" and (found := _SCRATCH.search(event.data.sql)):
                    self.scratch_queries[found[1]] = event.data.sql
                if event.info.name == "NodeFinished":
                    task.advance()

            results = self._results("run", options, on_event)
        failed = [r for r in results if str(r.status) in _FAILED]
        if failed:
            said = "; ".join(f"{r.node.schema}.{r.node.alias}: {(r.message or r.status).strip()[:500]}" for r in failed if str(r.status) != "skipped")
            raise TransformError(
                f"dbt run ({self._step}): {len(failed)} of {len(results)} models not built; {said}; more in {self._logs / 'dbt.log'}"
            )
        return results

    def compiled(self) -> dict[str, str]:
        """Every model's SQL by table, and that of the scratch tables that its hooks make."""
        found = _queries(self._results("compile", ["--full-refresh"], lambda event: None))
        for node in self._manifest.nodes.values():
            for hook in node.config.pre_hook if node.resource_type == "model" else ():
                (made,) = self._results("compile", ["--inline", hook.sql], lambda event: None)
                if scratch := _SCRATCH.search(made.node.compiled_code):
                    found[scratch[1]] = made.node.compiled_code
        return found

    def test(self, schemas: tuple[str, ...]) -> list[Any]:
        """Run the tests of these schemas' tables that the step `check` does not ask; a failed one is a result, not an error."""
        nodes = self._manifest.nodes
        of_tables = [n for n in nodes.values() if n.resource_type == "test" and n.attached_node in nodes and nodes[n.attached_node].fqn[1] in schemas]
        names = sorted(n.name for n in of_tables if n.test_metadata is None or n.test_metadata.name not in suites.DBT_TESTS)
        if not names:
            return []
        with self._run.progress.task(f"dbt test {self._step}", total=len(names)) as task:
            return self._results("test", ["--select", *names], lambda event: task.advance() if event.info.name == "NodeFinished" else None)

    def _results(self, command: str, options: list[str], on_event: Callable[[Any], None]) -> list[Any]:
        self._run.engine.spark  # noqa: B018 - dbt finds the session through SPARK_REMOTE, which the engine sets
        outcome = self._invoke(command, ["--vars", json.dumps(self._variables), *options], on_event)
        return list(outcome.result.results)

    def _invoke(self, command: str, options: list[str], on_event: Callable[[Any], None] | None = None) -> Any:
        # dbt takes a second to import; a command that does not transform need not wait for it.
        from dbt.cli.main import dbtRunner

        arguments = ["--quiet", "--log-level", "none", "--log-level-file", "info", "--log-path", str(self._logs), "--no-send-anonymous-usage-stats"]
        # `check` reads the manifest; a parse writes it, and nobody reads the rest.
        arguments += [] if command == "parse" else ["--no-write-json"]
        arguments += [command, "--project-dir", str(self._folder), "--profiles-dir", str(self._folder), "--target-path", str(self._folder / "target")]
        # A Spark server spends more time on planning, which takes one core, than on rows.
        arguments += ["--threads", str(AT_A_TIME)] if command != "parse" and self._run.settings.engine != EMBEDDED else []
        manifest = None if command == "parse" else self._manifest
        outcome = dbtRunner(manifest=manifest, callbacks=[on_event] if on_event else []).invoke([*arguments, *options])
        if outcome.exception is not None:
            raise TransformError(f"dbt {command} ({self._step}): {outcome.exception}; more in {self._logs / 'dbt.log'}")
        return outcome


def _left_out(models: list[_Model], to_build: list[_Model]) -> list[str]:
    """Options that take from the models of a step those that need not be built. dbt asks every node for every path, so paths are few."""
    names = {m.name for m in to_build}
    others = [f"path:{m.path}" for m in models if m.name not in names]
    return ["--exclude", *others] if others else []


def _in_order(models: list[_Model]) -> list[_Model]:
    """The models, each after those above it."""
    return sorted(models, key=lambda m: (len(m.models_above), m.name))


def _reached(start: Iterable[str], beyond: Callable[[str], Iterable[str]]) -> set[str]:
    """What is named at the start and all that it leads to."""
    found: set[str] = set()
    ahead = list(start)
    while ahead:
        if (name := ahead.pop()) not in found:
            found.add(name)
            ahead += beyond(name)
    return found


class _Barriers:
    """Barriers beside every model and each of its statements that write, as dbt tells of them in one thread."""

    def __init__(self) -> None:
        self._writing = ""

    def hear(self, event: Any) -> None:
        kind, data = event.info.name, event.data
        if kind == "NodeStart":
            barrier("model.begun", data.node_info.node_name)
        elif kind == "NodeFinished":
            barrier("model.done", data.node_info.node_name)
        elif kind == "SQLQuery" and (found := _WRITES.search(data.sql)):
            self._writing = " ".join(found.groups())
            barrier("statement.begun", self._writing)
        elif kind == "SQLQueryStatus" and self._writing:
            barrier("statement.done", self._writing)
            self._writing = ""


def _clock(run: Run) -> str:
    """The run's "now" in UTC, as SQL's literals have it."""
    assert run.as_of is not None
    return f"{run.as_of.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}"


def _earliest(file: str) -> datetime:
    earliest: datetime = pc.min(pq.read_table(file, columns=["_received_at"]).column(0)).as_py()
    return earliest


def _queries(results: list[Any]) -> dict[str, str]:
    return {f"{r.node.schema}.{r.node.alias}": r.node.compiled_code for r in results if r.node.resource_type == "model"}


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
    return {"string": "string", "int64": "bigint", "double": "double", "bool": "boolean", "binary": "binary", "date32[day]": "date"}[str(kind)]


def _overlay(run: Run) -> Path | None:
    folder = run.settings.contracts / "models" if run.settings.contracts else None
    return folder if folder and folder.is_dir() else None


def _schemas_of_overlay(run: Run) -> list[str]:
    overlay = _overlay(run)
    known = {"staging", "mart", *LIBRARY}
    return sorted(p.name for p in overlay.iterdir() if p.is_dir() and p.name not in known) if overlay else []


def _digest(folder: Path, kinds: tuple[str, ...] = ("sql",)) -> str:
    digest = hashlib.sha256()
    parts = [folder / part for part in (_PROJECT if "yml" in kinds else ("models", "macros"))]
    for path in [folder / "dbt_project.yml", *(p for part in parts for kind in kinds for p in sorted(part.rglob(f"*.{kind}")))]:
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()
