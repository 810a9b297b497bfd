"""`gridlake land reconcile`: whether a set of files, a backfill for example, has been landed as its sender's manifest says."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
import pyarrow as pa
import pyarrow.dataset as ds
from rich.console import Console

from gridlake.cli import command_options, emit
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from streaming import receipts
from streaming.receipts import REPLAYED

MANIFEST = "_manifest.json"
_SHAPE = '{"files": [{"name": "2025-01.jsonl", "rows": 1000, "sha256": "<64 hex digits>"}, …]}'
_COLUMNS = ["_delivery_id", "file_name", "received", "accepted", "refused", "duplicate", "waiting", "state"]


@click.command("reconcile")
@click.option("--feed", required=True, help="<source>.<feed>")
@click.option("--sender", required=True, help="The sender's code.")
@click.option(
    "--manifest",
    type=click.Path(path_type=Path, dir_okay=False),
    help=f"The manifest. [default: {MANIFEST} in the sender's folder of the inbox]",
)
@command_options
def reconcile(settings: Settings, as_json: bool, feed: str, sender: str, manifest: Path | None) -> None:
    """Compare what was landed of a sender's files with its manifest: missing, extra and different files are told, and end with 1.

    \b
    _manifest.json lies beside the files (names that begin with _ are not landed), names below its own folder:
      {"files": [{"name": "2025-01.jsonl", "rows": 1000, "sha256": "9f86d0…"}, …]}
    Rows are those received: accepted, refused, duplicate and waiting ones.
    """
    run = Run.start(settings, quiet=True)
    name = feed.replace(".", "__", 1)
    if name not in set(run.contracts):
        raise RunError(f"--feed {feed}: expected <source>.<feed> of a contract; `gridlake feed list` has them")
    contract = run.contracts[name]
    folder = settings.inbox / contract.source / contract.feed / sender
    path = manifest or folder / MANIFEST
    below = path.parent.relative_to(folder).as_posix() if path.parent.is_relative_to(folder) else "."
    found = compare(_read(path), landed(run, name, sender, "" if below == "." else below + "/"))

    def text(console: Console) -> None:
        for kind, word in (("missing", "未到"), ("extra", "多余"), ("different", "不符")):
            for entry in found[kind]:
                said = "；".join(f"{what} {entry[what]['told']} → {entry[what]['landed']}" for what in ("rows", "sha256") if what in entry)
                console.print(f"{word} {kind}: {entry['name']}" + (f"：{said}" if said else ""), highlight=False, markup=False)
        rows = found["rows"]
        console.print(
            f"{found['equal']:,} of {found['files']:,} files are as told; {rows['landed']:,} rows landed, {rows['told']:,} told", highlight=False
        )

    emit(found, as_json=as_json, text=text)
    if found["missing"] or found["extra"] or found["different"]:
        sys.exit(1)


def landed(run: Run, feed: str, sender: str, below: str = "") -> dict[str, dict[str, Any]]:
    """By file name, without the folder `below`, the digest's first digits, rows and counts of what receipts say was landed."""
    if not run.tables.exists(receipts.TABLE):
        return {}
    where = (ds.field("feed") == feed) & (ds.field("sender_code") == sender) & (ds.field("state") != REPLAYED)
    rows: pa.Table = run.tables.read(receipts.TABLE, columns=_COLUMNS, where=where)
    found: dict[str, dict[str, Any]] = {}
    for row in rows.to_pylist():
        if not row["_delivery_id"].startswith("files:") or not row["file_name"].startswith(below):
            continue
        entry = found.setdefault(row["file_name"].removeprefix(below), {"rows": {}})
        delivery = row["_delivery_id"].rpartition("@")[2]
        entry["rows"][delivery] = entry["rows"].get(delivery, 0) + row["received"]
    return found


def compare(told: dict[str, dict[str, Any]], found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """{files, equal, rows: {told, landed}, missing, extra, different}; a file that was landed more than once counts by the delivery it is told as."""
    missing = [{"name": name} for name in sorted(told.keys() - found.keys())]
    extra = [{"name": name} for name in sorted(found.keys() - told.keys())]
    different, rows_landed = [], 0
    for name in sorted(told.keys() & found.keys()):
        digest, deliveries = told[name]["sha256"], found[name]["rows"]
        as_told = next((d for d in deliveries if digest.startswith(d)), None)
        rows = deliveries[as_told] if as_told is not None else sum(deliveries.values())
        rows_landed += rows
        entry: dict[str, Any] = {"name": name}
        if as_told is None:
            entry["sha256"] = {"told": digest, "landed": ", ".join(f"{d}…" for d in deliveries)}
        if rows != told[name]["rows"]:
            entry["rows"] = {"told": told[name]["rows"], "landed": rows}
        if len(entry) > 1:
            different.append(entry)
    return {
        "files": len(told),
        "equal": len(told) - len(missing) - len(different),
        "rows": {"told": sum(entry["rows"] for entry in told.values()), "landed": rows_landed},
        "missing": missing,
        "extra": extra,
        "different": different,
    }


def _read(path: Path) -> dict[str, dict[str, Any]]:
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {str(f["name"]): {"rows": int(f["rows"]), "sha256": str(f["sha256"]).lower()} for f in files}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RunError(f"{path}: expected a manifest {_SHAPE}; {type(error).__name__}: {error}") from error
