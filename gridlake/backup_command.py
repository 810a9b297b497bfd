"""`gridlake backup` and `gridlake restore` as commands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake import backup as backups
from gridlake.cli import command_options, emit
from gridlake.progress import ProgressLog
from gridlake.settings import Settings


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
@click.option("--drill", is_flag=True, help="Make none; restore the newest into a folder for a moment and compare every table.")
@click.option("--verify", is_flag=True, help="Make none; read every content of every backup and compare its digest.")
@click.option("--list", "list_only", is_flag=True, help="Make none; list those there are.")
@click.option("--libraries", is_flag=True, help="Also the tables that a run makes anew: a restored lake need not be built before it is read.")
@click.option("--with-keys", is_flag=True, help="Also the keys: whoever has this backup then reads every ID number and phone in it.")
@click.option("--keep", type=click.IntRange(1), help="Afterwards remove all but so many of the newest backups.")
@click.option(
    "--within", type=click.Path(path_type=Path, file_okay=False, exists=True), help="Of a drill: where it restores. [default: temporary folder]"
)
@command_options
def backup(
    settings: Settings,
    as_json: bool,
    target: Path,
    drill: bool,
    verify: bool,
    list_only: bool,
    libraries: bool,
    with_keys: bool,
    keep: int | None,
    within: Path | None,
) -> None:
    """Copy the lake as it is at one moment to the folder TARGET, while it is being landed into; later calls copy only what is new.

    \b
    gridlake backup /mnt/backup/lake             one backup more
    gridlake backup /mnt/backup/lake --drill     can it be restored? exit code 0 says yes
    gridlake restore /mnt/backup/lake --home new_lake

    The keys are not in it unless asked for: keep them elsewhere, for without them nothing that is sealed can be read again.
    """
    if sum((drill, verify, list_only)) > 1:
        raise click.UsageError("--drill, --verify and --list are one call each")
    progress = ProgressLog()
    if drill:
        found = backups.drill(target, settings.keys, progress, within=within)
        if found["keys"] == "wrong":
            raise backups.BackupError(f"{settings.keys}: these keys do not open what is sealed in the backup; find those it was sealed with")
        emit(found, as_json=as_json, text=lambda console: _print_restored(console, found, "A drill: restored, compared, removed again"))
    elif verify:
        found = backups.verify(target, progress)
        emit(found, as_json=as_json, text=lambda console: console.print(_verified(found), highlight=False))
    elif list_only:
        there = backups.listed(target)
        emit(there, as_json=as_json, text=lambda console: _print_list(console, there))
    else:
        found = backups.take(settings, target, progress, with_keys=with_keys, libraries=libraries, keep=keep)
        emit(found, as_json=as_json, text=lambda console: _print_taken(console, found, settings))
        if with_keys:
            click.echo(
                f"WARNING: the keys of this lake now lie in {target}. Whoever reads that folder reads every ID number, phone and name in it: "
                "guard it like the keys themselves, and never send it anywhere.",
                err=True,
            )


@click.command()
@click.argument("target", type=click.Path(path_type=Path, file_okay=False, exists=True))
@click.option("--backup", "backup_id", help="Which; the newest without it. `gridlake backup TARGET --list` names them.")
@command_options
def restore(settings: Settings, as_json: bool, target: Path, backup_id: str | None) -> None:
    """Restore a backup from TARGET into an empty --home, compare each file with its digest and open every table.

    Stop every lander of the old lake first: two lakes would answer the same senders. Then put the keys at <home>.keys.json, and
    `gridlake run` makes the libraries anew and lands what came after the backup.
    """
    found = backups.restore(target, settings.home, settings.keys, ProgressLog(), backup_id=backup_id, private=settings.private_files)
    emit(found, as_json=as_json, text=lambda console: _print_restored(console, found, f"Restored into {settings.home}"))
    if found["keys"] in {"missing", "wrong"}:
        click.echo(f"WARNING: {settings.keys}: the keys are {found['keys']}; put those of the old lake there before anything is landed.", err=True)


def _verified(found: dict[str, Any]) -> str:
    return f"{found['backups']} backups, {found['objects']:,} contents of {found['bytes'] / 1e6:,.1f} MB: every digest is right"


def _print_taken(console: Console, found: dict[str, Any], settings: Settings) -> None:
    console.print(
        f"Backup {found['backup_id']}: {found['files']:,} files of {found['bytes'] / 1e6:,.1f} MB, of these new {found['new_files']:,} "
        f"of {found['new_bytes'] / 1e6:,.1f} MB; {len(found['tables'])} tables, {sum(t['rows'] for t in found['tables'].values()):,} rows",
        highlight=False,
    )
    if not found["keys"]:
        console.print(f"Not in it: the keys, {settings.keys}. Keep a copy elsewhere; without them what is sealed is lost.", highlight=False)
    for removed in found["removed_backups"]:
        console.print(f"Removed: {removed}", highlight=False)
    console.print(f"Next: gridlake backup {found['path']} --drill", highlight=False)


def _print_restored(console: Console, found: dict[str, Any], title: str) -> None:
    table = Table(title=title)
    table.add_column("table", overflow="fold")
    for column in ("version", "rows"):
        table.add_column(column, justify="right")
    for name, counts in sorted(found["tables"].items()):
        table.add_row(name, f"{counts['version']:,}", f"{counts['rows']:,}")
    console.print(table)
    console.print(
        f"Backup {found['backup_id']}: {found['files']:,} files of {found['bytes'] / 1e6:,.1f} MB in {found['seconds']} s; every digest, version, "
        f"row count and state is as it was. Keys: {found['keys']}",
        highlight=False,
    )


def _print_list(console: Console, there: list[dict[str, Any]]) -> None:
    table = Table(title="Backups")
    for column in ("backup", "taken at", "files", "MB", "keys"):
        table.add_column(column)
    for found in there:
        size = f"{found['bytes'] / 1e6:,.1f}"
        table.add_row(found["backup_id"], found["taken_at"], f"{found['files']:,}", size, "in it" if found["has_keys"] else "")
    console.print(table)
