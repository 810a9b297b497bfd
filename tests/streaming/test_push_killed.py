"""A push server killed (-9) at each of its points in turn: what was answered is landed as it was answered, what is sent again is landed once."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from gridlake.signatures import sign
from tests.streaming.conftest import Lake, lines, visit
from tests.streaming.pushing import CLIENT, LATER, NDJSON, PATH, NotStarted, Pusher, Server, key_of, serving

# Named after what was just written, or is about to be; the n-th passing, so that there is something before it.
POINTS = [
    "journal.before_sync:5",
    "journal.after_sync:5",
    "answers.before_commit",
    "answers.after_commit",
    "table.between_files_and_commit quarantine.office__visit:2",
    "landing.after_bronze",
    "journal.before_unlink",
]


class Senders:
    """Two senders that push known rows, remember each receipt, and send again under the same key what was not answered."""

    def __init__(self, lake: Lake) -> None:
        self._lake, self._lock = lake, threading.Lock()
        self._number = 0
        self._keys = {"north": key_of(lake.settings, "north"), "south": key_of(lake.settings, "south")}
        self.bodies: dict[str, bytes] = {}
        self.receipts: dict[str, dict[str, Any]] = {}

    def push_until_gone(self, server: Server, *, most: int = 100_000) -> None:
        """Push from four threads until the server is gone, or so many new ones are pushed."""
        left = [key for key in self.bodies if key not in self.receipts]
        until = self._number + most

        def work() -> None:
            while not server.is_gone:
                with self._lock:
                    key = left.pop() if left else self._next(until)
                if key is None or not self._push(server, key):
                    return

        with ThreadPoolExecutor(4) as at_once:
            for done in [at_once.submit(work) for _ in range(4)]:
                done.result()

    def _next(self, until: int) -> str | None:
        if self._number == until:
            return None
        self._number += 1
        sender, region = ("north", "1001") if self._number % 2 else ("south", "2001")
        key = f"{sender}-{self._number}"
        self.bodies[key] = lines(visit(self._number, region_code=region), visit(self._number, visit_id=f"bad {self._number}"))
        return key

    def _push(self, server: Server, key: str) -> bool:
        """Whether the push was answered before the server was gone."""
        sender = key.partition("-")[0]
        headers = {"content-type": NDJSON, "idempotency-key": key}
        while True:
            signed = sign("POST", PATH, self._keys[sender], sender, body=self.bodies[key], headers=headers)
            try:
                answer = CLIENT.post(server.url + PATH, content=self.bodies[key], headers=signed)
            except httpx.TransportError:
                # A server may also close a connection that has been idle; then it is still there.
                if server.is_gone_within(0.5):
                    return False
                continue
            if answer.status_code in LATER:
                time.sleep(0.2)
                continue
            assert answer.status_code == 200, answer.text
            self.receipts[key] = answer.json()
            return True


def check(lake: Lake, senders: Senders) -> None:
    """Every row that was sent stands once in the lake, where its receipt says."""
    assert senders.receipts.keys() == senders.bodies.keys()
    bronze, quarantine = lake.bronze(), lake.quarantine()
    assert Counter(r["visit_id"] for r in bronze) == Counter(f"V{key.partition('-')[2]}" for key in senders.bodies)
    told = {row["position"]: row["state"] for receipt in senders.receipts.values() for row in receipt["rows"]}
    assert Counter(told.values()) == {"accepted": len(senders.bodies), "refused": len(senders.bodies)}
    assert {r["_source_position"] for r in bronze} == {position for position, state in told.items() if state == "accepted"}
    assert sorted(r["_source_position"] for r in quarantine) == sorted(position for position, state in told.items() if state == "refused")
    assert sum(r["received"] for r in lake.receipts()) == len(told)


def test_a_server_killed_at_each_of_its_points_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    senders = Senders(lake)
    killed = []
    for point in POINTS:
        try:
            with serving(lake, GRIDLAKE_KILL_AT=point) as server:
                senders.push_until_gone(server)
                killed.append((point, server.process.wait(timeout=20)))
        except NotStarted:
            # The point was passed while the tail was landed.
            killed.append((point, -signal.SIGKILL))
    assert killed == [(point, -signal.SIGKILL) for point in POINTS]
    with serving(lake) as server:
        senders.push_until_gone(server, most=4)
        for key, receipt in senders.receipts.items():
            sender = key.partition("-")[0]
            assert Pusher.of(lake, server, sender).push(senders.bodies[key], key=key).json() == receipt, "the receipt outlives every kill"
    check(lake, senders)


def test_a_request_replayed_after_a_kill_and_a_restart_is_refused(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    body = lines(visit(1))
    with serving(lake) as server:
        headers = Pusher.of(lake, server).signed("POST", PATH, body, {"content-type": NDJSON, "idempotency-key": "k1"})
        first = CLIENT.post(server.url + PATH, content=body, headers=headers)
        assert first.status_code == 200
        server.kill()
    with serving(lake) as server:
        replayed = CLIENT.post(server.url + PATH, content=body, headers=headers)
        assert (replayed.status_code, replayed.json()["code"]) == (401, "nonce_repeated")
        again = Pusher.of(lake, server).push(body, key="k1")
        assert again.json() == first.json()
    assert len(lake.bronze()) == 1


@pytest.mark.deep
def test_a_server_killed_at_random_moments_loses_and_doubles_nothing(tmp_path: Path) -> None:
    lake = Lake(tmp_path)
    senders, moment = Senders(lake), random.Random(7)
    for _ in range(30):
        with serving(lake) as server:
            timer = threading.Timer(moment.uniform(0.1, 3), server.process.kill)
            timer.start()
            senders.push_until_gone(server)
            server.process.wait(timeout=20)
            timer.join()
    with serving(lake) as server:
        senders.push_until_gone(server, most=4)
    check(lake, senders)
