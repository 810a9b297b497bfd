"""`gridlake land kafka`: topics into bronze, until stopped or caught up."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event
from typing import Any

import click
import pyarrow as pa
from rich.console import Console

from gridlake import cli
from gridlake.contracts import Contracts
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from streaming.kafka.broker import Connection
from streaming.kafka.lander import KafkaLander, Options
from streaming.kafka.reader import opener
from streaming.kafka.relay import Relay
from streaming.watch import Watch

_DURATION = {"s": 1.0, "ms": 0.001, "m": 60.0}


class Seconds(click.ParamType[float]):
    """A length of time: 2s, 500ms, 1m, or a plain number of seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """In seconds."""
        text = str(value).strip()
        number = text.rstrip("ms")
        try:
            seconds = float(number) * _DURATION[text[len(number) :] or "s"]
        except (ValueError, KeyError):
            seconds = -1.0
        if seconds <= 0:
            self.fail(f"{value!r}: expected a time such as 2s, 500ms or 1m", param, ctx)
        return seconds


@click.command("kafka")
@click.option("--feed", "feeds", multiple=True, help="Only this feed, as <source>.<feed>; may be given several times.")
@click.option("--until-caught-up", is_flag=True, help="Land what is there now, then end. Without it: until stopped (SIGTERM, Ctrl-C).")
@click.option("--bootstrap", help="Bootstrap servers [GRIDLAKE_KAFKA, default 127.0.0.1:9092].")
@click.option("--group", help="Share the partitions with the other landers of this group. Without it this lander takes all of them.")
@click.option(
    "--lost-after",
    type=Seconds(),
    default="15s",
    show_default=True,
    help="A lander of the group that is not heard of for so long loses its partitions.",
)
@click.option("--every", type=Seconds(), default="2s", show_default=True, help="Rows wait so long for others, then they are landed.")
@click.option("--batch-rows", type=click.IntRange(1, 1_000_000), default=Options.batch_rows, show_default=True, help="Or until so many are there.")
@click.option(
    "--accept-missing",
    "accepted",
    multiple=True,
    metavar="WHAT",
    help="Go on beyond records that are lost, as the error wrote it: <topic>/<partition>:<first>-<last>, or <topic>@<id> for a topic made again. "
    "Look first: infra/runbooks/kafka-records-missing.md. A receipt keeps what was accepted.",
)
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Answer /metrics for Prometheus at this port (0: any that is free).")
@click.option("--metrics-address", default="127.0.0.1", show_default=True, help="The address that /metrics listens at.")
@cli.command_options
def land_kafka(
    settings: Settings,
    as_json: bool,
    feeds: tuple[str, ...],
    bootstrap: str | None,
    metrics_port: int | None,
    metrics_address: str,
    accepted: tuple[str, ...],
    **options: Any,
) -> None:
    """Land topics <source>.<feed>.<sender>: accepted rows to bronze, refused rows to quarantine, receipts for both.

    \b
    gridlake land kafka                          all topics, until stopped
    gridlake land kafka --until-caught-up        what is there now
    gridlake land kafka --group province         one of several landers that share the partitions

    Where to go on stands in bronze, not in Kafka: kill it, start it again, start it elsewhere, restart the broker; every record is
    landed once. A second lander without --group takes the partitions over, and the first one ends.
    """
    started = time.monotonic()
    run = Run.start(settings)
    chosen = Options(feeds=_ids(feeds, run.contracts), accepted=frozenset(accepted), **options)
    connection = Connection.read(bootstrap or settings.kafka, settings.kafka_properties)
    watch = Watch()
    if metrics_port is not None:
        _, port = watch.serve(metrics_port, metrics_address)
        run.progress.say(f"metrics: http://{metrics_address}:{port}/metrics")
    with stopping() as stop:
        lander = KafkaLander(run, connection, opener(settings.kafka_client), chosen, watch, stop)
        try:
            is_caught_up = lander.land()
        finally:
            for feed, counts in sorted(lander.counts.items()):
                run.progress.say(
                    f"  {feed}: {counts.received:,} received = {counts.accepted:,} accepted + {counts.refused:,} refused + "
                    f"{counts.duplicate:,} duplicate + {counts.waiting:,} waiting"
                )
    document = {
        "feeds": {feed: counts.entry() for feed, counts in sorted(lander.counts.items())},
        "refusals": {feed: counts.refusals for feed, counts in sorted(lander.counts.items()) if counts.refusals},
        "logs": watch.logs(),
        "seconds": round(time.monotonic() - started, 3),
        "is_caught_up": is_caught_up,
    }

    def text(console: Console) -> None:
        received = sum(c.received for c in lander.counts.values())
        console.print(f"{received:,} records landed in {document['seconds']:,.1f} s", highlight=False)
        console.print("Next: gridlake land status · gridlake run", highlight=False)

    cli.emit(document, as_json=as_json, text=text)


@click.group()
def relay() -> None:
    """Publish what goes out: receipts, and the messages of the outbox."""


@relay.command("kafka")
@click.option("--until-caught-up", is_flag=True, help="Publish what is there now, then end. Without it: until stopped (SIGTERM, Ctrl-C).")
@click.option("--bootstrap", help="Bootstrap servers [GRIDLAKE_KAFKA, default 127.0.0.1:9092].")
@click.option("--every", type=Seconds(), default="2s", show_default=True, help="Look for new messages so often.")
@cli.command_options
def relay_kafka(settings: Settings, as_json: bool, bootstrap: str | None, every: float, until_caught_up: bool) -> None:
    """Publish receipts of what came by Kafka on <source>.<feed>.<sender>.receipt, and the outbox's messages on their topics.

    In order, at least once; each message has a header message-id, by which a receiver drops what it has had. One relay a lake: a second
    one waits for the first to end. Where to go on stands in outbox.relayed.
    """
    run = Run.start(settings)
    with stopping() as stop:
        publisher = Relay(
            run,
            Connection.read(bootstrap or settings.kafka, settings.kafka_properties),
            stop,
            every=every,
            until_caught_up=until_caught_up,
        )
        publisher.relay()
    document = {"published": dict(sorted(publisher.published.items()))}
    said = ", ".join(f"{count:,} of {table}" for table, count in document["published"].items()) or "nothing new"
    cli.emit(document, as_json=as_json, text=lambda console: console.print(f"published: {said}", highlight=False))


def _ids(feeds: tuple[str, ...], contracts: Contracts) -> tuple[str, ...]:
    ids = tuple(feed.replace(".", "__") for feed in feeds)
    unknown = [feed for feed, feed_id in zip(feeds, ids, strict=True) if feed_id not in contracts]
    if unknown:
        known = ", ".join(f"{c.source}.{c.feed}" for c in contracts.values())
        raise RunError(f"--feed {unknown[0]}: no contract; there are {known}")
    return ids


@contextmanager
def stopping() -> Iterator[Event]:
    """An event that SIGTERM and SIGINT set; the second one ends the process as it would without."""
    stop = Event()
    # Arrow would take an interrupt for itself while it reads a file.
    pa.enable_signal_handlers(False)
    before: dict[int, Any] = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def told(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    for number in before:
        signal.signal(number, told)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
