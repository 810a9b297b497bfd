"""`gridlake land feed` and `gridlake land pending`: one feed of the inbox landed by itself, and what lies there to be landed.

What a scheduler needs to land feeds side by side and to repeat one without the others. Neither takes a cut: the run that builds on it does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake.cli import command_options, emit
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from streaming import receipts
from streaming.feed_lander import END
from streaming.files import SHAPE, Inbox
from streaming.landing import Counts, land_feed
from streaming.quarantine import Vault
from streaming.rows import Delivery


class Chosen(Inbox):
    """The deliveries of some senders, or whose names fit a pattern."""

    def __init__(self, run: Run, senders: Collection[str] = (), pattern: str = "*") -> None:
        super().__init__(_folder(run.settings), run.contracts, run.senders, Vault(run.settings.home, run.keys), run.progress.say)
        self._chosen, self._pattern = frozenset(senders), pattern

    def whole_files(self, feed: str) -> list[tuple[str, Path]]:
        """(sender, file) of those."""
        found = super().whole_files(feed)
        return [(sender, path) for sender, path in found if (not self._chosen or sender in self._chosen) and fnmatchcase(path.name, self._pattern)]


def feed_id(run: Run, feed: str) -> str:
    """The id of the contract that <source>.<feed> names."""
    found = feed.replace(".", "__", 1)
    if found not in set(run.contracts):
        raise RunError(f"{feed}: expected <source>.<feed> of a contract, one of {', '.join(c.replace('__', '.', 1) for c in run.contracts)}")
    return found


def pending(run: Run) -> dict[str, dict[str, int]]:
    """By feed and sender how many deliveries lie in the inbox that are not landed to their end; '' is a file that lies in no sender's folder."""
    inbox = Chosen(run)
    found = {feed: _new(run, feed, inbox.deliveries(feed)) for feed in inbox.feeds()}
    return {feed: dict(sorted(Counter(d.sender_code for d in new).items())) for feed, new in found.items() if new}


def _new(run: Run, feed: str, deliveries: list[Delivery]) -> list[Delivery]:
    is_known = feed in run.contracts
    ids = {d.id: d.id + END if is_known else receipts.app_id(feed, d.id) for d in deliveries}
    table = f"bronze.{feed}" if is_known else receipts.TABLE
    done = run.tables.resume_points(table, ids.values()) if run.tables.exists(table) else {}
    return [d for d in deliveries if ids[d.id] not in done]


def _folder(settings: Settings) -> Path:
    if not settings.inbox.is_dir():
        raise RunError(f"{settings.inbox}: no such folder; expected an inbox of {SHAPE}, give it with --inbox")
    return settings.inbox


@click.command("feed")
@click.argument("feed")
@click.option("--sender", "senders", multiple=True, help="Only what this sender sent; may be given again. Default: every sender.")
@click.option("--files", "pattern", default="*", show_default=True, help="Only files whose names fit, as in event-2026-03-*.jsonl.")
@click.option("--expect", is_flag=True, help="Fail where no file fits: a day of a backfill that is not there is no empty day.")
@command_options
def land_one_feed(settings: Settings, as_json: bool, feed: str, senders: tuple[str, ...], pattern: str, expect: bool) -> None:
    """Land FEED (<source>.<feed>) from the inbox, and nothing else.

    Other feeds may be landed, and runs may build, at the same time. What is landed already is passed over, so it may be repeated.

    \b
    gridlake land feed city_platform.event --sender 330100000000
    gridlake land feed city_platform.event --inbox history --files 'event-2026-03-01*' --expect
    """
    run = Run.start(settings)
    name = feed_id(run, feed)
    inbox = Chosen(run, senders, pattern)
    if expect and not (name in inbox.feeds() and inbox.whole_files(name)):
        who = f" of {', '.join(senders)}" if senders else ""
        raise RunError(f"{settings.inbox}: expected files of {feed}{who} named {pattern}, there are none; bring them, or leave --expect out")
    counts = land_feed(run, inbox, name)
    document = _document(name, counts)
    emit(document, as_json=as_json, text=lambda console: console.print_json(data=document))


def _document(feed: str, counts: Counts) -> dict[str, Any]:
    share = round(100 * counts.refused / counts.received, 2) if counts.received else None
    return {"feed": feed, **counts.entry(), "refused_pct": share, "refusals": counts.refusals, "waits": counts.waits, "warnings": counts.warnings}


@click.command("pending")
@command_options
def list_pending(settings: Settings, as_json: bool) -> None:
    """How many files of each feed and sender lie in the inbox and are not landed."""
    found = pending(Run.start(settings, quiet=True))

    def text(console: Console) -> None:
        table = Table(title="待落地 not landed yet")
        for column in ("feed", "sender", "files"):
            table.add_column(column, justify="right" if column == "files" else "left")
        for feed, senders in found.items():
            for sender, files in senders.items():
                table.add_row(feed, sender, f"{files:,}")
        console.print(table if found else "无 everything is landed")

    emit(found, as_json=as_json, text=text)
