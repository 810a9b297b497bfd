"""The sandbox as a push server, `gridlake land http --home <sandbox lake>`: cases are pushed with the sender's key, receipts say what came.

Besides the cases that every channel has, it is shown that a request without, with a forged, an expired or a repeated signature is not let in,
and that a push repeated under its key is answered as before. The sender's own rows are those that the kit did not push.
"""

from __future__ import annotations

import http.client
import json
import secrets
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds

from gridlake.contracts import Contract
from gridlake.credentials import Secrets
from gridlake.runs import Run, RunError
from gridlake.senders import Sender
from gridlake.settings import Settings
from gridlake.signatures import sign
from gridlake.tables import write_file
from streaming import receipts
from streaming.conform.cases import ACCEPTED, EMPTY, REFUSED, WAITING, WHOLE, Case, Outcome
from streaming.conform.deliveries import Landed, still_refused
from streaming.conform.folder import Came, Shown

_KINDS = {
    ".jsonl": ("application/x-ndjson", ""),
    ".jsonl.gz": ("application/x-ndjson", "gzip"),
    ".csv": ("text/csv", ""),
    ".pdf": ("application/pdf", ""),
}
# Up to so many rows a receipt tells of each.
_ROWS_A_PUSH = 1000
_BYTES_A_PUSH = 8 << 20
_ANSWER_WITHIN_S, _LANDED_WITHIN_S, _PAUSE_S = 60.0, 30.0, 0.2
_EXPIRED_S = 3600
# What the channel says of a body that a folder would refuse as a file.
_AS_IN_A_FOLDER = {"gzip": "format", "content_type": "format", "content_encoding": "format"}
_TALLIES = "conform"
_COUNTED = ("received", "accepted", "refused", "duplicate", "waiting")


@dataclass
class _Answer:
    status: int
    body: dict[str, Any]
    was_told_before: bool = False


@dataclass
class PushSandbox:
    """A running push server of a sandbox lake, which is read afterwards where it lies on this machine."""

    address: str
    settings: Settings
    home: Path
    contract: Contract
    sender: Sender
    kind: str = "http"
    _positions: list[str] = field(default_factory=list)
    _counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._path = f"/feeds/{self.contract.source}/{self.contract.feed}"
        self._secret = self._key()
        self.run = Run.start(self.settings.model_copy(update={"home": self.home, "key_file": None}), quiet=True)

    def takes(self, case: Case) -> bool:
        """A server takes whatever a body can hold."""
        return case.suffix in _KINDS

    def fitting(self, case: Case) -> Case:
        """A body takes it whole."""
        return case

    def show(self, cases: Sequence[Case], mark: str) -> dict[str, Shown]:
        """Push every case; a case of many rows in several pushes."""
        shown: dict[str, Shown] = {}
        for case in cases:
            started = time.monotonic()
            came = [found for body in _bodies(case) for found in self._came(case, self._push(body, *_KINDS[case.suffix]))]
            shown[case.id] = Shown(tuple(came), time.monotonic() - started)
        return shown

    def own_cases(self, row: Mapping[str, Any]) -> Iterator[tuple[Case, Shown]]:
        """What only this channel has: who is let in, and pushes repeated under their key."""
        line = json.dumps(row, ensure_ascii=False, default=str).encode() + b"\n"
        stranger = secrets.token_urlsafe(32)

        def told(answer: _Answer) -> tuple[Came, ...]:
            return (Came(WHOLE, ((str(answer.body.get("code")), None),)) if answer.status != 200 else Came(ACCEPTED),)

        def case(name: str, title: str, title_en: str, rule: str) -> Case:
            return Case(name, title, title_en, ".jsonl", line, (Outcome(WHOLE, rule),))

        yield case("unsigned", "未签名的请求", "a request without a signature", "signature_missing"), Shown(told(self._send(line, {})), 0.0)
        forged = self._signed(line, key=stranger)
        yield case("forged_signature", "伪造的签名", "a forged signature", "signature_wrong"), Shown(told(self._send(line, forged)), 0.0)
        old = self._signed(line, created=int(time.time()) - _EXPIRED_S)
        yield case("expired_signature", "过期的签名", "an expired signature", "signature_expired"), Shown(told(self._send(line, old)), 0.0)
        changed = self._signed(line)
        yield (
            case("changed_body", "签名后改动内容", "a body changed after it was signed", "digest_wrong"),
            Shown(told(self._send(line + b" ", changed)), 0.0),
        )
        key = f"conform-{secrets.token_hex(8)}"
        once = self._signed(line, key_of_push=key)
        first, again = self._send(line, once), self._send(line, once)
        self._note(first)
        yield case("repeated_nonce", "重放的请求", "a request sent again as it was", "nonce_repeated"), Shown(told(again), 0.0)
        repeated = self._send(line, self._signed(line, key_of_push=key))
        is_same = repeated.status == 200 and repeated.was_told_before and repeated.body == first.body
        yield (
            Case("repeated_push", "以同一 Idempotency-Key 重发", "a push repeated under its key", ".jsonl", line, (Outcome(ACCEPTED),)),
            Shown((Came(ACCEPTED) if is_same else Came("answered_otherwise"),), 0.0),
        )  # fmt: skip
        other = line.replace(b"{", b"{ ", 1)
        answer = self._send(other, self._signed(other, key_of_push=key))
        yield case("reused_key", "同一 Idempotency-Key 换了内容", "other content under the same key", "key_reused"), Shown(told(answer), 0.0)

    def own(self) -> Landed | None:
        """What else the lake has of the feed and the sender: everything that the kit never pushed. None where there is nothing, or no lake here."""
        feed, table = self.contract.id, f"bronze.{self.contract.id}"
        if not self.run.tables.exists(table):
            return None
        counts, positions = self._remembered()
        self._wait_until_landed()
        ours = ds.field("_sender_code") == self.sender.code
        kit = pa.array(positions, pa.string())
        rows, refused = (
            found.filter(pc.invert(pc.is_in(found.column("_source_position"), kit)))
            for found in (self.run.tables.read(table, where=ours), still_refused(self.run, feed, ours))
        )
        told = self.run.tables.read(receipts.TABLE, where=(ds.field("feed") == feed) & (ds.field("sender_code") == self.sender.code)).to_pylist()
        left = {name: sum(receipt[name] for receipt in told) - counts[name] for name in _COUNTED}
        if not left["received"]:
            return None
        entry = {"_delivery_id": f"http:{self.sender.code}", "file_name": self.address, "state": receipts.LANDED, "reasons": "{}", **left}
        return Landed([entry], rows, refused)

    def _wait_until_landed(self) -> None:
        deadline, expected = time.monotonic() + _LANDED_WITHIN_S, set(self._positions)
        names = (f"bronze.{self.contract.id}", f"quarantine.{self.contract.id}")
        while time.monotonic() < deadline:
            there = {p for name in names for p in self.run.tables.read(name, columns=["_source_position"]).column(0).to_pylist()}
            if expected <= there:
                return
            time.sleep(_PAUSE_S)
        raise RunError(
            f"{self.home}: {len(expected)} rows that {self.address} took are not all in this lake after {_LANDED_WITHIN_S:.0f} s; "
            "give with --sandbox the lake of that server"
        )

    def _remembered(self) -> tuple[dict[str, int], list[str]]:
        """(counts, positions) of everything that the kit ever pushed of this feed and sender, this time's kept with them."""
        path = self.home / _TALLIES / self.contract.id / f"{self.sender.code}.json"
        before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"counts": {}, "positions": []}
        total = {name: before["counts"].get(name, 0) + self._counts[name] for name in _COUNTED}
        positions = [*before["positions"], *self._positions]
        write_file(path, json.dumps({"counts": total, "positions": positions}).encode())
        return total, positions

    # -- requests ---------------------------------------------------------------------------------------------------------------------------

    def _key(self) -> str:
        name = self.sender.http_secret
        if name is None:
            raise RunError(f"sender {self.sender.code} has no key to push with; add credentials: {{http: {{secret: NAME}}}} to its file")
        beside = self.home.with_name(self.home.name + ".secrets.json")
        return Secrets(beside if beside.exists() else self.settings.secrets).one(name, datetime.now(UTC))

    def _signed(
        self, body: bytes, kind: str = "application/x-ndjson", encoding: str = "", *, key: str = "", key_of_push: str = "", created: int | None = None
    ) -> dict[str, str]:
        headers = {"content-type": kind, "idempotency-key": key_of_push or f"conform-{secrets.token_hex(8)}"}
        if encoding:
            headers["content-encoding"] = encoding
        return sign("POST", self.address.rstrip("/") + self._path, key or self._secret, self.sender.code, body=body, headers=headers, created=created)

    def _push(self, body: bytes, kind: str, encoding: str) -> _Answer:
        return self._note(self._send(body, self._signed(body, kind, encoding)))

    def _send(self, body: bytes, headers: Mapping[str, str]) -> _Answer:
        parts = urlsplit(self.address)
        make = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = make(parts.netloc, timeout=_ANSWER_WITHIN_S)
        try:
            connection.request("POST", parts.path.rstrip("/") + self._path, body=body, headers=dict(headers))
            answer = connection.getresponse()
            content = answer.read()
        except OSError as error:
            raise RunError(f"--endpoint {self.address}: no answer ({error}); start it with: gridlake land http --home {self.home}") from error
        finally:
            connection.close()
        try:
            found = json.loads(content)
        except ValueError:
            found = {"code": f"http_{answer.status}"}
        return _Answer(answer.status, found if isinstance(found, dict) else {}, answer.getheader("Idempotent-Replayed") == "true")

    def _note(self, answer: _Answer) -> _Answer:
        if answer.status == 200 and not answer.was_told_before:
            self._counts.update({name: answer.body[name] for name in _COUNTED})
            self._positions += [row["position"] for row in answer.body["rows"] if row["state"] in {ACCEPTED, REFUSED, WAITING}]
        return answer

    def _came(self, case: Case, answer: _Answer) -> list[Came]:
        if answer.status != 200:
            code = str(answer.body.get("code"))
            return [Came(EMPTY) if code == "empty" else Came(WHOLE, ((_AS_IN_A_FOLDER.get(code, code), None),))]
        told = {row["row"]: Came(row["state"], tuple((r["rule"], r["field"]) for r in row.get("reasons", ()))) for row in answer.body["rows"]}
        found = [told.get(number, Came(ACCEPTED)) for number in range(1, answer.body["received"] + 1)]
        is_whole = case.expected[0].state == WHOLE and len(found) == 1 and found[0].state == REFUSED
        return [Came(WHOLE, found[0].reasons)] if is_whole else found


def _bodies(case: Case) -> Iterator[bytes]:
    """The case's content in pushes of at most 1,000 rows; what is no plain JSON lines stays whole."""
    if not case.is_lines:
        yield case.content
        return
    held: list[bytes] = []
    size = 0
    for line in case.rows:
        if held and (len(held) == _ROWS_A_PUSH or size + len(line) > _BYTES_A_PUSH):
            yield b"\n".join(held) + b"\n"
            held, size = [], 0
        held.append(line)
        size += len(line) + 1
    yield b"\n".join(held) + b"\n"
