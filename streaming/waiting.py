"""Rows that wait at a reference gate, and their release when what they wait for has arrived."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property

import pyarrow as pa

from gridlake.contracts import Contract
from gridlake.regions import RegionTree
from gridlake.runs import Run
from streaming.feed_lander import FeedLander
from streaming.gates import waiting_for
from streaming.held import HeldRows, Wanted, slices
from streaming.quarantine import WAITING
from streaming.replay import ROWS_AT_ONCE, Outcome, Replay


def rooms_of(feed: str, run: Run, regions: RegionTree) -> list[WaitingRoom]:
    """The waiting rooms that may open when something of this feed has landed: its own, and those of feeds that wait for it, or for those."""
    found: dict[str, None] = {feed: None}
    ahead = [feed]
    while ahead:
        for other in waiting_for(ahead.pop(), run.contracts):
            if other not in found:
                found[other] = None
                ahead.append(other)
    return [WaitingRoom(run, run.contracts[f], regions) for f in found if run.contracts[f].gates]


class WaitingRoom:
    """The waiting rows of one feed."""

    def __init__(self, run: Run, contract: Contract, regions: RegionTree) -> None:
        self._run, self._contract, self._regions = run, contract, regions
        self._table = f"quarantine.{contract.id}"
        self._held = HeldRows(run.tables, contract.id)
        self._files: frozenset[str] = frozenset()
        self._waiting: pa.Table | None = None

    @property
    def feed(self) -> str:
        """Whose rows wait here."""
        return self._contract.id

    def let_go(self, at: datetime | None = None) -> int:
        """Land the rows whose gate is open, received at that time, by default the run's; gives how many left.

        Costs a look at the table's files where none waits.
        """
        self._look()
        left = 0
        while (ready := self._ready()) is not None:
            replay, outcome = Replay(self._run, self._lander, at), Outcome()
            for some in slices(ready, ROWS_AT_ONCE):
                outcome.add(replay.rows(some))
            self._look()
            left += outcome.accepted + outcome.duplicate + outcome.refused
            if outcome.unreadable or outcome.not_entitled or outcome.unfinished or not outcome.rows:
                break  # what is left stays: for a person to look at, or until its lander has finished
        return left

    def _look(self) -> None:
        tables = self._run.tables
        files = frozenset(tables.files(self._table)) if tables.exists(self._table) else frozenset()
        if files != self._files:
            self._files, self._waiting = files, self._held.find(Wanted(states=(WAITING,)))

    def _ready(self) -> pa.Table | None:
        waiting = self._waiting
        if waiting is None or not waiting.num_rows:
            return None
        fields = [reasons[0]["field"] for reasons in waiting.column("reasons").to_pylist()]
        senders, ids = (waiting.column(name).combine_chunks() for name in ("_sender_code", "waits_for"))
        if self._lander.is_outdated():
            self._lander.renew()
        may_go = self._lander.gates.may_go(fields, senders, ids)
        return waiting.filter(pa.array(may_go)) if may_go.any() else None

    @cached_property
    def _lander(self) -> FeedLander:
        # Not the one that lands the feed: it has rows in mind that are judged and not landed.
        return FeedLander(self._run, self._contract, self._regions)
