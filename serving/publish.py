"""Publication: what a run built becomes a snapshot, once, and `current` is switched to it in one rename.

A snapshot's id is a digest of its content (clock, cut, rows of the marts, declarations and code), so the same run twice
publishes the same snapshot and writes nothing. Marts that this run did not build are not published: they come from another cut.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import pyarrow as pa

from gridlake import catalogue, dictionary, lineage_events, mart_words, quality
from gridlake.barriers import barrier
from gridlake.catalogue import Catalogue, Table
from gridlake.contracts import Contracts
from gridlake.runs import Run
from gridlake.settings import Settings
from gridlake.table_pages import Seen
from gridlake.tables import fsync, write_file
from serving import mart_database
from serving.snapshots import CURRENT, DICTIONARY, MANIFEST, MARTS, Manifest, RegionSystem

# The folder in which a snapshot is put together; it is no snapshot, so nobody opens it, and the next publication clears it.
_UNFINISHED = ".unfinished"
_PACKAGES = ("gridlake", "streaming", "spark_jobs", "serving")
_BUILDING_STEPS = ("stage", "resolve", "build", "detect", "mart")


def publish(run: Run) -> dict[str, Any]:
    """Publish the run's marts; gives the snapshot's id and path, the rows of each mart, and whether it was there already.

    Raises PublicationStopped when a critical check failed, when the run was not checked, or when it built no mart.
    """
    quality.require_publishable(run)
    marts = _marts(run)
    folder = run.settings.home.absolute() / "snapshots"
    unfinished = folder / _UNFINISHED
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)

    digests = mart_database.write(run, marts, unfinished / MARTS, _last_marts(folder))
    systems = _region_systems(run, unfinished / MARTS) if "mart.region" in marts else {}
    known = catalogue.of_run(run)
    write_file(unfinished / DICTIONARY, _dictionary(run, known).encode())
    manifest = _manifest(run, systems, digests, unfinished)
    seen = _seen(run, known, manifest, unfinished / MARTS)
    dictionary.write_pages(run.contracts, run.vocabularies, run.settings.home.absolute() / "docs" / "dictionary", known, seen)
    target = folder / manifest.snapshot_id
    is_new = not target.exists()
    if is_new:
        write_file(unfinished / MANIFEST, manifest.to_json().encode())
        fsync(unfinished / MARTS)
        fsync(unfinished)
        barrier("publish.before_rename")
        unfinished.rename(target)
        barrier("publish.after_rename")
        fsync(folder)
    else:
        shutil.rmtree(unfinished)
    barrier("publish.before_switch")
    _switch(folder, manifest.snapshot_id)
    barrier("publish.after_switch")
    run.progress.say(f"  {'published' if is_new else 'already published:'} {manifest.snapshot_id}")
    rows = {name: manifest.tables[name]["rows"] for name in marts}
    told = lineage_events.emit(run, known, manifest.tables)
    return {"snapshot": {"id": manifest.snapshot_id, "path": str(target), "is_new": is_new}, "marts": rows, "lineage": told}


def code_digest(settings: Settings) -> str:
    """Digest of everything that decides what a run makes of its cut: installed sources, dbt project, declarations."""
    digest = hashlib.sha256()
    roots = [(name, Path(spec.origin).parent) for name in _PACKAGES if (spec := find_spec(name)) and spec.origin]
    roots += [("dbt", settings.project / "dbt"), ("expectations", settings.expectations)]
    roots += [("contracts", settings.contracts)] if settings.contracts else []
    for label, root in roots:
        for path in _sources(root):
            digest.update(f"{label}/{path.relative_to(root).as_posix()}\0{path.stat().st_size}\0".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _sources(root: Path) -> Iterator[Path]:
    made = {"__pycache__", "target", "logs"}
    return (p for p in sorted(root.rglob("*")) if p.is_file() and not made & set(p.relative_to(root).parts) and not p.name.startswith("."))


def _marts(run: Run) -> list[str]:
    built = run.steps.get("mart", {}).get("tables", {})
    marts = [name for name in run.tables.names() if name.startswith("mart.") and name in built]
    if not marts:
        raise quality.PublicationStopped(
            f"run {run.run_id}: expected marts built by this run, found none; do: gridlake mart --run-id {run.run_id}, then check and publish"
        )
    return marts


def _last_marts(folder: Path) -> Path | None:
    """The file of the snapshot that is current, None before the first."""
    path = folder / CURRENT / MARTS
    return path.resolve() if path.exists() else None


def _region_systems(run: Run, marts: Path) -> dict[str, RegionSystem]:
    assert run.as_of is not None
    with duckdb.connect(str(marts), read_only=True) as database:
        found = [str(row[0]) for row in database.execute("select distinct region_system from mart.region order by 1").fetchall()]
    zones = {system: _time_zone(run.contracts, system) for system in found}
    return {system: RegionSystem(zone, run.as_of.astimezone(ZoneInfo(zone)).date()) for system, zone in zones.items()}


def _time_zone(contracts: Contracts, region_system: str) -> str:
    feeds = [c for c in contracts.values() if c.region_system == region_system]
    # Business dates of the marts are those of the event feeds.
    feeds.sort(key=lambda c: (c.entity != "event", c.id))
    return feeds[0].time_zone if feeds else "UTC"


def _dictionary(run: Run, known: Catalogue) -> str:
    lists = {v.name: v.rows.to_pylist() for v in run.vocabularies.code_lists}
    document = {
        "feeds": {c.id: dictionary.document(c) for c in run.contracts.values()},
        "code_lists": lists,
        "marts": _marts_in_words(run, known),
        "models": _model_titles(run),
    }
    return json.dumps(document, ensure_ascii=False, sort_keys=True, default=str)


def _marts_in_words(run: Run, known: Catalogue) -> dict[str, dict[str, Any]]:
    """The words of every mart, and of each column that holds codes of a list which list that is, as the contracts say of what it is made of."""
    words = mart_words.read(run.settings)
    for name, mart in words.items():
        made = known.tables.get(f"mart.{name}")
        if made is None or not run.tables.exists(made.name):
            continue
        # What is counted by a code is no code.
        texts = {field.name for field in run.tables.schema(made.name) if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)}
        for column, said in mart["columns"].items():
            if column in texts and column in made.columns:
                said["code_list"] = made.columns[column].code_list
    return words


def _manifest(run: Run, systems: dict[str, RegionSystem], digests: dict[str, str], folder: Path) -> Manifest:
    assert run.as_of is not None
    built = {name for step in _BUILDING_STEPS for name in run.steps.get(step, {}).get("tables", {})}
    names = [n for n in run.tables.names() if n in built or n in run.cut]
    versions = {name: run.cut.get(name, run.tables.version(name)) for name in names}
    draft = Manifest(
        snapshot_id="",
        run_id=run.run_id,
        created_at=datetime.now(UTC),
        as_of=run.as_of,
        cut=dict(sorted(run.cut.items())),
        tables={name: {"version": versions[name], "rows": run.tables.row_count(name, versions[name])} for name in names},
        contracts={c.id: c.version for c in run.contracts.values()},
        models=_models(run),
        code_digest=code_digest(run.settings),
        checks={state: int(run.steps["check"]["checks"][state]) for state in ("passed", "failed")},
        files={path.name: _file_digest(path) for path in sorted(folder.iterdir())},
        region_systems=systems,
    )
    return replace(draft, snapshot_id=f"{draft.as_of:%Y%m%d}-{_content_digest(draft, digests)[:12]}")


def _seen(run: Run, known: Catalogue, manifest: Manifest, marts: Path) -> dict[str, Seen]:
    """What the dictionary shows of each table: rows, checks that failed, and of marts a value of each column that is not sensitive."""
    failed: dict[str, dict[str, str]] = {}
    for failure in run.steps["check"]["failures"]:
        # A reference or condition names its columns together.
        for column in str(failure["column"] or "").split(", "):
            failed.setdefault(str(failure["table"]), {})[column] = f"未通过（{failure['observed']}）"
    seen = {}
    with duckdb.connect(str(marts), read_only=True) as database:
        for name, table in known.tables.items():
            examples = _examples(database, table) if name in manifest.tables and name.startswith("mart.") else {}
            checked = {"": "通过", **{c.name: "通过" for c in table.columns.values() if c.checks}}
            rows = manifest.tables[name]["rows"] if name in manifest.tables else None
            seen[name] = Seen(rows, examples, {**checked, **failed.get(name, {})})
    return seen


def _examples(database: duckdb.DuckDBPyConnection, mart: Table) -> dict[str, str]:
    rows = mart_database.newest_rows(database, mart.name)
    # A snapshot leaves out what only partitions a table.
    published = {c[0] for c in database.execute(f"select * from {rows} limit 0").description}
    columns = [c.name for c in mart.columns.values() if c.name in published and c.classification in ("L1", "L2")]
    if not columns:
        return {}
    # The least one: the same rows give the same page.
    values = database.execute(f"select {', '.join(f'min({c})' for c in columns)} from {rows}").fetchone()
    return {name: str(value) for name, value in zip(columns, values or (), strict=True) if value is not None}


def _models(run: Run) -> dict[str, str]:
    return {name: str(found["version"]) for name, found in sorted(run.steps.get("detect", {}).get("findings", {}).items()) if "version" in found}


def _model_titles(run: Run) -> dict[str, str]:
    return {name: str(found.get("title", name)) for name, found in sorted(run.steps.get("detect", {}).get("findings", {}).items())}


def _content_digest(manifest: Manifest, digests: dict[str, str]) -> str:
    # Left out: who published it and when, the versions of rebuilt tables (they count rebuilds, not changes), and the bytes of
    # marts.duckdb (DuckDB promises equal rows, not equal files). Row counts and row digests stand for them.
    content = {
        "as_of": manifest.as_of.isoformat(),
        "cut": manifest.cut,
        "rows": {name: counts["rows"] for name, counts in manifest.tables.items()},
        "marts": digests,
        "contracts": manifest.contracts,
        "models": manifest.models,
        "code_digest": manifest.code_digest,
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _switch(folder: Path, snapshot_id: str) -> None:
    link = folder / CURRENT
    if link.is_symlink() and link.readlink().name == snapshot_id:
        return
    waiting = folder / f".{CURRENT}"
    waiting.unlink(missing_ok=True)
    waiting.symlink_to(snapshot_id)
    barrier("publish.between_link_and_switch")
    waiting.replace(link)
    fsync(folder)
