"""Lands topics `<source>.<feed>.<sender>` in micro-batches, and goes on from where bronze is, whatever the cluster remembers.

One loop reads and commits in turns: nothing is read while a batch is committed, and what is held is bounded, so a slow disk slows reading down.
What is not there any more is an error that names a runbook, never skipped.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from threading import Event

import numpy as np

from gridlake.regions import RegionTree
from gridlake.runs import Run, RunError
from gridlake.tables import Fenced
from streaming.desks import Desk, FeedDesk, UnroutedDesk
from streaming.feed_lander import BEFORE_ANY, prepare
from streaming.kafka.broker import Broker, BrokerAway, Connection, Partition, Reach, Topic
from streaming.kafka.reader import LOST_AFTER_SECONDS, Fetched, OffsetGone, Opener, Reader
from streaming.kafka.topics import SHAPE, Route, delivery
from streaming.landing import Counts
from streaming.opened_logs import OpenedLogs
from streaming.quarantine import UNROUTED, Vault
from streaming.rows import LARGEST_ROW_BYTES, NO_VALUE, Block, Delivery, Lines, Refused, Unreadable
from streaming.watch import Watch

RUNBOOK = "infra/runbooks/kafka-records-missing.md"
# What is read and not landed yet, of all feeds together.
HELD_BYTES = 128 << 20
# Small enough that one look at the clock does not come late, large enough to cost nothing.
_POLL_ROWS = 20_000
_POLL_SECONDS = 0.2
_SECONDS_BETWEEN_LOOKS = 5.0
_LONGEST_PAUSE = 15.0
# Two landers that take each other's logs in turns are a mistake in how they were started.
_FENCED_AT_MOST = 3


class RecordsMissing(RunError):
    """Records that were not landed are no longer in the topic."""


class _TopicsChanged(Exception):
    """What was read may be of another topic than it was taken for."""


@dataclass(frozen=True)
class Options:
    """How to land.

    `feeds`: ids, all where empty. `group`: landers of one group share the partitions; None takes all of them. `lost_after`: seconds without a word
    until a member's partitions go to others. `every`: seconds until rows that wait are landed. `accepted`: gaps and topics made again, as the error
    wrote them, that an operator has looked at and goes on beyond.
    """

    feeds: tuple[str, ...] = ()
    group: str | None = None
    lost_after: float = LOST_AFTER_SECONDS
    every: float = 2.0
    batch_rows: int = 100_000
    until_caught_up: bool = False
    accepted: frozenset[str] = frozenset()


@dataclass
class _Log:
    """One partition on its way into bronze; `next` is the first record that is not read yet."""

    delivery: Delivery
    partition: Partition
    next: int


@dataclass
class _Feed:
    """The logs of one feed that this lander lands, what waits of them, and since when."""

    desk: Desk
    logs: dict[Partition, _Log] = field(default_factory=dict)
    size: int = 0
    since: float | None = None


class KafkaLander:
    """Lands until it is caught up or told to stop."""

    def __init__(self, run: Run, connection: Connection, open_reader: Opener, options: Options, watch: Watch, stop: Event) -> None:
        self._run, self._connection, self._options, self._watch, self._stop = run, connection, options, watch, stop
        self._say: Callable[[str], None] = run.progress.say
        self._broker = Broker(connection)
        self._open_reader = open_reader
        self._reader: Reader | None = None
        self._reading: set[Partition] = set()
        self._regions = RegionTree(run.vocabularies.regions)
        self._vault = Vault(run.settings.home, run.keys)
        self._opened = OpenedLogs(run.tables)
        self._topics: dict[str, Topic] = {}
        self._deliveries: dict[Partition, Delivery] = {}
        self._feeds: dict[str, _Feed] = {}
        self._ends: dict[Partition, int] | None = None
        self._looked = float("-inf")
        self._passed_over: set[str] = set()
        self._stopped: dict[Partition, RecordsMissing] = {}
        self._looked_elsewhere = float("-inf")
        self._fenced = 0
        self.counts: dict[str, Counts] = {}

    def land(self) -> bool:
        """Land; gives whether it caught up (False where it was told to stop before).

        A partition of which records are missing is stopped and said, the others go on; at the end, or where no other is left, RecordsMissing
        is raised. Raises `gridlake.tables.Fenced` where a lander outside the group has taken a log over, and RunError.
        """
        prepare(self._run)
        pause = 0.0
        is_caught_up = False
        try:
            while not is_caught_up and not self._stop.is_set():
                try:
                    is_caught_up = self._step()
                    pause = 0.0
                except BrokerAway as away:
                    pause = min(max(2 * pause, 0.5), _LONGEST_PAUSE)
                    self._say(f"Kafka does not answer ({away}); asked again in {pause:.1f} s. Nothing is lost: bronze says where to go on")
                    self._stop.wait(pause)
                except _TopicsChanged:
                    self._close_reader()
                    self._topics, self._looked = {}, float("-inf")
                except Fenced as fenced:
                    self._begin_again(fenced)
                if self._stopped and self._stopped.keys() >= self._deliveries.keys():
                    break
        finally:
            self._close_reader()
            self._broker.close()
        if self._stopped:
            raise RecordsMissing("\n".join(str(error) for error in dict.fromkeys(self._stopped.values())))
        return is_caught_up

    def _step(self) -> bool:
        """Look, read, land what is due; whether everything there was at the start is landed."""
        self._look()
        if not self._deliveries:
            self._stop.wait(_POLL_SECONDS)
            return self._options.until_caught_up
        if self._reader is None:
            self._reader = self._open_reader(self._connection, self._options.group, self._options.lost_after)
        if self._reading != set(self._deliveries):
            self._read_from(self._reader)
        self._settle(self._reader, *self._reader.lost_and_gained())
        try:
            for fetched in self._reader.poll(0 if self._is_full() else _POLL_SECONDS, self._room()):
                self._keep(fetched)
        except OffsetGone as gone:
            self._see_gone(self._reader, gone.partition)
        for feed in sorted(self._feeds.values(), key=lambda f: f.since or 0):
            if self._is_due(feed) and not self._stop.is_set():
                self._land(feed)
        return self._options.until_caught_up and self._is_caught_up()

    # What there is to land

    def _look(self) -> None:
        """Find topics, and see that those being landed are still the same."""
        if time.monotonic() - self._looked < _SECONDS_BETWEEN_LOOKS:
            return
        self._run.renew()
        found = self._ours(self._broker.topics())
        self._leave_gone(self._topics.keys() - found.keys())
        new = {name: topic for name, topic in found.items() if name not in self._topics or self._topics[name].id != topic.id}
        self._deliveries = {p: self._delivery(topic, p) for _, topic in sorted(found.items()) for p in topic.partitions}
        if new:
            self._see_not_made_again(new)
        reach = self._broker.reach(self._deliveries)
        if self._ends is None:
            self._ends = {p: r.end if r.end > r.earliest else 0 for p, r in reach.items()}
            records = sum(r.end - r.earliest for r in reach.values())
            self._say(f"{len(found):,} topics of feeds, {len(reach):,} partitions, {records:,} records in them")
        self._watch.reach({self._deliveries[p]: r.end for p, r in reach.items()})
        self._topics, self._looked = found, time.monotonic()

    def _leave_gone(self, names: Set[str]) -> None:
        """Land what was read in time of topics that are no longer there."""
        for feed in self._feeds.values():
            gone = [log for p, log in feed.logs.items() if p.topic in names]
            if gone:
                self._land(feed)
            for log in gone:
                self._say(f"{log.partition.topic}/{log.partition.number}: the topic is gone; it was read up to record {log.next - 1}")

    def _ours(self, topics: Mapping[str, Topic]) -> dict[str, Topic]:
        ours = {}
        for name, topic in sorted(topics.items()):
            route = Route.of(name)
            if route is None:
                if name not in self._passed_over and not name.endswith(".receipt"):
                    self._passed_over.add(name)
                    self._say(f"{name}: no topic of a feed, passed over; expected {SHAPE}")
            elif not self._options.feeds or route.feed_id in self._options.feeds:
                ours[name] = topic
        return ours

    def _delivery(self, topic: Topic, partition: Partition) -> Delivery:
        route = Route.of(topic.name)
        assert route is not None
        return delivery(topic.name, topic.id, partition.number, route, route.refusal(self._run.contracts, self._run.senders))

    def _see_not_made_again(self, new: Mapping[str, Topic]) -> None:
        """Stop topics of which another of the same name was landed, or was to be, unless that one is ended."""
        for log_id, (name, _) in sorted(self._opened.names(list(new)).items()):
            _, old_id, number = log_id.rsplit("/", 2)
            if old_id == new[name].id:
                continue
            partition = Partition(name, int(number))
            old = self._delivery(Topic(name, old_id, ()), partition)
            desk = self._feed(old).desk
            if desk.is_ended(old):
                continue
            landed = desk.landed([old]).get(old.id, BEFORE_ANY)
            accepting = f"{name}@{old_id}"
            if accepting in self._options.accepted:
                desk.end(old, f"主题 {name} 已删除重建，旧主题第 {partition.number} 分区{_up_to_zh(landed)}，其后如有未接收的数据已无法找回")
                self._say(f"{old.id}: ended, as accepted; the receipt says so")
                continue
            missing = RecordsMissing(
                f"{name}: the topic was deleted and made again: its id was {old_id} and is {new[name].id}. Partition {number} of the old one is "
                f"landed {_up_to(landed)}; what may have come after that is not in bronze and no longer in Kafka. Nothing of the new topic is landed "
                f"until somebody has looked; see {RUNBOOK}. To go on: --accept-missing {accepting}"
            )
            for each in new[name].partitions:
                self._stop_at(each, missing)

    def _stop_at(self, partition: Partition, missing: RecordsMissing) -> None:
        if partition not in self._stopped:
            self._stopped[partition] = missing
            self._watch.stopped(self._deliveries[partition])
            if missing not in list(self._stopped.values())[:-1]:
                self._say(f"STOPPED {missing}")

    # Who lands what

    def _read_from(self, reader: Reader) -> None:
        if self._options.group is None:
            reader.take(sorted(self._deliveries))
            self._settle(reader, {p for feed in self._feeds.values() for p in feed.logs}, set(self._deliveries))
        else:
            reader.share(sorted(self._topics))
        self._reading = set(self._deliveries)

    def _settle(self, reader: Reader, lost: set[Partition], gained: set[Partition]) -> None:
        """Let go of the partitions that are lost, and take over those that are new; what was lost and given back at once goes on."""
        for feed in self._feeds.values():
            gone = [p for p, log in feed.logs.items() if p in lost - gained or log.delivery != self._deliveries.get(p)]
            feed.desk.let_go([feed.logs.pop(p).delivery.id for p in gone])
            for partition in gained & feed.logs.keys():
                reader.begin(partition, feed.logs[partition].next)
        new = sorted(p for p in reader.assigned() & self._deliveries.keys() if self._log(p) is None and p not in self._stopped)
        for _, partitions in groupby(sorted(new, key=lambda p: self._deliveries[p].feed), key=lambda p: self._deliveries[p].feed):
            self._take_over(reader, list(partitions))

    def _take_over(self, reader: Reader, partitions: Sequence[Partition]) -> None:
        """Become the lander of partitions of one feed, and go on where the tables say."""
        deliveries = [self._deliveries[p] for p in partitions]
        feed = self._feed(deliveries[0])
        opened = self._opened.names(sorted({p.topic for p in partitions}))
        begins = feed.desk.take_over(deliveries)
        reach = self._broker.reach(partitions)  # not before: whoever lands them now may land more until he is fenced
        logs = []
        for partition, sent in zip(partitions, deliveries, strict=True):
            first = opened[sent.id][1] if sent.id in opened else reach[partition].earliest
            logs.append(_Log(sent, partition, max(begins[sent.id], first)))
        new = [log for log in logs if log.delivery.id not in opened]
        self._opened.enter([log.delivery for log in new], [log.next for log in new], datetime.now(UTC))
        for log in logs:
            if self._is_whole(log, reach[log.partition]):
                self._watch.landed_to(log.delivery, log.next - 1)
                feed.logs[log.partition] = log
                reader.begin(log.partition, log.next)

    def _see_gone(self, reader: Reader, partition: Partition) -> None:
        """The cluster no longer has what was to be read next."""
        log, sent = self._log(partition), self._deliveries.get(partition)
        if log is None or sent is None:
            return
        feed = self._feed(sent)
        self._land(feed)  # what was read in time
        if self._is_whole(log, self._broker.reach([partition])[partition]):
            reader.begin(partition, log.next)
        else:
            reader.hold([partition])
            feed.logs.pop(partition)

    def _is_whole(self, log: _Log, reach: Reach) -> bool:
        """Whether the partition holds what is to be read next, and all that was landed; where not, and nobody has accepted it, it is stopped."""
        place = f"{log.partition.topic}/{log.partition.number}"
        if log.next > reach.end:
            lost = RecordsMissing(
                f"{place}: landed up to record {log.next - 1}, and the partition ends before {reach.end}: the cluster has lost records and gives "
                f"their numbers to others. Nothing of it is landed until somebody has looked; see {RUNBOOK}"
            )
            self._stop_at(log.partition, lost)
            return False
        if log.next >= reach.earliest:
            return True
        first, last = log.next, reach.earliest - 1
        gap = f"{place}:{first}-{last}"
        if gap not in self._options.accepted:
            missing = RecordsMissing(
                f"{place}: expected to go on at record {first}, the partition begins at {reach.earliest}: records {first} to {last} were not landed "
                f"and are no longer in Kafka (retention). Nothing of it is landed until somebody has looked; see {RUNBOOK}. "
                f"To go on: --accept-missing {gap}"
            )
            self._stop_at(log.partition, missing)
            return False
        lost_zh = f"第 {first}–{last} 条（共 {last - first + 1} 条）过期前未接收，已无法找回"
        self._feed(log.delivery).desk.skip(log.delivery, first, last, lost_zh)
        self._say(f"{place}: went on behind {last - first + 1:,} missing records, as accepted; the receipt says so")
        log.next = reach.earliest
        return True

    def _begin_again(self, fenced: Fenced) -> None:
        """Of a group: another member has what this one was thought to have lost; leave, and join anew."""
        self._fenced += 1
        if self._options.group is None or self._fenced > _FENCED_AT_MOST:
            raise fenced
        self._say(f"{fenced}; joining the group {self._options.group} anew")
        self._close_reader()

    def _close_reader(self) -> None:
        """What is held is read again, and what was judged is judged anew."""
        if self._reader is not None:
            self._reader.close()
        self._reader = None
        self._reading.clear()
        self._feeds.clear()

    # Rows on their way

    def _feed(self, sent: Delivery) -> _Feed:
        # A feed that has got a contract while the lander runs goes to a desk of its own.
        contract = self._run.contracts.get(sent.feed)
        key = f"{sent.feed}{'' if contract else '?'}"
        if key not in self._feeds:
            if contract:
                self._feeds[key] = _Feed(FeedDesk(self._run, contract, self._regions))
            else:
                assert sent.refusal is not None
                self._feeds[key] = _Feed(UnroutedDesk(self._run, sent.feed, sent.refusal))
        return self._feeds[key]

    def _log(self, partition: Partition) -> _Log | None:
        return next((feed.logs[partition] for feed in self._feeds.values() if partition in feed.logs), None)

    def _keep(self, fetched: Fetched) -> None:
        log = self._log(fetched.partition)
        if log is None or not fetched.offsets or fetched.offsets[0] < log.next:
            return  # read before the partition was lost or begun anew
        feed = self._feed(log.delivery)
        offsets = np.array(fetched.offsets)
        for start, block in self._blocks(log.delivery, fetched):
            feed.desk.add(log.delivery.id, offsets[start : start + len(block)], block)
            feed.size += sum(block.sizes())
        log.next = fetched.offsets[-1] + 1
        feed.since = feed.since or time.monotonic()

    def _is_full(self) -> bool:
        return sum(feed.size for feed in self._feeds.values()) >= HELD_BYTES

    def _room(self) -> int:
        fullest = max((feed.desk.rows for feed in self._feeds.values()), default=0)
        return max(min(self._options.batch_rows - fullest, _POLL_ROWS), 1)

    def _is_due(self, feed: _Feed) -> bool:
        if feed.since is None:
            return False
        if feed.desk.rows >= self._options.batch_rows or time.monotonic() - feed.since >= self._options.every:
            return True
        if self._is_full():
            return feed.size == max(f.size for f in self._feeds.values())
        return self._options.until_caught_up and all(self._is_read(log) for log in feed.logs.values())

    def _land(self, feed: _Feed) -> None:
        """Land what waits of a feed."""
        self._see_ids({p.topic for p in feed.logs})
        for receipt in feed.desk.land():
            self.counts.setdefault(receipt.chunk.delivery.feed, Counts()).add(receipt)
            self._watch.landed(receipt)
        # Rows that still wait are of a log whose begun batch is not read to its end yet.
        feed.size, feed.since = (0, None) if not feed.desk.rows else (feed.size, time.monotonic())
        self._fenced = 0

    def _see_ids(self, topics: Iterable[str]) -> None:
        """See that what was read is of the topics that it was taken for: an id that is there now was there all the time.

        Of a topic that is gone it is, too, and nowhere else any more.
        """
        now = self._broker.ids(topics)
        if any(topic_id != self._topics[name].id for name, topic_id in now.items()):
            raise _TopicsChanged

    def _blocks(self, sent: Delivery, fetched: Fetched) -> Iterator[tuple[int, Block]]:
        """(place of the first row, rows) of what one look at a partition has brought."""
        values = fetched.values
        if sent.refusal is not None:
            yield 0, Refused(sent.refusal.rule, sent.refusal.detail, [v or b"" for v in values])
            return
        whole = [v for v in values if v is not None]
        if len(whole) == len(values) and max(map(len, whole)) <= LARGEST_ROW_BYTES:
            yield 0, Lines(whole)
            return
        kinds = (("none" if v is None else "large" if len(v) > LARGEST_ROW_BYTES else "line", n) for n, v in enumerate(values))
        for kind, found in groupby(kinds, key=itemgetter(0)):
            places = [n for _, n in found]
            if kind == "line":
                yield places[0], Lines([values[n] or b"" for n in places])
            elif kind == "none":
                # A record with a key alone is how Kafka deletes; here a row says so itself, and which version it is of.
                detail = "expected a JSON object, got a record without a value; a delete is a row with _op"
                yield places[0], Refused(NO_VALUE, detail, [fetched.keys[n] for n in places])
            else:
                for n in places:
                    yield n, self._too_large(sent, fetched.offsets[n], values[n] or b"")

    def _too_large(self, sent: Delivery, offset: int, value: bytes) -> Unreadable:
        folder = sent.feed if sent.feed in self._run.contracts else UNROUTED
        kept = self._vault.keep(io.BytesIO(value), folder, f"{sent.feed}/{sent.id}/{offset}")
        return Unreadable("row_too_large", f"expected at most {LARGEST_ROW_BYTES} bytes in a row", reference=kept)

    # Caught up

    def _is_read(self, log: _Log) -> bool:
        """Whether all that was in the partition at the start is read."""
        end = (self._ends or {}).get(log.partition, 0)
        if log.next >= end:
            return True
        # Behind the last record there may be marks of transactions, which a client passes over in silence.
        return self._reader is not None and self._reader.position(log.partition) >= end

    def _is_caught_up(self) -> bool:
        if any(feed.desk.rows for feed in self._feeds.values()):
            return False
        elsewhere = []
        for partition, end in (self._ends or {}).items():
            log, sent = self._log(partition), self._deliveries.get(partition)
            if log is not None:
                if not self._is_read(log):
                    return False
            elif sent is not None and end and partition not in self._stopped:
                elsewhere.append((sent, end))
        return self._are_landed_elsewhere(elsewhere)

    def _are_landed_elsewhere(self, ends: Sequence[tuple[Delivery, int]]) -> bool:
        """Whether other landers of the group have landed what is theirs; asked at most once a second."""
        if not ends:
            return True
        if time.monotonic() - self._looked_elsewhere < 1:
            return False
        self._looked_elsewhere = time.monotonic()
        return all(self._feed(sent).desk.landed([sent]).get(sent.id, BEFORE_ANY) + 1 >= end for sent, end in ends)


def _up_to(landed: int) -> str:
    return f"up to record {landed}" if landed >= 0 else "not at all"


def _up_to_zh(landed: int) -> str:
    return f"已接收至第 {landed} 条" if landed >= 0 else "未曾接收"
