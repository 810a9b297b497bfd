"""`gridlake feed check|list|diff|new`."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import click
from packaging.version import Version
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from gridlake import contracts, senders, vocabularies
from gridlake.cli import command_options, emit
from gridlake.contracts import Contract, ContractError, Contracts
from gridlake.contracts.check import Problem, check_files, contract_files
from gridlake.contracts.diff import Verdict, compare
from gridlake.contracts.load import SUFFIX
from gridlake.settings import Settings
from gridlake.tables import write_file

_LAYOUT = ("vocabularies", "senders")
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@click.group()
def feed() -> None:
    """Contracts of feeds: check, list, compare, begin a new one."""


@feed.command()
@click.argument("paths", metavar="[PATH…]", nargs=-1, type=click.Path(path_type=Path, exists=True))
@command_options
def check(settings: Settings, as_json: bool, paths: tuple[Path, ...]) -> None:
    """Look for what is wrong with contracts: PATHs (files or folders), or all built-in ones and those of --contracts."""
    settings = settings if settings.contracts or not paths else _beside(settings, paths[0])
    known = _known(settings)
    asked = contract_files(paths) if paths else known
    problems = check_files(asked, vocabularies.load_all(settings), _others(known, asked))
    document = {"checked": [str(p) for p in asked], "problems": [p.as_json() for p in problems]}
    emit(document, as_json=as_json, text=lambda console: _print_problems(console, asked, problems))
    if problems:
        sys.exit(1)


@feed.command("list")
@command_options
def list_feeds(settings: Settings, as_json: bool) -> None:
    """Every feed: what it is called, which entity it feeds, who may send it, what is sensitive in it."""
    known = contracts.load_all(settings)
    rights = senders.load_all(settings)
    document = [
        {
            "id": contract.id,
            "title": contract.title,
            "version": contract.version,
            "status": contract.status,
            "entity": contract.entity,
            "defines_entity": contract.defines is not None,
            "columns": len(contract.columns),
            "key": [c.name for c in contract.key],
            "senders": [s.code for s in rights.values() if s.may_send(contract.source, contract.feed, contract.version)],
            "sealed_columns": [c.name for c in contract.sealed_columns],
            "redacted_columns": [c.name for c in contract.columns if c.redact],
            "path": str(contract.path),
        }
        for contract in known.values()
    ]
    emit(document, as_json=as_json, text=lambda console: _print_list(console, known, document))


@feed.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@command_options
def diff(settings: Settings, as_json: bool, old: Path, new: Path) -> None:
    """What changed from OLD to NEW (two contract files, or two folders with their vocabularies), and whether the version number says so.

    To compare with what is committed: git worktree add /tmp/before HEAD && gridlake feed diff /tmp/before/expectations expectations
    """
    verdicts = compare(old, new)
    short = [v for v in verdicts if not v.suffices]
    emit({"suffices": not short, "feeds": [v.as_json() for v in verdicts]}, as_json=as_json, text=lambda console: _print_verdicts(console, verdicts))
    if short:
        sys.exit(1)


@feed.command()
@click.option(
    "--from", "sample", required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A CSV, JSONL, XLSX or Parquet file."
)
@click.option("--source", required=True, help="Who sends it, e.g. city_platform.")
@click.option("--feed", "feed_name", required=True, help="What it holds, e.g. event.")
@click.option("--conforms-to", "entity", help="The entity it feeds; writes the beginning of its map.")
@click.option(
    "--output", type=click.Path(path_type=Path, file_okay=False), help="The folder of contracts. [default: --contracts, else the built-in one]"
)
@command_options
def new(settings: Settings, as_json: bool, sample: Path, source: str, feed_name: str, entity: str | None, output: Path | None) -> None:
    """Begin the contract of a new feed from a sample; what a person must decide is marked `# DECIDE`.

    No ID number, phone, person's name or home address of the sample is written.
    """
    from gridlake.contracts import sample as samples
    from gridlake.contracts.skeleton import draft

    for name in (source, feed_name):
        if not _NAME.fullmatch(name):
            raise ContractError(f"{name!r}: expected small letters, digits and single underscores for --source and --feed; choose another name")
    folder = output or settings.contracts or settings.expectations / "contracts"
    path = folder / source / f"{feed_name}{SUFFIX}"
    if path.exists():
        raise ContractError(f"{path}: is there already; remove it first, or write elsewhere with --output")
    target = contracts.load_all(settings).defining(entity) if entity else None
    lists = vocabularies.load_all(settings)
    taken = samples.read(sample)
    guesses = samples.guess(taken, lists)
    text = draft(source, feed_name, taken, guesses, samples.sealed_values(taken, guesses), target)
    write_file(path, text.encode())
    problems = check_files([path], lists, _others(_known(settings), [path]))
    document = {
        "path": str(path),
        "rows": taken.row_count,
        "columns": {g.name: {"type": g.logical_type, "classification": g.classification, "decide": list(g.decide)} for g in guesses},
        "decide": [line.strip(" -") for line in text.splitlines() if "# DECIDE" in line],
        "problems": [p.as_json() for p in problems],
    }

    def show(console: Console) -> None:
        sealed = [g.name for g in guesses if g.classification == "L4"]
        console.print(f"{path}: {len(guesses)} columns from {taken.row_count:,} rows", highlight=False, soft_wrap=True)
        console.print(f"Class L4 (sealed at landing): {', '.join(sealed) or 'none found'}", highlight=False, markup=False)
        console.print(f"{text.count('# DECIDE')} places to decide are marked `# DECIDE` in the file.", highlight=False)
        _print_problems(console, [path], problems)
        console.print(f"Next: edit it, then `gridlake feed check {path}`", highlight=False, markup=False, soft_wrap=True)

    emit(document, as_json=as_json, text=show)


@feed.command()
@click.argument("feeds", metavar="[FEED…]", nargs=-1)
@click.option("--sender", "sender_code", help="Write this sender's own addresses and regions into it.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("manuals"), show_default=True, help="The folder to write into.")
@command_options
def guide(settings: Settings, as_json: bool, feeds: tuple[str, ...], sender_code: str | None, out: Path) -> None:
    """Write the connection manual (对接手册, docx) of FEEDs such as city_platform.event; of all feeds, or all of --sender, where none is named."""
    from gridlake.contracts import guide as manuals

    known, rights, lists = contracts.load_all(settings), senders.load_all(settings), vocabularies.load_all(settings)
    if sender_code is not None and sender_code not in rights:
        raise ContractError(f"--sender {sender_code}: no such sender; there are {', '.join(rights)}")
    for_whom = rights[sender_code] if sender_code is not None else None
    chosen = [known[name] for name in (_id_of(name, known) for name in feeds)] or [
        c for c in known.values() if for_whom is None or for_whom.may_send(c.source, c.feed, c.version)
    ]
    written = []
    for contract in chosen:
        path = out / f"{contract.source}.{contract.feed}-{contract.version}.docx"
        write_file(path, manuals.write(contract, lists, for_whom))
        written.append(path)
    text = "\n".join(map(str, written))
    emit(
        {"manuals": [str(p) for p in written]},
        as_json=as_json, text=lambda console: console.print(text, highlight=False, markup=False, soft_wrap=True),
    )  # fmt: skip


def _id_of(name: str, known: Contracts) -> str:
    found = [c.id for c in known.values() if name.replace("__", ".") in {f"{c.source}.{c.feed}", c.feed}]
    if len(found) != 1:
        said = f"{name} is any of {', '.join(found)}: say which" if found else f"no feed {name}; there are {', '.join(known)}"
        raise ContractError(said)
    return found[0]


def _beside(settings: Settings, path: Path) -> Settings:
    """With the vocabularies and senders that lie beside a contract given by path: its root is then used like --contracts."""
    root = path.parent.parent if path.is_file() else path
    if root.resolve().is_relative_to(settings.expectations.resolve()) or not any((root / name).is_dir() for name in _LAYOUT):
        return settings
    return settings.model_copy(update={"contracts": root})


def _known(settings: Settings) -> list[Path]:
    """The built-in contracts and those of --contracts, where it has any."""
    given = sorted(settings.contracts.glob(f"*/*{SUFFIX}")) if settings.contracts else []
    return [*contract_files([settings.expectations / "contracts"]), *given]


def _others(known: list[Path], asked: list[Path]) -> list[Path]:
    given = {p.resolve() for p in asked}
    return [p for p in known if p.resolve() not in given]


def _print_problems(console: Console, files: list[Path], problems: list[Problem]) -> None:
    for problem in problems:
        console.print(f"[red]{escape(str(problem.file))}[/red]: {escape(problem.place)}", highlight=False, soft_wrap=True)
        console.print(f"    expected {escape(problem.expected)}", highlight=False, soft_wrap=True)
        console.print(f"    came     {escape(problem.came)}", highlight=False, soft_wrap=True)
        console.print(f"    do       {escape(problem.remedy)}", highlight=False, soft_wrap=True)
    faulty = len({p.file for p in problems})
    console.print(
        f"{len(files)} contracts checked, {len(problems)} problems in {faulty} of them" if problems else f"{len(files)} contracts checked, no problem"
    )


def _print_list(console: Console, known: Contracts, document: list[dict[str, Any]]) -> None:
    table = Table(title=f"{len(document)} feeds")
    table.add_column("id, 名称", no_wrap=True)
    table.add_column("version", no_wrap=True)
    table.add_column("entity", overflow="fold")
    table.add_column("columns", justify="right")
    table.add_column("senders", justify="right")
    table.add_column("sensitive", no_wrap=True)
    for row in document:
        contract: Contract = known[row["id"]]
        sensitive = [f"{c.name} L4" for c in contract.sealed_columns] + [f"{c.name} text" for c in contract.columns if c.redact]
        version = row["version"] if row["status"] == "active" else f"{row['version']} {row['status']}"
        table.add_row(
            f"{row['id']}\n{row['title']}", version, row["entity"] or "", str(row["columns"]), str(len(row["senders"])), "\n".join(sensitive)
        )
    console.print(table)


def _print_verdicts(console: Console, verdicts: list[Verdict]) -> None:
    colours = {"breaking": "red", "meaning-changing": "yellow", "additive": "green", "wording": "dim"}
    if not verdicts:
        console.print("no difference")
    for verdict in verdicts:
        versions = f" {verdict.old_version} → {verdict.new_version}" if verdict.old_version and verdict.new_version else ""
        console.print(f"[bold]{verdict.feed}[/bold]{versions}", highlight=False)
        if not verdict.changes:
            console.print("  no difference")
        for change in verdict.changes:
            colour = colours[change.kind]
            console.print(f"  [{colour}]{change.kind}[/{colour}] {escape(change.place)}: {escape(change.what)}", highlight=False, soft_wrap=True)
            console.print(f"      sender: {escape(change.sender)}", highlight=False, soft_wrap=True)
        if verdict.new_version is None and not verdict.suffices:
            console.print("  [red]FAIL[/red] a feed leaves in two steps; do: set status: deprecated in one release, remove the file in a later one")
        elif verdict.needed_version and not verdict.suffices:
            needed = Version(verdict.needed_version)
            console.print(
                f"  [red]FAIL[/red] version {verdict.new_version} came, at least {needed} expected; do: set version: {needed}", highlight=False
            )
        elif verdict.needed_version and verdict.changes:
            console.print(f"  ok: {verdict.new_version} says it (at least {verdict.needed_version})", highlight=False)
