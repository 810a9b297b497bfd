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
from streaming.kafka.broker import Connection
from streaming.kafka.sink import Sink
from streaming.simulator import province, replay
from streaming.simulator.event_feeds import Format
from streaming.simulator.province import Parameters

_KAFKA = "kafka://"


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
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="Of a stream: only what is sent on this day (the senders' clock) or later.")
@click.option("--before", type=click.DateTime(["%Y-%m-%d"]), help="Of a stream: only what is sent before this day.")
@click.option("--into", type=click.Path(path_type=Path, file_okay=False), help="Of a stream: another inbox, in which a file a day and feed grows.")
@click.option("--to", metavar="kafka://HOST:PORT", help="Of a stream: topics <source>.<feed>.<sender> of a Kafka cluster, made where missing.")
@click.option("--partitions", type=click.IntRange(1, 1000), default=1, show_default=True, help="Of each topic that --to makes.")
@cli.command_options
def simulate(
    settings: Settings,
    as_json: bool,
    until: datetime,
    cities: str,
    event_format: Format,
    stream: bool,
    pace: float | None,
    since: datetime | None,
    before: datetime | None,
    into: Path | None,
    to: str | None,
    partitions: int,
    **parameters: Any,
) -> None:
    """Fill the inbox with a simulated province, and its _truth folder with what was injected into it.

    \b
    gridlake simulate --stream --pace 50 --to kafka://127.0.0.1:9092     then send it into topics, at 50 times its pace
    gridlake simulate --stream --since 2026-10-31 --into tomorrow        then only its last day, as files
    """
    if (pace or since or before or into or to) and not stream:
        raise click.UsageError("--pace, --since, --before, --into and --to are of a stream; add --stream")
    if into and to:
        raise click.UsageError("a stream goes one way: --into a folder or --to Kafka")
    if to and not to.startswith(_KAFKA):
        raise click.UsageError(f"--to {to}: expected {_KAFKA}host:port, several with commas between")
    document = province.simulate(
        settings.inbox,
        until=until.date(),
        cities=[c.strip() for c in cities.split(",") if c.strip()],
        format=event_format,
        **parameters,
        progress=ProgressLog(),
    )

    if stream:
        rows = replay.paced(replay.between(replay.replay(settings.inbox), since, before), pace)
        if to:
            count = Sink(Connection.read(to.removeprefix(_KAFKA), settings.kafka_properties), partitions).send(rows)
        else:
            count = replay.deliver(rows, into) if into else replay.print_out(rows, sys.stdout)
        ProgressLog().say(f"{count:,} rows of {settings.inbox} streamed")
        if as_json and (into or to):
            cli.emit(document | {"streamed": count}, as_json=True, text=lambda _: None)
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
