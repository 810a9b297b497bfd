"""`gridlake maintain`: small files made large, logs given checkpoints, rows past their retention deleted, files that nothing names removed.

Safe beside landers and runs: what it writes gives way to what they write. It never removes a file that the newest version, a run of the ledger or a
published snapshot names; nor a commit or file younger than a day, which a reader or writer may be about to use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import pyarrow.dataset as ds
from rich.console import Console
from rich.table import Table

from gridlake import cli, contracts, runs
from gridlake.progress import ProgressLog
from gridlake.runs import CUT_SCHEMAS, CUT_TABLES
from gridlake.settings import Settings
from gridlake.tables import Change, Tables, Unsupported, fsync

# How long files and commits outlive what named them: longer than any run reads, or any lander takes from file to commit.
GRACE = timedelta(days=1)
# Checkpoints of tables that take small commits all day; until then delta-rs makes one at every hundredth.
COMMITS_TO_CHECKPOINT = 20
_BLOBS = "quarantine_blobs"


@dataclass(frozen=True)
class Kept:
    """The versions of each table that runs and snapshots name, and how many of these do."""

    versions: Mapping[str, frozenset[int]]
    runs: int
    snapshots: int

    def of(self, name: str) -> frozenset[int]:
        """Of one table."""
        return self.versions.get(name, frozenset())


def kept(settings: Settings, *, since: datetime | None = None) -> Kept:
    """What the ledger and the published snapshots name. `since` leaves out older runs and, but for the current one, older snapshots."""
    entries = [e for e in runs.entries(settings) if since is None or datetime.fromisoformat(e["received_at"]) >= since]
    folder = settings.home / "snapshots"
    current = (folder / "current").readlink().name if (folder / "current").is_symlink() else None
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("[0-9]*/manifest.json"))]
    manifests = [m for m in manifests if since is None or m["snapshot_id"] == current or datetime.fromisoformat(m["created_at"]) >= since]
    # What the steps of dbt were built from last: the next build asks what has come since.
    built = [json.loads(path.read_text(encoding="utf-8")) for path in sorted((settings.home / "dbt").glob("*.built.json"))]
    found: dict[str, set[int]] = {}
    for cut in [*(e["cut"] for e in entries), *(m["cut"] for m in manifests), *(b.get("cut") or {} for b in built)]:
        for name, version in cut.items():
            found.setdefault(name, set()).add(int(version))
    for manifest in manifests:
        for name, published in manifest["tables"].items():
            found.setdefault(name, set()).add(int(published["version"]))
    return Kept({name: frozenset(versions) for name, versions in found.items()}, len(entries), len(manifests))


@click.command()
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option(
    "--forget-days",
    type=click.IntRange(1),
    help="Runs and snapshots older than so many days no longer hold files, and their lineage goes; their numbers cannot be recomputed then. "
    "[default: all hold]",
)
@cli.command_options
def maintain(settings: Settings, as_json: bool, dry_run: bool, forget_days: int | None) -> None:
    """Make small files large, give logs checkpoints, delete what is past its retention, remove what nothing names.

    Runs beside landers and runs; once a day, after the run, is enough. Rows are deleted only where a contract says how long they are kept:

    \b
      - {property: gridlake.retention, value: {bronze: 1095 days, quarantine: 180 days}}

    What bronze no longer has, the libraries forget at the next run, which builds them anew. Files stay as long as a run of the ledger or a
    snapshot names them; --forget-days lets old ones go.
    """
    document = perform(settings, ProgressLog(), dry_run=dry_run, forget_days=forget_days)
    cli.emit(document, as_json=as_json, text=lambda console: _print(console, document))


def perform(settings: Settings, progress: ProgressLog, *, dry_run: bool = False, forget_days: int | None = None) -> dict[str, Any]:
    """Maintain every table; gives {dry_run, kept: {runs, snapshots}, tables: {name: counts and bytes}, blobs_removed, lineage_removed, total}."""
    tables, now = Tables(settings.tables), settings.as_of or datetime.now(UTC)
    since = now - timedelta(days=forget_days) if forget_days else None
    held = kept(settings, since=since)
    retention = {f"{schema}.{c.id}": period for c in contracts.load_all(settings).values() for schema, period in c.retention.items()}
    names = tables.names()
    done: dict[str, dict[str, Any]] = {}
    blobs = 0
    with progress.task("维护", total=len(names)) as task:
        for name in names:
            done[name] = _maintain(settings, tables, name, held, now - retention[name] if name in retention else None, dry_run=dry_run)
            if name.startswith("quarantine.") and done[name]["rows_removed"]:
                blobs += _remove_blobs(settings, tables, name, held, dry_run=dry_run)
            task.advance()
    total = sum((Change(**{k: v for k, v in counts.items() if k in Change.__dataclass_fields__}) for counts in done.values()), Change())
    return {
        "dry_run": dry_run,
        "kept": {"runs": held.runs, "snapshots": held.snapshots},
        "tables": done,
        "blobs_removed": blobs,
        "lineage_removed": _remove_lineage(settings, since, dry_run=dry_run) if since else 0,
        "total": asdict(total),
    }


def _maintain(settings: Settings, tables: Tables, name: str, held: Kept, before: datetime | None, *, dry_run: bool) -> dict[str, Any]:
    change, said, checkpointed = Change(), "", False
    # Tables of the engine are made anew by runs, which look at their files to see what has changed; only what they leave behind is removed.
    if name.partition(".")[0] in CUT_SCHEMAS or name in CUT_TABLES:
        try:
            if before is not None:
                change += _forget(settings, tables, name, before, dry_run=dry_run)
            change += tables.compact(name, dry_run=dry_run)
            checkpointed = tables.checkpoint(name, COMMITS_TO_CHECKPOINT, dry_run=dry_run)
        except Unsupported as error:
            said = str(error)
    change += tables.sweep(name, held.of(name), GRACE, dry_run=dry_run)
    return {**asdict(change), "checkpoint": checkpointed, "said": said}


def _forget(settings: Settings, tables: Tables, name: str, before: datetime, *, dry_run: bool) -> Change:
    change = tables.forget(name, "_received_at", before, dry_run=dry_run)
    built = settings.home / "dbt" / "stage.built.json"
    if change.rows_removed and not dry_run and name.startswith("bronze.") and built.exists():
        # An increment would keep the rows that bronze has forgotten.
        built.unlink()
        fsync(built.parent)
    return change


def _remove_blobs(settings: Settings, tables: Tables, name: str, held: Kept, *, dry_run: bool) -> int:
    """Remove sealed files that no row names any more, of those that lie there for a day at least."""
    folder = settings.home / _BLOBS / name.partition(".")[2]
    versions = [None, *held.of(name)]
    has_reference = ds.field("payload_ref").is_valid()
    named = {r for v in versions for r in tables.read(name, version=v, columns=["payload_ref"], where=has_reference).column(0).to_pylist()}
    limit = datetime.now(UTC) - GRACE
    old = [p for p in folder.glob("*.sealed") if datetime.fromtimestamp(p.stat().st_mtime, UTC) < limit]
    gone = [p for p in old if p.relative_to(settings.home).as_posix() not in named]
    for path in gone if not dry_run else ():
        path.unlink()
    return len(gone)


def _remove_lineage(settings: Settings, since: datetime, *, dry_run: bool) -> int:
    """Remove what runs before a moment wrote of their lineage, some 4 MB each."""
    old = {e["run_id"] for e in runs.entries(settings) if datetime.fromisoformat(e["received_at"]) < since}
    gone = [p for p in (settings.home / "lineage").glob("*.ndjson") if p.stem in old]
    for path in gone if not dry_run else ():
        path.unlink()
    return len(gone)


def _print(console: Console, document: dict[str, Any]) -> None:
    table = Table(title="Would be done" if document["dry_run"] else "Done")
    table.add_column("table", overflow="fold")
    for column in ("files made one", "of them left", "rows past retention", "files removed", "MB freed", "commits removed", "checkpoint"):
        table.add_column(column, justify="right")
    for name, counts in document["tables"].items():
        if any(v for k, v in counts.items() if k != "said"):
            table.add_row(
                name,
                *(f"{counts[k]:,}" for k in ("files_removed", "files_added", "rows_removed", "files_swept")),
                f"{counts['bytes_swept'] / 1e6:,.1f}",
                f"{counts['commits_removed']:,}",
                "yes" if counts["checkpoint"] else "",
            )
        if counts["conflicts"]:
            console.print(f"{name}: another writer replaced the same files; nothing done, the next call will", highlight=False)
        if counts["said"]:
            console.print(counts["said"], highlight=False)
    console.print(table)
    held = document["kept"]
    console.print(
        f"{len(document['tables'])} tables; {held['runs']} runs and {held['snapshots']} snapshots hold the files they name; "
        f"{document['blobs_removed']} sealed files and the lineage of {document['lineage_removed']} runs removed",
        highlight=False,
    )
