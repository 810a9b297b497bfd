"""`gridlake land pull`: rows are fetched from the servers that contracts declare, and landed as pushes are.

A page is one push of its sender to a desk in this process: on the disk before the place to go on from is remembered, so that a pull that is
killed asks for the same page again and finds it taken.
"""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any

import click
import msgspec
import pyarrow as pa
from rich.console import Console
from rich.table import Table

from gridlake.barriers import barrier
from gridlake.cli import command_options, emit
from gridlake.contracts import Contract
from gridlake.contracts.pulls import Pull, RestPull
from gridlake.credentials import Secrets
from gridlake.regions import RegionTree
from gridlake.runs import Run, RunError
from gridlake.settings import Settings
from gridlake.tables import write_file
from streaming.feed_lander import prepare
from streaming.pull.pages import Page, Place, PullError, Source
from streaming.pull.postgres import PostgresSource
from streaming.pull.rest import RestSource
from streaming.push.desk import Desk, Entry, folder_of
from streaming.push.journal import JournalDamaged, JournalsHeld, Push, only_writer

_COUNTS = ("received", "accepted", "refused", "duplicate", "waiting")


@click.command()
@click.option("--feed", "feeds", multiple=True, metavar="SOURCE.FEED", help="Pull only this feed; may be given several times.")
@click.option("--every", type=click.FloatRange(1, 86_400), help="Pull again and again, so many seconds apart, until it is stopped. Default: once.")
@command_options
def pull(settings: Settings, as_json: bool, feeds: Sequence[str], every: float | None) -> None:
    """Fetch what is new at the servers that contracts declare (gridlake.pull), and land it.

    \b
    A contract declares a paged REST service or a PostgreSQL table: docs/how-to/pull-from-a-source.md.
    Passwords and tokens are named there and kept here:  gridlake secret put NAME
    """
    stopping = threading.Event()
    if every is not None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stopping.set())
    try:
        with only_writer(folder_of(settings.home, "pull")):
            run = Run.start(settings)
            prepare(run)
            while True:
                pulled = _round(run, _wanted(run, feeds))
                emit(pulled, as_json=as_json, text=lambda console, told=pulled: _print(console, told))  # type: ignore[misc]
                if every is None or stopping.wait(every):
                    break
    except (JournalDamaged, JournalsHeld) as error:
        raise RunError(str(error)) from None
    failed = [entry["error"] for entry in pulled if "error" in entry]
    if failed and every is None:
        raise RunError("; ".join(failed))


def _wanted(run: Run, feeds: Sequence[str]) -> list[Contract]:
    declared = [c for c in run.contracts.values() if c.pulls and not c.is_retired]
    names = {f"{c.source}.{c.feed}" for c in declared}
    unknown = sorted({*feeds} - names)
    if unknown:
        raise RunError(f"{', '.join(unknown)}: no contract of that name says gridlake.pull; those that do: {', '.join(sorted(names)) or 'none'}")
    return [c for c in declared if not feeds or f"{c.source}.{c.feed}" in feeds]


def _round(run: Run, contracts: Sequence[Contract]) -> list[dict[str, Any]]:
    """Pull each declared server once; what one of them fails at stands in its entry, and the others are pulled all the same."""
    regions = RegionTree(run.vocabularies.regions)
    told = []
    for contract in contracts:
        broken: list[Exception] = []
        desk = Desk(run, contract, regions, None, broken.append, "pull")
        desk.start()
        try:
            told += [_Puller(run, contract, declared, desk).pull() for declared in contract.pulls]
        finally:
            desk.stop()
        if broken:
            raise RunError(f"{contract.id}: {type(broken[0]).__name__}: {broken[0]}; what was pulled is landed at the next pull")
    return told


class _Puller:
    """Pulls one declared server."""

    def __init__(self, run: Run, contract: Contract, declared: Pull, desk: Desk) -> None:
        self._run, self._contract, self._declared, self._desk = run, contract, declared, desk
        self._secret = str(run.keys.token(pa.array([f"pull {declared.server}"]))[0].as_py()).encode()
        self._place_file = folder_of(run.settings.home, "pull") / "places" / contract.id / f"{declared.server}.json"

    def pull(self) -> dict[str, Any]:
        """Fetch until nothing is new; gives counts, and the error where it could not go on."""
        told: dict[str, Any] = {
            "feed": f"{self._contract.source}.{self._contract.feed}",
            "server": self._declared.server,
            "pages": 0,
            "seen_before": 0,
        }
        told |= dict.fromkeys(_COUNTS, 0)
        place = self._place()
        try:
            self._see_entitled()
            for page in self._source().pages(place):
                for name, number in self._take(page, place).items():
                    told[name] += number
                told["pages"] += 1
                told["seen_before"] += page.given - page.rows
                barrier("pull.before_place", self._declared.server)
                place = page.place
                write_file(self._place_file, json.dumps(place).encode())
        except PullError as error:
            told["error"] = str(error)
            self._run.progress.say(f"{told['feed']}: {error}")
        return told

    def _see_entitled(self) -> None:
        sender = self._run.senders.get(self._declared.sender)
        if sender is None or not sender.may_send(self._contract.source, self._contract.feed, self._contract.version):
            raise PullError(
                f"server {self._declared.server}: sender {self._declared.sender} may not send this feed; add the feed to the sender's file"
            )

    def _source(self) -> Source:
        name, secrets = self._declared.secret, Secrets(self._run.settings.secrets)
        value = secrets.one(name, datetime.now(UTC)) if name else None
        if isinstance(self._declared, RestPull):
            return RestSource(self._declared, value, self._secret)
        return PostgresSource(self._contract, self._declared, value, self._secret)

    def _take(self, page: Page, place: Place) -> dict[str, int]:
        """Push a page to the desk, unless a pull before this one did so from the same place; gives the receipt's counts."""
        if not page.rows:
            return {}
        sender = self._declared.sender
        began = json.dumps([self._declared.server, place], sort_keys=True).encode()
        digest = hashlib.sha256(self._secret + page.content).hexdigest()[:32]
        key = hashlib.sha256(b"\0".join((self._secret, began, page.content))).hexdigest()[:32]
        before = self._desk.answers.find(self._contract.id, sender, key)
        if before is not None:
            return _counts(before.receipt)
        answers: SimpleQueue[bytes | Exception] = SimpleQueue()
        blocks = self._desk.blocks(page.kind, page.content, sender, digest)
        rows = sum(map(len, blocks))
        self._desk.offer(Entry(sender, Push(key, page.kind, datetime.now(UTC), digest, rows, page.content), blocks, answers.put))
        answer = answers.get()
        if isinstance(answer, Exception):
            raise PullError(f"server {self._declared.server}: the page was not landed ({answer}); pull again later") from answer
        barrier("pull.after_page", self._declared.server)
        return _counts(answer)

    def _place(self) -> Place:
        return dict(json.loads(self._place_file.read_text(encoding="utf-8"))) if self._place_file.exists() else {}


def _counts(receipt: bytes) -> dict[str, int]:
    told = msgspec.json.decode(receipt)
    return {name: int(told[name]) for name in _COUNTS}


def _print(console: Console, pulled: Sequence[dict[str, Any]]) -> None:
    table = Table(title="Pulled")
    columns = ("feed", "server", "pages", *_COUNTS, "seen_before")
    for column in columns:
        table.add_column(column)
    for entry in pulled:
        table.add_row(*(str(entry[name]) for name in columns))
    console.print(table)
