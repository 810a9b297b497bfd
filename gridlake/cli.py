"""`gridlake …`: the steps, the whole run, and whatever commands the rooms add by entry points."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake import __version__, runs
from gridlake.contracts import ContractError
from gridlake.credentials import CredentialError
from gridlake.engine import EngineError
from gridlake.runs import LIBRARY, STEPS, Run, RunError
from gridlake.senders import SenderError
from gridlake.settings import Settings
from gridlake.tables import DiskFull, Fenced, Held
from gridlake.vocabularies import VocabularyError

# Errors whose message is written for the person at the terminal; anything else is a bug and keeps its traceback.
EXPECTED_ERRORS = (ContractError, SenderError, CredentialError, VocabularyError, RunError, EngineError, Fenced, Held, DiskFull)

# A log file or a pipe has no edge; this shows the widest table in whole words.
_WIDTH_OF_FILES = 140

HELP = {
    "land": "Land the inbox: accepted rows to bronze, refused rows (sealed, with reasons) to quarantine, a receipt for each delivery.",
    "stage": "One row per key, mapped to the entity's columns: newest version, deletes kept as such (dbt).",
    "resolve": "Region closure, grid codes, who is one person, crosswalk of local ids.",
    "build": "The libraries: theme, item, business, sharing (dbt).",
    "detect": "Factors and findings of every model, with reasons and evidence.",
    "mart": "Counts by region and time that people read (dbt).",
    "check": "Great Expectations suites derived from contracts and dbt YAML; a broken critical one stops publication.",
    "publish": "A snapshot: manifest and one DuckDB of marts, switched atomically.",
    "report": "What is due of the reports, for the top regions: docx and html. All regions and more: gridlake report make.",
}


def command_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --json, --home, --inbox, --contracts, --as-of; the command gets `settings` and `as_json`, expected errors exit with 1."""

    @click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout, everything else on stderr.")
    @click.option("--home", type=click.Path(path_type=Path), help="The lake's folder [GRIDLAKE_HOME, default ./lake].")
    @click.option("--inbox", type=click.Path(path_type=Path), help="Where senders' files lie [GRIDLAKE_INBOX, default ./inbox].")
    @click.option("--contracts", type=click.Path(path_type=Path), help="A folder of further contracts, senders, vocabularies and models.")
    @click.option("--as-of", type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M:%SZ"]), help="Fixes 'now', in UTC.")
    @functools.wraps(function)
    def wrapped(
        *args: Any, as_json: bool, home: Path | None, inbox: Path | None, contracts: Path | None, as_of: datetime | None, **options: Any
    ) -> None:
        given: dict[str, Any] = {"home": home, "inbox": inbox, "contracts": contracts, "as_of": as_of.replace(tzinfo=UTC) if as_of else None}
        settings = Settings(**{name: value for name, value in given.items() if value is not None})
        try:
            function(*args, settings=settings, as_json=as_json, **options)
        except EXPECTED_ERRORS as error:
            fail(error, as_json=as_json)

    return wrapped


def emit(document: Any, *, as_json: bool, text: Callable[[Console], None]) -> None:
    """Print the JSON document, or the text for people."""
    if as_json:
        click.echo(json.dumps(document, ensure_ascii=False, indent=1, default=str))
    else:
        text(Console() if sys.stdout.isatty() else Console(width=_WIDTH_OF_FILES))


def fail(error: Exception, *, as_json: bool) -> None:
    """End with exit code 1 and the error where the reader looks for it."""
    if as_json:
        click.echo(json.dumps({"error": type(error).__name__, "message": str(error)}, ensure_ascii=False))
    click.echo(f"gridlake: {error}", err=True)
    sys.exit(1)


class Commands(click.Group):
    """The built-in commands and those of an entry-point group, loaded when asked for."""

    def __init__(self, *arguments: Any, found_in: str = "gridlake.commands", **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._found_in = found_in

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return sorted({*super().list_commands(ctx), *(e.name for e in entry_points(group=self._found_in))})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        built_in = super().get_command(ctx, cmd_name)
        if built_in is not None:
            return built_in
        for entry in entry_points(group=self._found_in, name=cmd_name):
            loaded = entry.load()
            return loaded if isinstance(loaded, click.Command) else None
        return None


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """gridlake: the lakehouse for grid-based social governance.

    \b
    gridlake run                       a simulated province, from its feeds to a published report
    gridlake run --input DIR           the same on your files: DIR/<source>/<feed>/<sender>/<file>
    gridlake feed new --from a.csv     a contract for a new feed
    gridlake explain event <id>        where one record came from and what became of it
    """


def _own_options(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that only this step has."""
    if name == "build":
        return click.option("--library", type=click.Choice(LIBRARY), help="Only this one; those that it reads come first. Default: all, in one go.")
    return lambda function: function


def _add_step(name: str) -> None:
    below = f"gridlake.commands.{name}"
    # A step that rooms have added commands to is itself still a command.
    kind: dict[str, Any] = {"cls": Commands, "found_in": below, "invoke_without_command": True} if entry_points(group=below) else {}

    @main.command(name, help=HELP[name], short_help=HELP[name].split(":")[0].split(".")[0], **kind)
    @_own_options(name)
    @click.option("--run-id", help="The run this step belongs to; a DAG passes the same id to every step. Default: a new run on what is landed.")
    @click.pass_context
    @command_options
    def step(context: click.Context, settings: Settings, as_json: bool, run_id: str | None, **options: str | None) -> None:
        if context.invoked_subcommand:
            return
        with runs.only_writer(settings):
            run = Run.resume(settings, run_id) if run_id else Run.start(settings)
            try:
                result = run.perform(name, **{option: value for option, value in options.items() if value is not None})
            except _stopping() as error:
                fail(error, as_json=as_json)
            finally:
                run.close()
        emit({"run_id": run.run_id, **result}, as_json=as_json, text=lambda console: console.print_json(data=result, default=str))


for _name in STEPS:
    _add_step(_name)


@main.command()
@click.option("--input", "inbox_folder", type=click.Path(path_type=Path, exists=True), help="Land these files instead of the simulated province.")
@command_options
def run(settings: Settings, as_json: bool, inbox_folder: Path | None) -> None:
    """The whole main job: land, stage, resolve, build, detect, mart, check, publish, report.

    Without --input a province is simulated first (once; the same files are used again). Running it again lands only what is new.
    """
    started = time.monotonic()
    if inbox_folder:
        settings = settings.model_copy(update={"inbox": inbox_folder})
    with runs.only_writer(settings):
        current = Run.start(settings)
        try:
            names = STEPS if inbox_folder else ("simulate", *STEPS)
            for number, name in enumerate(names, 1):
                current.progress.say(f"[{number}/{len(names)}] {name}")
                current.perform(name)
            current.state = "done"
        except _stopping() as error:
            current.state = "stopped"
            fail(error, as_json=as_json)
        finally:
            # On a full disk the ledger cannot say so either; the error does.
            with contextlib.suppress(DiskFull) if current.state == "stopped" else contextlib.nullcontext():
                current.save()
            current.close()
    document = summary(current, time.monotonic() - started)
    emit(document, as_json=as_json, text=lambda console: _print_summary(console, document, settings))


def _stopping() -> tuple[type[Exception], ...]:
    from gridlake.quality import PublicationStopped

    return (*EXPECTED_ERRORS, PublicationStopped)


def summary(current: Run, seconds: float) -> dict[str, Any]:
    """What `gridlake run --json` prints; the keys are part of the public face."""
    steps = current.steps
    feeds = {
        feed: {state: counts[state] for state in ("received", "accepted", "refused", "duplicate", "waiting")} | counts
        for feed, counts in steps["land"]["feeds"].items()
    }
    return {
        "run_id": current.run_id,
        "engine": current.settings.engine,
        "as_of": current.as_of.isoformat() if current.as_of else None,
        "seconds": round(seconds, 1),
        "step_seconds": {step: taken["seconds"] for step, taken in current.footprints.items()},
        "footprints": current.footprints,
        "peak_rss_mb": max(taken["peak_rss_mb"] for taken in current.footprints.values()),
        "feeds": feeds,
        "refusals": steps["land"].get("refusals", {}),
        "tables": {name: rows for step in ("stage", "resolve", "build", "detect", "mart") for name, rows in steps[step].get("tables", {}).items()},
        "checks": steps["check"]["checks"],
        "failed_checks": steps["check"]["failures"],
        "findings": steps["detect"]["findings"],
        "snapshot": steps["publish"]["snapshot"],
        "reports": steps["report"]["reports"],
    }


def _print_summary(console: Console, document: dict[str, Any], settings: Settings) -> None:
    feeds = Table(title="Feeds: received = accepted + refused + duplicate + waiting")
    states = ("received", "accepted", "refused", "duplicate", "waiting", "already_landed")
    feeds.add_column("feed", overflow="fold")
    for state in states:
        feeds.add_column("files landed before" if state == "already_landed" else state, justify="right")
    for feed, counts in document["feeds"].items():
        feeds.add_row(feed, *(f"{counts.get(s, 0):,}" for s in states))
    console.print(feeds)
    for feed, reasons in document["refusals"].items():
        for reason, count in sorted(reasons.items(), key=lambda item: -item[1])[:5]:
            # A rule of severity warning refuses nothing; landing counts it as `warning:<rule>`.
            _, _, rule = reason.rpartition("warning:")
            console.print(f"  {'refused' if rule == reason else 'warned of'} {feed}: {rule} × {count:,}", highlight=False)
    tables = Table(title="Tables")
    tables.add_column("table")
    tables.add_column("rows", justify="right")
    for name, rows in sorted(document["tables"].items()):
        tables.add_row(name, f"{rows:,}")
    console.print(tables)
    checks = document["checks"]
    console.print(
        f"Checks: {checks['passed']:,} passed, {checks['failed']:,} failed, of these critical: {checks['critical_failed']}", highlight=False
    )
    for failure in document["failed_checks"]:
        console.print(f"  {failure['severity']}: {failure['table']}: {failure['title']} ({failure['observed']})", highlight=False)
    for model, found in document["findings"].items():
        measured = "" if found.get("precision") is None else f", precision {found['precision']:.3f}, recall {found['recall']:.3f} against the truth"
        console.print(f"Findings: {model}: {found['count']:,}{measured}", highlight=False)
    console.print(f"Snapshot: {document['snapshot']['id']}  {document['snapshot']['path']}", highlight=False)
    for report in document["reports"]:
        console.print(f"Report: {report}", highlight=False, soft_wrap=True)
    console.print(f"Took {document['seconds']} s, {document['peak_rss_mb']} MB at the peak. As of {document['as_of']}.", highlight=False)
    home = "" if settings.home == Path("lake") else f" --home {settings.home}"
    console.print(f"Next: gridlake serve{home} · gridlake runs{home} · gridlake explain event <id>{home} · gridlake feed list", highlight=False)


@main.command("runs")
@command_options
def list_runs(settings: Settings, as_json: bool) -> None:
    """Every run of this lake: when, how it ended, seconds, snapshot."""
    found = runs.entries(settings)

    def text(console: Console) -> None:
        table = Table(title=f"Runs of {settings.home}")
        for column in ("run", "state", "as of", "seconds", "rows accepted", "snapshot"):
            table.add_column(column)
        for entry in found:
            accepted = sum(f["accepted"] for f in entry["steps"].get("land", {}).get("feeds", {}).values())
            snapshot = entry["steps"].get("publish", {}).get("snapshot", {}).get("id", "")
            table.add_row(
                entry["run_id"],
                entry["state"],
                entry["as_of"] or "",
                f"{sum(taken['seconds'] for taken in entry['footprints'].values()):.1f}",
                f"{accepted:,}",
                snapshot,
            )
        console.print(table)

    emit(found, as_json=as_json, text=text)


@main.command()
@command_options
def doctor(settings: Settings, as_json: bool) -> None:
    """Look whether this machine, this lake and these declarations are fit to run; says what to do where they are not."""
    from gridlake.doctor import examine

    findings = examine(settings)

    def text(console: Console) -> None:
        for finding in findings:
            console.print(f"{'ok  ' if finding['ok'] else 'FAIL'} {finding['what']}: {finding['found']}", highlight=False, soft_wrap=True)
            if not finding["ok"]:
                console.print(f"     do: {finding['do']}", highlight=False, soft_wrap=True)

    emit(findings, as_json=as_json, text=text)
    if not all(f["ok"] for f in findings):
        sys.exit(1)
