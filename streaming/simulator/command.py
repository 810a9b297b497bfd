"""`gridlake simulate`, and the simulation as the first part of `gridlake run` without --input."""

from __future__ import annotations

import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from gridlake import cli
from gridlake.progress import ProgressLog
from gridlake.runs import Run
from gridlake.settings import Settings
from streaming.simulator import province, replay
from streaming.simulator.event_feeds import Format
from streaming.simulator.province import Parameters


@click.command()
@click.option("--days", type=click.IntRange(7, 4000), default=Parameters.days, show_default=True, help="Days simulated, up to and with --until.")
@click.option("--events", type=click.IntRange(200, 50_000_000), default=Parameters.events, show_default=True, help="Events in these days.")
@click.option("--scale", type=click.FloatRange(0, 100, min_open=True), help="Instead of --events: so many times what the cities' residents report.")
@click.option("--seed", type=click.IntRange(0), default=Parameters.seed, show_default=True, help="The same seed gives the same bytes.")
@click.option("--until", type=click.DateTime(["%Y-%m-%d"]), default=Parameters.until.isoformat(), show_default=True, help="The last simulated day.")
@click.option(
    "--cities", default=",".join(Parameters.cities), show_default=True, help="The cities that have grids: 12-digit codes with commas between, or all."
)
@click.option("--villages", type=click.IntRange(1), help="At most so many villages a city, for a small province.")
@click.option(
    "--resident-share",
    type=click.FloatRange(0, 1),
    default=Parameters.resident_share,
    show_default=True,
    help="The share of all households and enterprises that departments send; key persons and key places are sent whole.",
)
@click.option(
    "--format", "event_format", type=click.Choice(["jsonl", "parquet"]), default=Parameters.format, show_default=True, help="Of the event feed."
)
@click.option("--spine", is_flag=True, help="Only regions, grids, teams, events and their steps, for millions of events.")
@click.option("--stream", is_flag=True, help="Then send its rows one by one, as JSON lines on stdout or with --into as files.")
@click.option(
    "--pace", type=click.FloatRange(0, min_open=True), help="Of a stream: so many seconds of the senders in one of ours; without it, at once."
)
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Of a stream: another inbox, in which a file a day and feed grows.")
@cli.command_options
def simulate(
    settings: Settings,
    as_json: bool,
    until: datetime,
    cities: str,
    event_format: Format,
    stream: bool,
    pace: float | None,
    into: Path | None,
    **parameters: Any,
) -> None:
    """Fill the inbox with a simulated province, and its _truth folder with what was injected into it."""
    if (pace or into) and not stream:
        raise click.UsageError("--pace and --into are of a stream; add --stream")
    document = province.simulate(
        settings.inbox,
        until=until.date(),
        cities=[c.strip() for c in cities.split(",") if c.strip()],
        format=event_format,
        **parameters,
        progress=ProgressLog(),
    )

    if stream:
        rows = replay.paced(replay.replay(settings.inbox), pace)
        count = replay.deliver(rows, into) if into else replay.print_out(rows, sys.stdout)
        ProgressLog().say(f"{count:,} rows of {settings.inbox} streamed")
        return

    def text(console: Console) -> None:
        verb = "already holds" if document["unchanged"] else "now holds"
        console.print(f"{settings.inbox} {verb} {document['files']} files, {document['bytes'] / 1e6:.0f} MB", highlight=False)
        console.print("  " + ", ".join(f"{feed} {rows:,} rows" for feed, rows in document["rows"].items()), highlight=False)
        console.print("  injected: " + ", ".join(f"{kind} {n:,}" for kind, n in document["findings"].items()), highlight=False)
        console.print("  dirt: " + ", ".join(f"{kind} {n:,}" for kind, n in document["dirt"].items()), highlight=False)
        console.print(f"Next: gridlake run --input {settings.inbox}", highlight=False)

    cli.emit(document, as_json=as_json, text=text)


def simulate_province(run: Run) -> dict[str, Any]:
    """The step: the inbox as it was simulated before, whatever with, or the default province where it is empty."""
    before = province.ledger(run.settings.inbox)
    if before and before["complete"]:
        run.progress.say(f"{run.settings.inbox} holds a simulated province already")
        return before | {"unchanged": True}
    parameters = before["parameters"] if before else Parameters().document
    return province.simulate(run.settings.inbox, **Parameters.read(parameters), progress=run.progress)
