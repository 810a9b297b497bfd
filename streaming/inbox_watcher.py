"""`gridlake land watch`: files are landed as they arrive in the inbox.

A file is taken once it is whole: its marker `<file>.done` lies beside it, or, where its sender has declared no markers, it has not been
written for a while. The folders are looked at again and again (a share of another machine tells of no change).
"""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import click

from gridlake.cli import command_options
from gridlake.contracts import Contracts
from gridlake.runs import Run, RunError
from gridlake.senders import Senders
from gridlake.settings import Settings
from gridlake.tables import Held, Tables
from streaming import receipts
from streaming.feed_lander import END
from streaming.files import MARKER, SHAPE, Inbox
from streaming.landing import INBOX, Counts, land_from
from streaming.quarantine import Vault
from streaming.rows import Delivery


class Arrivals(Inbox):
    """What has arrived in an inbox and is not landed yet; files that are landed are not looked into again."""

    def __init__(
        self, folder: Path, contracts: Contracts, senders: Senders, vault: Vault, say: Callable[[str], None], tables: Tables, settled_s: float
    ) -> None:
        super().__init__(folder, contracts, senders, vault, say)
        self._tables, self._settled_s = tables, settled_s
        self._landed: dict[Path, tuple[int, int]] = {}
        self._arrived: dict[str, list[Delivery]] = {}

    def feeds(self) -> list[str]:
        """The feeds that something new lies ready for."""
        self._arrived = {feed: new for feed in super().feeds() if (new := self._new(feed))}
        return sorted(self._arrived)

    def deliveries(self, feed: str) -> list[Delivery]:
        """What is new of a feed, as `feeds` found it."""
        return self._arrived[feed]

    def whole_files(self, feed: str) -> list[tuple[str, Path]]:
        """Those that are neither landed nor still being written."""
        return [(sender, path) for sender, path in super().whole_files(feed) if self._is_new(path)]

    def _new(self, feed: str) -> list[Delivery]:
        found = super().deliveries(feed)
        ids = {d.id: d.id + END if feed in self._contracts else receipts.app_id(feed, d.id) for d in found}
        done = self._tables.resume_points(f"bronze.{feed}" if feed in self._contracts else receipts.TABLE, ids.values())
        for delivery in found:
            if ids[delivery.id] in done and delivery.path is not None:
                self._landed[delivery.path] = self._states[feed, delivery.id]
        return [d for d in found if ids[d.id] not in done]

    def _is_new(self, path: Path) -> bool:
        try:
            state = path.stat()
        except OSError:
            return False
        if self._landed.get(path) == (state.st_size, state.st_mtime_ns):
            return False
        return time.time() - state.st_mtime >= self._settled_s or path.with_name(path.name + MARKER).exists()


@click.command()
@click.option("--every", type=click.FloatRange(0.1, 3600), default=2.0, show_default=True, help="Seconds between two looks.")
@click.option("--settled", type=click.FloatRange(0, 3600), default=5.0, show_default=True, help="Seconds without a write until a file is whole.")
@command_options
def watch(settings: Settings, as_json: bool, every: float, settled: float) -> None:
    """Land files as they arrive in the inbox, until it is stopped (Ctrl+C); what has begun is finished first.

    \b
    A file is taken when it has not been written for --settled seconds, or at once when <file>.done lies beside it.
    A sender whose file says  inbox: {done_markers: true}  has no file taken without its marker.
    It may go on while `gridlake run` builds on what is landed.
    """
    if not settings.inbox.is_dir():
        raise RunError(f"{settings.inbox}: no such folder; expected an inbox of {SHAPE}, give it with --inbox")
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    run = Run.start(settings)
    vault = Vault(settings.home, run.keys)
    arrivals = Arrivals(settings.inbox, run.contracts, run.senders, vault, run.progress.say, run.tables, settled)
    if as_json:
        click.echo(json.dumps({"watching": str(settings.inbox)}))
    run.progress.say(f"Watching {settings.inbox} every {every:g} s. Ctrl+C ends it.")
    while not stopping.is_set():
        for feed, counts in _land(run, arrivals).items():
            if as_json:
                click.echo(json.dumps({"feed": feed, "at": datetime.now(UTC).isoformat(timespec="seconds")} | counts.entry()))
        stopping.wait(every)


def _land(run: Run, arrivals: Arrivals) -> dict[str, Counts]:
    """One look; gives what it landed, by feed."""
    run.renew()
    arrivals.go_by(run.contracts, run.senders)
    if not arrivals.feeds():
        return {}
    run.received_at = datetime.now(UTC)
    try:
        with run.tables.only_writer(INBOX):
            landed = land_from(run, arrivals)
    except Held as held:
        run.progress.say(f"{held}; looking again")
        return {}
    return {feed: counts for feed, counts in landed.items() if counts.deliveries or counts.received}
