"""Publishes what goes out: the outbox's messages, and the receipts of what came by Kafka, each to `<topic>.receipt`.

In the order in which they were written, at least once: a relay that was killed between publishing and remembering publishes again, with the
same message ids. How far it is stands in `outbox.relayed`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from kafka import KafkaAdminClient, KafkaProducer
from kafka.errors import KafkaError, RetriableError, TopicAlreadyExistsError

from gridlake import outbox
from gridlake.contracts.compile import RECEIPT_SCHEMA
from gridlake.outbox import Message
from gridlake.runs import Run, RunError
from gridlake.tables import Forgotten
from streaming import receipts
from streaming.kafka.broker import Broker, BrokerAway, Connection
from streaming.kafka.topics import receipt_topic

TABLE = "outbox.relayed"
SCHEMA = pa.schema([("source", pa.string()), ("version", pa.int64()), ("messages", pa.int64()), ("relayed_at", pa.timestamp("us", "UTC"))])
# Commits are kept for a day. After a longer absence rows are chosen by their own clock, which may be that much behind their commit.
_MARGIN = timedelta(days=1)
_ANSWERS_WITHIN_SECONDS = 30
_LONGEST_PAUSE = 15.0


@dataclass(frozen=True)
class _Source:
    """A table whose rows go out, when each was written, and what is said of it."""

    table: str
    schema: pa.Schema
    written_at: str
    messages: Callable[[pa.Table], list[Message]]


class Relay:
    """Publishes until told to stop, or until all is out."""

    def __init__(self, run: Run, connection: Connection, stop: Event, *, every: float, until_caught_up: bool) -> None:
        self._run, self._tables, self._connection, self._stop = run, run.tables, connection, stop
        self._every, self._until_caught_up = every, until_caught_up
        self._broker = Broker(connection)
        self._producer: KafkaProducer | None = None
        self._topics: set[str] = set()
        self._passed: dict[str, int] = {}
        self.published: dict[str, int] = {}

    def relay(self) -> None:
        """Publish; waits for another relay of this lake to end, and for a cluster that is away."""
        self._tables.ensure(TABLE, SCHEMA)
        for source in _SOURCES:
            self._tables.ensure(source.table, source.schema)
        pause = 0.0
        with self._tables.only_writer(TABLE):
            try:
                while not self._stop.is_set():
                    try:
                        self._publish_new()
                        pause = 0.0
                        if self._until_caught_up:
                            return
                        self._stop.wait(self._every)
                    except (BrokerAway, KafkaError) as away:
                        self._close()
                        pause = min(max(2 * pause, 0.5), _LONGEST_PAUSE)
                        self._run.progress.say(f"Kafka does not take messages ({away}); trying again in {pause:.1f} s. Nothing is lost")
                        self._stop.wait(pause)
            finally:
                self._close()

    def _publish_new(self) -> None:
        for source in _SOURCES:
            for version, rows in self._unpublished(source):
                if self._stop.is_set():
                    return
                messages = source.messages(rows)
                self._passed[source.table] = version
                if not messages:
                    continue  # receipts of other channels; there is nothing to remember before there is something to publish
                self._publish(messages)
                note = {"source": source.table, "version": version, "messages": len(messages), "relayed_at": datetime.now(UTC)}
                self._tables.append(TABLE, pa.Table.from_pylist([note], SCHEMA), {source.table: version})
                self.published[source.table] = self.published.get(source.table, 0) + len(messages)

    def _unpublished(self, source: _Source) -> Iterator[tuple[int, pa.Table]]:
        point = self._tables.resume_point(TABLE, source.table)
        try:
            yield from self._tables.appended(source.table, max(-1 if point is None else point, self._passed.get(source.table, -1)))
        except Forgotten as forgotten:
            noted = self._tables.read(TABLE, columns=["relayed_at"], where=ds.field("source") == source.table).column(0)
            since = pc.max(noted).as_py() - _MARGIN if len(noted) else datetime(1970, 1, 1, tzinfo=UTC)
            self._run.progress.say(f"{forgotten}; everything since {since:%Y-%m-%d %H:%M} goes out again, with the same message ids")
            newest = self._tables.version(source.table)
            rows = self._tables.read(source.table, version=newest, where=ds.field(source.written_at) >= pa.scalar(since))
            yield newest, rows.sort_by(source.written_at)

    def _publish(self, messages: list[Message]) -> None:
        self._make({m.topic for m in messages} - self._topics)
        if self._producer is None:
            self._producer = KafkaProducer(
                **self._connection.for_kafka_python, acks="all", enable_idempotence=True, compression_type="lz4", linger_ms=5
            )
        sent = [
            self._producer.send(m.topic, m.payload.encode(), key=m.key.encode() or None, headers=[("message-id", m.id.encode())]) for m in messages
        ]
        for future in sent:
            future.get(timeout=_ANSWERS_WITHIN_SECONDS)

    def _make(self, topics: set[str]) -> None:
        """Topics of ours that are not there yet, with the cluster's defaults and one partition: the order is part of what is said."""
        missing = topics - self._broker.topics().keys() if topics else set()
        if missing:
            admin = KafkaAdminClient(**self._connection.for_kafka_python)
            try:
                admin.create_topics({name: {"num_partitions": 1} for name in missing}, wait_for_metadata=True)
            except TopicAlreadyExistsError:
                pass
            except RetriableError:
                raise
            except KafkaError as error:
                raise RunError(
                    f"topics {', '.join(sorted(missing))}: not there and cannot be made ({error}); make them, or allow this client to"
                ) from error
            finally:
                admin.close()
        self._topics |= topics

    def _close(self) -> None:
        self._broker.close()
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None
        self._topics.clear()


def _of_outbox(rows: pa.Table) -> list[Message]:
    columns = (rows.column(name).to_pylist() for name in ("message_id", "topic", "key", "payload"))
    return [Message(*values) for values in zip(*columns, strict=True)]


# `gridlake receipt export` gives the digests of the rows.
_NOT_TOLD = {"_delivery_id", "file_name", "batch", "received_at", "reasons", "counted_at", "row_digests", "row_outcomes"}


def _of_receipts(rows: pa.Table) -> list[Message]:
    """What came by Kafka is answered there; other channels have given their answer."""
    ours = rows.filter(pc.starts_with(rows.column("_delivery_id"), "kafka:"))
    return [_receipt(row) for row in ours.to_pylist()]


def _receipt(row: dict[str, Any]) -> Message:
    identity = f"{row['_delivery_id']}#{row['first_row']}-{row['last_row']}:{row['state']}"
    if row["state"] == receipts.REPLAYED:  # there may be several for the same rows
        identity += f":{row['received_at'].isoformat()}"
    told = {"message_id": identity, "topic": row["file_name"], "partition": int(row["_delivery_id"].rpartition("/")[2])}
    kept = {name: row[name] for name in RECEIPT_SCHEMA.names if name not in _NOT_TOLD}
    said = told | kept | {"reasons": json.loads(row["reasons"]), "received_at": row["received_at"].isoformat()}
    return Message(identity, receipt_topic(row["file_name"]), row["sender_code"], json.dumps(said, ensure_ascii=False))


_SOURCES = (
    _Source(receipts.TABLE, RECEIPT_SCHEMA, "received_at", _of_receipts),
    _Source(outbox.TABLE, outbox.SCHEMA, "made_at", _of_outbox),
)
