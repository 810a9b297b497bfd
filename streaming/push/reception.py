"""Who is at the door: signatures checked, bodies bounded, keys looked up, pushes handed to the desk of their feed. Knows no web server."""

from __future__ import annotations

import asyncio
import hashlib
import re
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec
import pyarrow as pa
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from gridlake.contracts import Contract
from gridlake.credentials import Secrets
from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.senders import Sender
from gridlake.signatures import Claim, Message, SignatureRefused, check_digest, claim
from streaming.push.answers import Answer, Answers
from streaming.push.bodies import LARGEST_BODY, BodyRefused, kind_of, unpack
from streaming.push.desk import ANSWERS, JOURNALS, AnswerLater, Desk, Entry, NotTaken, folder_of
from streaming.push.journal import JournalDamaged, Kind, Push
from streaming.push.nonces import Nonces

# Pushes that may wait for the disk at one time; more are told to come back.
MOST_WAITING, MOST_WAITING_BYTES = 2000, 64 << 20
# Seconds that a sender waits for its receipt, and that its body may take to arrive.
RECEIPT_WITHIN_S, BODY_WITHIN_S = 10.0, 60.0
# Larger bodies are read beside the event loop, which others wait for.
_LARGE = 64 << 10
_KEY = re.compile(r"[\x21-\x7e]{1,200}")
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10)


class Refused(Exception):
    """A request that is not taken: HTTP's status, a code for machines, what was expected, came, and is to be done."""

    def __init__(self, status: int, code: str, expected: str, came: str, do: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{code}: expected {expected}, came {came}; {do}")
        self.status, self.code, self.expected, self.came, self.do, self.retry_after_s = status, code, expected, came, do, retry_after_s


@dataclass(frozen=True)
class Told:
    """What is answered: a receipt (JSON), or that it comes later; whether it was given before."""

    status: int
    body: bytes
    was_told_before: bool = False


class Reception:
    """All desks of one lake, and who may come to them."""

    def __init__(self, run: Run, on_broken: Callable[[Exception], None]) -> None:
        self._run, self._on_broken = run, on_broken
        self._secrets = Secrets(run.settings.secrets)
        # A bare digest would give a short body, such as a phone number, away by trial.
        self._secret = str(run.keys.token(pa.array(["push digest"]))[0].as_py()).encode()
        self._regions = RegionTree(run.vocabularies.regions)
        self._folder = folder_of(run.settings.home, "http")
        self._nonces = Nonces(run.settings.home / JOURNALS / "nonces", time.time())
        self._answers = Answers(self._folder / ANSWERS, run.keys)
        self._desks: dict[str, Desk] = {}
        self._opening = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self.registry = CollectorRegistry()
        self._requests = Counter("gridlake_push_requests", "Requests by outcome", ["feed", "sender", "outcome"], registry=self.registry)
        self._rows = Counter("gridlake_push_rows", "Rows told of in receipts, by state", ["feed", "sender", "state"], registry=self.registry)
        self._strangers = Counter("gridlake_push_unsigned", "Requests whose signature was refused, by code", ["code"], registry=self.registry)
        self._took = Histogram("gridlake_push_seconds", "Seconds from request to receipt", ["feed"], buckets=_SECONDS, registry=self.registry)
        now = {
            "gridlake_push_waiting": ("Pushes that wait for the disk", lambda: self._waiting),
            "gridlake_push_unlanded_rows": ("Rows judged and not yet in bronze", lambda: sum(d.unlanded for d in [*self._desks.values()])),
            "gridlake_push_journal_bytes": ("Bytes of the journals", lambda: sum(d.journal_bytes for d in [*self._desks.values()])),
        }
        for name, (said, value) in now.items():
            Gauge(name, said, registry=self.registry).set_function(value)

    def open(self) -> None:
        """Land what a process before left in the journals; then requests may come."""
        for feed in sorted(path.parent.parent.name for path in self._folder.glob("*/*/id")):
            if feed in self._run.contracts:
                self._desk(feed)
            elif any(path.stat().st_size for path in (self._folder / feed).glob("*/*.log")):
                raise JournalDamaged(f"{self._folder / feed}: holds pushes that are not landed, and no contract has this name; put the contract back")

    def close(self) -> None:
        """Answer and land what is here."""
        for desk in self._desks.values():
            desk.stop()
        self._nonces.sync(time.time())
        self._nonces.close()

    def health(self) -> dict[str, object]:
        """Whether pushes are taken, and what is behind."""
        failures = {feed: f"{type(d.failure).__name__}: {d.failure}" for feed, d in self._desks.items() if d.failure is not None}
        return {
            "state": "failing" if failures else "ok",
            "failures": failures,
            "waiting": self._waiting,
            "unlanded_rows": sum(d.unlanded for d in self._desks.values()),
        }

    async def push(self, message: Message, source: str, feed: str, body: AsyncIterator[bytes]) -> Told:
        """Take one push in; gives its receipt. Raises Refused."""
        started = time.monotonic()
        sender, said = self._known(message)
        contract = self._entitled(sender, source, feed)
        name = f"{source}.{feed}"
        try:
            told = await self._taken(message, said, sender, contract, body)
        except Refused as refused:
            self._requests.labels(name, sender.code, refused.code).inc()
            raise
        self._requests.labels(name, sender.code, "repeated" if told.was_told_before else "taken" if told.status == 200 else "later").inc()
        self._took.labels(name).observe(time.monotonic() - started)
        return told

    async def receipt(self, message: Message, source: str, feed: str, key: str) -> Told:
        """The receipt that was given under a key. Raises Refused."""
        sender, said = self._known(message)
        contract = self._entitled(sender, source, feed)
        self._see_new(sender, said, b"", message)
        desk = self._desks.get(contract.id)
        entry = desk.pending(sender.code, key) if desk else None
        if entry is not None and entry.receipt is None:
            if not entry.is_durable:
                raise _busy()
            return Told(202, _later(key))
        found = entry.receipt if entry is not None else self._found(contract, sender, key)
        if found is None:
            raise Refused(404, "unknown_key", f"the key of a push to {source}.{feed} of the last days", key[:100], "send the push (again)")
        return Told(200, found if isinstance(found, bytes) else found.receipt)

    def _known(self, message: Message) -> tuple[Sender, Claim]:
        """The sender whose key signed the request."""
        try:
            said = claim(message)
            sender = self._run.senders.get(said.keyid)
            now = datetime.now(UTC)
            keys = self._secrets.valid(sender.http_secret, now) if sender is not None and sender.http_secret else []
            said.verify(keys, now.timestamp())
        except SignatureRefused as refused:
            raise self._stranger(refused) from None
        if sender is None:
            raise ValueError("a signature was verified without a key")
        return sender, said

    def _stranger(self, refused: SignatureRefused) -> Refused:
        self._strangers.labels(refused.code).inc()
        return Refused(401, refused.code, "a request signed by its sender", refused.detail, "see docs/how-to/push-over-http.md")

    def _entitled(self, sender: Sender, source: str, feed: str) -> Contract:
        self._run.renew()
        contract = self._run.contracts.get(f"{source}__{feed}")
        if contract is None:
            self._requests.labels("unknown", sender.code, "unknown_feed").inc()
            raise Refused(404, "unknown_feed", "a feed that has a contract", f"{source}.{feed}"[:200], "correct the address")
        if contract.is_retired:
            self._requests.labels(f"{source}.{feed}", sender.code, "retired").inc()
            raise Refused(
                410, "retired", "a version of the feed that is in force", f"{source}.{feed} {contract.version}", "send the version now in force"
            )
        if not sender.may_send(source, feed, contract.version):
            self._requests.labels(f"{source}.{feed}", sender.code, "not_entitled").inc()
            raise Refused(
                403, "not_entitled", f"one of the feeds of {sender.code}: {', '.join(sender.feeds)}", f"{source}.{feed} {contract.version}",
                "ask for the feed to be added to the sender's file",
            )  # fmt: skip
        return contract

    async def _taken(self, message: Message, said: Claim, sender: Sender, contract: Contract, body: AsyncIterator[bytes]) -> Told:
        """Counted as waiting from before its body is read, so that what is in memory is bounded."""
        headers, size = message.headers, 0
        if self._waiting >= MOST_WAITING or self._waiting_bytes >= MOST_WAITING_BYTES:
            raise _busy()
        self._waiting += 1
        try:
            kind = kind_of(headers.get("content-type", ""))
            packed = await self._whole(body, headers.get("content-length"))
            size = len(packed)
            self._waiting_bytes += size
            self._see_new(sender, said, packed, message)
            encoding = headers.get("content-encoding", "")
            key = _key(headers.get("idempotency-key", ""), said.nonce)
            if contract.id not in self._desks:
                await asyncio.to_thread(self._desk, contract.id)
            if len(packed) > _LARGE or encoding:
                entry = await asyncio.to_thread(self._read, contract, sender, kind, packed, encoding, key)
            else:
                entry = self._read(contract, sender, kind, packed, encoding, key)
            self._waiting_bytes += entry.size - size
            size = entry.size
            return await self._answered(self._desks[contract.id], contract, sender, entry)
        except BodyRefused as refused:
            raise Refused(refused.status, refused.code, refused.expected, _came(headers), "correct it and send it again") from None
        finally:
            self._waiting, self._waiting_bytes = self._waiting - 1, self._waiting_bytes - size

    async def _answered(self, desk: Desk, contract: Contract, sender: Sender, entry: Entry) -> Told:
        """From here to the offer nothing is awaited: a key that comes twice at once is seen."""
        key = entry.push.key
        before: Entry | Answer | None = desk.pending(sender.code, key) or self._found(contract, sender, key)
        if before is not None:
            digest = before.push.digest if isinstance(before, Entry) else before.digest
            if digest != entry.push.digest:
                raise Refused(409, "key_reused", "the same content under the same Idempotency-Key", "other content", "give other content another key")
            if before.receipt is None:
                if isinstance(before, Entry) and not before.is_durable:
                    raise _busy()
                return Told(202, _later(key), was_told_before=True)
            return Told(200, before.receipt, was_told_before=True)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes | Exception] = loop.create_future()

        def answered(result: bytes | Exception) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_set, answer, result)

        entry.answered = answered
        desk.offer(entry)
        done, _ = await asyncio.wait([answer], timeout=RECEIPT_WITHIN_S)
        if not done and (desk.withdraw(entry) or not entry.is_durable):
            raise _busy()
        result = answer.result() if done else AnswerLater("")
        if isinstance(result, NotTaken):
            raise Refused(503, "not_kept", "a disk that takes the push", str(result), "send it again later under the same key", 5)
        if isinstance(result, Exception):
            return Told(202, _later(key))
        self._count(f"{contract.source}.{contract.feed}", sender.code, result)
        return Told(200, result)

    async def _whole(self, body: AsyncIterator[bytes], length: str | None) -> bytes:
        too_large = BodyRefused(413, "too_large", f"a body of at most {LARGEST_BODY >> 20} MiB; send it in parts")
        if length is not None and length.isdecimal() and int(length) > LARGEST_BODY:
            raise too_large
        pieces, size = [], 0
        try:
            async with asyncio.timeout(BODY_WITHIN_S):
                async for piece in body:
                    size += len(piece)
                    if size > LARGEST_BODY:
                        raise too_large
                    pieces.append(piece)
        except TimeoutError:
            raise BodyRefused(408, "too_slow", f"the whole body within {BODY_WITHIN_S:.0f} s") from None
        return b"".join(pieces)

    def _see_new(self, sender: Sender, said: Claim, body: bytes, message: Message) -> None:
        """The body is the one that was signed, and the request was not made before."""
        try:
            check_digest(message, body)
            if not self._nonces.is_new(sender.code, said.nonce):
                raise SignatureRefused("nonce_repeated", "this nonce was used before; sign the request anew, with a nonce of its own")
        except SignatureRefused as refused:
            raise self._stranger(refused) from None

    def _read(self, contract: Contract, sender: Sender, kind: Kind, packed: bytes, encoding: str, key: str) -> Entry:
        content = unpack(packed, encoding)
        digest = hashlib.sha256(b"\0".join((self._secret, kind.encode(), content))).hexdigest()[:32]
        blocks = self._desks[contract.id].blocks(kind, content, sender.code, digest)
        rows = sum(map(len, blocks))
        if not rows:
            raise BodyRefused(400, "empty", "at least one row")
        return Entry(sender.code, Push(key, kind, datetime.now(UTC), digest, rows, content), blocks, lambda _: None)

    def _found(self, contract: Contract, sender: Sender, key: str) -> Answer | None:
        return self._answers.find(contract.id, sender.code, key)

    def _desk(self, feed: str) -> Desk:
        """The desk of a feed, opened when the first push comes."""
        with self._opening:
            if feed not in self._desks:
                desk = Desk(self._run, self._run.contracts[feed], self._regions, self._nonces, self._on_broken)
                desk.start()
                self._desks[feed] = desk
            return self._desks[feed]

    def _count(self, feed: str, sender: str, receipt: bytes) -> None:
        counts = msgspec.json.decode(receipt, type=_Counts)
        for state in ("accepted", "refused", "duplicate", "waiting"):
            if number := getattr(counts, state):
                self._rows.labels(feed, sender, state).inc(number)


class _Counts(msgspec.Struct):
    accepted: int
    refused: int
    duplicate: int
    waiting: int


def _key(given: str, nonce: str) -> str:
    """The sender's key of the push, which the draft of Idempotency-Key puts into quotes; without one the nonce stands for it."""
    key = given.strip().removeprefix('"').removesuffix('"')
    if not given:
        return nonce
    if not _KEY.fullmatch(key):
        raise BodyRefused(400, "key", "an Idempotency-Key of 1 to 200 visible ASCII characters")
    return key


def _came(headers: Mapping[str, str]) -> str:
    shown = {name: headers[name][:100] for name in ("content-type", "content-encoding", "content-length") if name in headers}
    return ", ".join(f"{name}: {value}" for name, value in shown.items()) or "none of the headers"


def _busy() -> Refused:
    return Refused(503, "busy", f"fewer than {MOST_WAITING} pushes at one time", "more", "send it again later under the same key", 1)


def _later(key: str) -> bytes:
    return msgspec.json.encode({"key": key, "state": "kept", "message": "已持久保存，回执稍后可取。", "do": "GET …/receipts/{key} for the receipt"})


def _set(answer: asyncio.Future[bytes | Exception], result: bytes | Exception) -> None:
    if not answer.done():
        answer.set_result(result)
