"""The sandbox as a folder: `<endpoint>/<source>/<feed>/<sender>/`, landed into a lake of its own by the lander that production has."""

from __future__ import annotations

import shutil
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import pyarrow.dataset as ds

from gridlake.contracts import Contract, Contracts
from gridlake.runs import Run
from gridlake.senders import Sender
from gridlake.settings import Settings
from gridlake.tables import write_file
from streaming import quarantine, receipts
from streaming.conform.cases import ACCEPTED, DUPLICATE, EMPTY, REFUSED, WAITING, WHOLE, Case
from streaming.conform.deliveries import Landed, landed
from streaming.files import Inbox
from streaming.gates import feeds_of
from streaming.landing import land_from
from streaming.quarantine import Vault
from streaming.rows import Block, Delivery

KIT_FOLDER = "conform-"
_LAKE = "conform-lake"


@dataclass(frozen=True)
class Came:
    """What became of one row, or of a whole delivery; reasons are (rule, field)."""

    state: str
    reasons: tuple[tuple[str, str | None], ...] = ()

    def __str__(self) -> str:
        return " ".join([self.state, *(rule + (f"/{field}" if field else "") for rule, field in self.reasons)])


@dataclass(frozen=True)
class Shown:
    """What came of one case, and how long its landing took together with the others'."""

    came: tuple[Came, ...]
    seconds: float


class Sandbox(Protocol):
    """Where cases are shown and a sender's own rows are found; `run` reads the lake of the tests."""

    kind: str
    address: str
    run: Run

    def takes(self, case: Case) -> bool:
        """Whether the channel can carry the case."""

    def fitting(self, case: Case) -> Case:
        """The case without rows that the channel cannot carry."""

    def show(self, cases: Sequence[Case], mark: str) -> dict[str, Shown]:
        """Send every case; what came of each row, by case."""

    def own_cases(self, row: Mapping[str, Any]) -> Iterator[tuple[Case, Shown]]:
        """What only this channel has to show."""

    def own(self) -> Landed | None:
        """What the sender has sent itself; None where there is nothing."""


class FolderSandbox:
    """A sandbox inbox, and the lake in which it is looked at; both belong to tests alone."""

    kind = "folder"

    def __init__(self, folder: Path, settings: Settings, home: Path, contract: Contract, sender: Sender, now: datetime | None = None) -> None:
        self.address, self._folder, self._contract, self._sender = str(folder), folder, contract, sender
        self._place = folder / contract.source / contract.feed / sender.code
        home = home / contract.id / sender.code / _LAKE
        # Landed anew each time: what lies in the folder now is what is judged.
        shutil.rmtree(home, ignore_errors=True)
        self.run = Run.start(settings.model_copy(update={"home": home, "inbox": folder, "key_file": home / "keys.json"}), quiet=True)
        self.run.received_at = now or datetime.now(UTC)
        self.run.contracts = with_gates(contract, self.run.contracts)

    def takes(self, case: Case) -> bool:
        """A folder takes every case."""
        return True

    def fitting(self, case: Case) -> Case:
        """A folder takes it whole."""
        return case

    def show(self, cases: Sequence[Case], mark: str) -> dict[str, Shown]:
        """Lay every case's file into the folder, land them, and tell what came of each row; files of earlier runs are taken away."""
        for old in self._place.glob(f"{KIT_FOLDER}*"):
            shutil.rmtree(old)
        names = {f"{KIT_FOLDER}{mark}/{number:02d}-{case.id}{case.suffix}": case for number, case in enumerate(cases, 1)}
        for name, case in names.items():
            write_file(self._place / name, case.content)
        started = time.monotonic()
        land_from(self.run, _Part(self._inbox(), self._contract.id, self._sender.code, of_kit=True))
        seconds = time.monotonic() - started
        by_name = outcomes(self.run, self._contract.id)
        return {case.id: Shown(tuple(by_name.get(name, ())), seconds) for name, case in names.items()}

    def own_cases(self, row: Mapping[str, Any]) -> Iterator[tuple[Case, Shown]]:
        """A folder shows nothing that the cases do not."""
        return iter(())

    def own(self) -> Landed | None:
        """Land what the sender has put there itself; None where there is nothing."""
        part = _Part(self._inbox(), self._contract.id, self._sender.code, of_kit=False)
        land_from(self.run, part)
        ids = [d.id for d in part.deliveries(self._contract.id)] if part.feeds() else []
        return landed(self.run, self._contract.id, ids) if ids else None

    def _inbox(self) -> Inbox:
        vault = Vault(self.run.settings.home, self.run.keys)
        return Inbox(self._folder, self.run.contracts, self.run.senders, vault, self.run.progress.say)


class _Part:
    """Of an inbox one feed and sender: either the kit's files or the sender's own."""

    def __init__(self, inbox: Inbox, feed: str, sender: str, *, of_kit: bool) -> None:
        self._inbox, self._feed, self._sender, self._of_kit = inbox, feed, sender, of_kit

    def feeds(self) -> list[str]:
        return [feed for feed in self._inbox.feeds() if feed == self._feed]

    def deliveries(self, feed: str) -> list[Delivery]:
        found = [d for d in self._inbox.deliveries(feed) if d.sender_code == self._sender]
        return [d for d in found if d.file_name.startswith(KIT_FOLDER) == self._of_kit]

    def blocks(self, delivery: Delivery) -> Iterator[Block]:
        return self._inbox.blocks(delivery)

    def keep(self, delivery: Delivery) -> str:
        return self._inbox.keep(delivery)


def outcomes(run: Run, feed: str) -> dict[str, list[Came]]:
    """What came of every delivery that the lake has of a feed, by file name: one entry a row, or one for the whole of it."""
    told = run.tables.read(receipts.TABLE, where=ds.field("feed") == feed).sort_by([("_delivery_id", "ascending"), ("batch", "ascending")])
    accepted = accepted_positions(run, f"bronze.{feed}")
    refused, waiting = held_positions(run, f"quarantine.{feed}")
    found: dict[str, list[Came]] = defaultdict(list)
    for receipt in told.to_pylist():
        name, delivery = receipt["file_name"], receipt["_delivery_id"]
        if receipt["state"] == receipts.EMPTY:
            found[name].append(Came(EMPTY))
            continue
        for row in range(receipt["first_row"], receipt["last_row"] + 1):
            position = f"{delivery}#{row:010d}"
            if receipt["state"] == receipts.REFUSED_WHOLE:
                found[name].append(Came(WHOLE, refused.get(position, ())))
            elif position in accepted:
                found[name].append(Came(ACCEPTED))
            elif position in refused:
                found[name].append(Came(REFUSED, refused[position]))
            else:
                found[name].append(Came(WAITING if position in waiting else DUPLICATE))
    return dict(found)


def accepted_positions(run: Run, table: str) -> set[str]:
    """The position of every row in a bronze table."""
    return set(run.tables.read(table, columns=["_source_position"]).column(0).to_pylist())


def held_positions(run: Run, table: str) -> tuple[dict[str, tuple[tuple[str, str | None], ...]], set[str]]:
    """(reasons of every refused row as (rule, field), rows that wait) of a quarantine table, by position, each row in its newest state."""
    rows = run.tables.read(table, columns=["_source_position", "reasons", "state", "state_number"]).sort_by([("state_number", "ascending")])
    newest = {row["_source_position"]: row for row in rows.to_pylist()}
    refused = {
        position: tuple(dict.fromkeys((reason["rule"], reason["field"]) for reason in row["reasons"]))
        for position, row in newest.items()
        if row["state"] == quarantine.REFUSED
    }
    return refused, {position for position, row in newest.items() if row["state"] == quarantine.WAITING}


def with_gates(contract: Contract, known: Contracts) -> Contracts:
    """The contract and those for whose rows its own may wait."""
    needed = [contract]
    found: dict[str, Contract] = {}
    while needed:
        one = needed.pop()
        found[one.id] = one
        needed += [known[feed] for gate in one.gates for feed in feeds_of(gate.local_id_of or "", known) if feed not in found]
    defining = {c.defines: c for c in known.values() if c.defines}
    shapes = [defining[c.entity] for c in found.values() if c.entity in defining]
    return Contracts([*found.values(), *(c for c in shapes if c.id not in found)])
