"""The sandbox as a topic of a broker that production does not read: cases are produced into the sender's topic, landed into a lake of tests.

The whole topic is landed anew each time. Which records the kit has produced is remembered beside that lake; the others are the sender's own.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from kafka import KafkaProducer
from kafka.errors import KafkaError

from gridlake.contracts import Contract
from gridlake.runs import Run, RunError
from gridlake.senders import Sender
from gridlake.settings import Settings
from gridlake.tables import write_file
from streaming import receipts
from streaming.conform.cases import ACCEPTED, DUPLICATE, REFUSED, WAITING, Case
from streaming.conform.deliveries import Landed, still_refused
from streaming.conform.folder import Came, Shown, accepted_positions, held_positions, with_gates
from streaming.kafka.broker import Broker, BrokerAway, Connection
from streaming.kafka.lander import KafkaLander, Options
from streaming.kafka.reader import opener
from streaming.watch import Watch

SCHEME = "kafka://"
# A broker takes 1 MiB by default, its own bytes included; longer rows are a case of other channels.
_LARGEST_RECORD = 1_000_000
_SENT_WITHIN_S = 60


class TopicSandbox:
    """The topic `<source>.<feed>.<sender>` of a sandbox broker."""

    kind = "kafka"

    def __init__(self, address: str, settings: Settings, home: Path, contract: Contract, sender: Sender) -> None:
        self.address, self._contract, self._sender = address, contract, sender
        self._connection = Connection.read(address.removeprefix(SCHEME), settings.kafka_properties)
        self._topic = f"{contract.source}.{contract.feed}.{sender.code}"
        place = home / contract.id / sender.code
        self._tally = place / "produced.json"
        lake = place / "topic-lake"
        shutil.rmtree(lake, ignore_errors=True)
        self.run = Run.start(settings.model_copy(update={"home": lake, "key_file": lake / "keys.json"}), quiet=True)
        self.run.contracts = with_gates(contract, self.run.contracts)
        self._log = self._log_of_topic()
        self._landed = False

    def takes(self, case: Case) -> bool:
        """A topic has records, no files."""
        return case.is_lines and any(len(line) <= _LARGEST_RECORD for line in case.rows)

    def show(self, cases: Sequence[Case], mark: str) -> dict[str, Shown]:
        """Produce every case's rows into the first partition, land the topic, and tell what came of each row."""
        started = time.monotonic()
        offsets = self._produce({case.id: _fitting(case).rows for case in cases})
        self._land()
        seconds = time.monotonic() - started
        feed = self._contract.id
        accepted, (refused, waiting) = accepted_positions(self.run, f"bronze.{feed}"), held_positions(self.run, f"quarantine.{feed}")

        def came(offset: int) -> Came:
            position = f"{self._log}#{offset:010d}"
            if position in accepted:
                return Came(ACCEPTED)
            return Came(REFUSED, refused[position]) if position in refused else Came(WAITING if position in waiting else DUPLICATE)

        return {name: Shown(tuple(map(came, found)), seconds) for name, found in offsets.items()}

    def fitting(self, case: Case) -> Case:
        """The case without rows that no record can hold."""
        return _fitting(case)

    def own_cases(self, row: Mapping[str, Any]) -> Iterator[tuple[Case, Shown]]:
        """A topic shows nothing that the cases do not: who may write to it is the broker's."""
        return iter(())

    def own(self) -> Landed | None:
        """What else is in the topic; None where there is nothing."""
        if not self._landed:
            self._land()
        feed, ours = self._contract.id, ds.field("_sender_code") == self._sender.code
        produced = [offset for first, last in self._produced() for offset in range(first, last + 1)]
        kit = pa.array([f"{self._log}#{offset:010d}" for offset in produced], pa.string())
        rows, refused = (
            found.filter(pc.invert(pc.is_in(found.column("_source_position"), kit)))
            for found in (self.run.tables.read(f"bronze.{feed}", where=ours), still_refused(self.run, feed, ours))
        )
        told = self._told()
        received = sum(r["received"] for r in told) - len(produced)
        if received <= 0:
            return None
        waiting = min(sum(r["waiting"] for r in told), received - rows.num_rows - refused.num_rows)
        counts = {"received": received, "accepted": rows.num_rows, "refused": refused.num_rows, "waiting": waiting}
        counts["duplicate"] = received - rows.num_rows - refused.num_rows - waiting
        entry = {"_delivery_id": self._log, "file_name": self._topic, "state": receipts.LANDED, "reasons": "{}", **counts}
        return Landed([entry], rows, refused)

    def _log_of_topic(self) -> str:
        broker = Broker(self._connection)
        try:
            found = broker.topics().get(self._topic)
        except BrokerAway as away:
            raise RunError(f"--endpoint {self.address}: no broker answers ({away}); start the sandbox's broker, or correct the address") from away
        finally:
            broker.close()
        if found is None:
            raise RunError(f"--endpoint {self.address}: no topic {self._topic}; create it on the sandbox's broker, then run this again")
        return f"kafka:{self._topic}/{found.id}/0"

    def _produce(self, rows: Mapping[str, Sequence[bytes]]) -> dict[str, list[int]]:
        try:
            producer = KafkaProducer(acks="all", linger_ms=5, max_request_size=4 << 20, **self._connection.for_kafka_python)
            try:
                sent = {name: [producer.send(self._topic, line, partition=0) for line in lines] for name, lines in rows.items()}
                producer.flush(_SENT_WITHIN_S)
                offsets = {name: [int(future.get(_SENT_WITHIN_S).offset) for future in futures] for name, futures in sent.items()}
            finally:
                producer.close(_SENT_WITHIN_S)
        except KafkaError as error:
            raise RunError(f"--endpoint {self.address}: the broker does not take the records of {self._topic} ({error})") from error
        everything = sorted(offset for found in offsets.values() for offset in found)
        if everything:
            runs = [*self._produced(), *_runs(everything)]
            write_file(self._tally, json.dumps({self._log: runs}).encode())
        return offsets

    def _produced(self) -> list[list[int]]:
        """The kit's records as [first, last] offsets, of this topic and no earlier one of its name."""
        if not self._tally.exists():
            return []
        found: list[list[int]] = json.loads(self._tally.read_text(encoding="utf-8")).get(self._log, [])
        return found

    def _land(self) -> None:
        options = Options(feeds=(self._contract.id,), until_caught_up=True)
        KafkaLander(self.run, self._connection, opener("python"), options, Watch(), Event()).land()
        self._landed = True

    def _told(self) -> list[dict[str, Any]]:
        ours = (ds.field("feed") == self._contract.id) & (ds.field("sender_code") == self._sender.code)
        told: list[dict[str, Any]] = self.run.tables.read(receipts.TABLE, where=ours).to_pylist()
        return told


def _fitting(case: Case) -> Case:
    kept = [n for n, line in enumerate(case.rows) if len(line) <= _LARGEST_RECORD]
    if len(kept) == len(case.rows):
        return case
    content = b"".join(case.rows[n] + b"\n" for n in kept)
    notes = tuple(case.notes[n] for n in kept if n < len(case.notes))
    return replace(case, content=content, expected=tuple(case.expected[n] for n in kept), notes=notes)


def _runs(offsets: Sequence[int]) -> list[list[int]]:
    found: list[list[int]] = []
    for offset in offsets:
        if found and found[-1][1] == offset - 1:
            found[-1][1] = offset
        else:
            found.append([offset, offset])
    return found
