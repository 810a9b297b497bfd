"""Logs of one feed, from records to batches: what arrives without end in consecutive numbers, a topic partition or a sender's journal.

What a killed lander had begun comes first: the same rows of a log in one batch, received when it received them, so that every row ends where it
did then. Rows wait here until they are landed; whoever reads a log bounds how much it hands in before that.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from streaming.feed_lander import BEFORE_ANY, Batch, FeedLander, Judged, Unfinished
from streaming.receipts import Receipt
from streaming.rows import Block, Chunk, Delivery

Offsets = npt.NDArray[np.int64]


def consecutive(offsets: Offsets, block: Block) -> list[tuple[int, Block]]:
    """The rows in pieces without a gap: (the first offset, the rows) of each; `offsets` numbers the block's rows, ascending, at least one."""
    edges = [0, *(np.flatnonzero(np.diff(offsets) != 1) + 1).tolist(), len(offsets)]
    return [(int(offsets[start]), block.slice(start, stop)) for start, stop in pairwise(edges)]


@dataclass
class _Log:
    """One log of ours: the next offset to be read, the end of what was begun, the pieces that wait (consecutive offsets each)."""

    delivery: Delivery
    next: int
    begun: int
    waiting: list[tuple[int, Block]] = field(default_factory=list)

    @property
    def is_pending(self) -> bool:
        return self.begun >= self._first

    @property
    def has_begun_part(self) -> bool:
        """Whether all that a killed lander had begun is here."""
        return self.is_pending and self.next > self.begun

    @property
    def _first(self) -> int:
        return self.waiting[0][0] if self.waiting else self.next

    def take(self, last: int | None = None) -> list[Chunk]:
        """The waiting rows up to that offset as chunks, one for each run of consecutive offsets."""
        runs: list[list[tuple[int, Block]]] = []
        left: list[tuple[int, Block]] = []
        for first, block in self.waiting:
            fitting = len(block) if last is None else min(max(last + 1 - first, 0), len(block))
            if fitting:
                if not runs or runs[-1][-1][0] + len(runs[-1][-1][1]) != first:
                    runs.append([])
                runs[-1].append((first, block.slice(0, fitting)))
            if fitting < len(block):
                left.append((first + fitting, block.slice(fitting, len(block))))
        self.waiting = left
        return [
            Chunk(self.delivery, run[0][0], run[0][0], tuple(block for _, block in run), False, sum(sum(block.sizes()) for _, block in run))
            for run in runs
        ]


class Logs:
    """The logs of one feed that this process lands."""

    def __init__(self, lander: FeedLander) -> None:
        self._lander = lander
        self._unfinished = Unfinished()
        self._logs: dict[str, _Log] = {}

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return sum(len(block) for log in self._logs.values() for _, block in log.waiting)

    def take_over(self, deliveries: Sequence[Delivery]) -> dict[str, int]:
        """Become the only lander of these logs; gives by id the offset from which each is to be read: bronze's word, nobody else's.

        A log that was never landed is to be read from 0, whatever offset its oldest record has.
        """
        unfinished = self._lander.take_over(deliveries)
        for delivery in deliveries:
            landed = unfinished.landed.get(delivery.id, BEFORE_ANY)
            self._logs[delivery.id] = _Log(delivery, landed + 1, unfinished.begun(delivery))
        for of_all, of_these in (
            (self._unfinished.landed, unfinished.landed),
            (self._unfinished.quarantined, unfinished.quarantined),
            (self._unfinished.receipted, unfinished.receipted),
        ):
            of_all.update(of_these)
        return {delivery.id: self._logs[delivery.id].next for delivery in deliveries}

    def let_go(self, ids: Iterable[str]) -> None:
        """Leave logs to others; their rows that wait are dropped, for the next lander reads them again."""
        gone = [self._logs.pop(i).delivery for i in set(ids) & self._logs.keys()]
        if gone:
            self._lander.let_go(gone)

    def add(self, log_id: str, offsets: Offsets, block: Block) -> None:
        """Rows of a log as read, ascending; `offsets` numbers those of the block. Rows before the offset that `take_over` gave are dropped."""
        log = self._logs[log_id]
        start = int(np.searchsorted(offsets, log.next))
        if start < len(offsets):
            log.waiting += consecutive(offsets[start:], block.slice(start, len(offsets)))
            log.next = int(offsets[-1]) + 1

    def judge(self, at: datetime | None = None) -> list[Judged]:
        """Everything that waits, judged, to be committed in this order; `at` is when it was received, by default now."""
        if self._lander.is_outdated():
            self._lander.renew()
        judged = []
        begun = [chunk for log in self._logs.values() if log.has_begun_part for chunk in log.take(log.begun)]
        if begun:
            received_at = self._lander.received_now(self._lander.received_then(begun) or at)
            judged.append(self._lander.judge(Batch(begun, received_at)))
        chunks = [chunk for log in self._logs.values() if not log.is_pending for chunk in log.take()]
        if chunks:
            judged.append(self._lander.judge(Batch(chunks, self._lander.received_now(at))))
        return judged

    def commit(self, judged: Judged) -> list[Receipt]:
        """Land a judged batch; raises gridlake.tables.Fenced where one of its logs is another's now."""
        made = self._lander.commit(judged, self._unfinished)
        self._unfinished.landed.update(judged.batch.points)
        return made

    def land(self, at: datetime | None = None) -> list[Receipt]:
        """Everything that waits; gives the receipts."""
        return [receipt for judged in self.judge(at) for receipt in self.commit(judged)]
