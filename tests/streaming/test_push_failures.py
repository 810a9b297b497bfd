"""What a reception does when the disk, the table or the number of pushes is against it: nothing that was answered is lost, nothing is doubled."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import pytest

from gridlake.runs import Run
from gridlake.signatures import Message, sign
from gridlake.tables import Tables
from streaming.feed_lander import prepare
from streaming.push import desk as desks
from streaming.push import reception as receptions
from streaming.push.desk import JournalInDoubt, folder_of
from streaming.push.journal import Journal, JournalDamaged
from streaming.push.reception import Reception, Refused, Told
from tests.streaming.conftest import Lake, lines, visit
from tests.streaming.pushing import NDJSON, PATH, key_of

WITHIN_S = 20
FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class Door:
    """A reception in this process, and a sender at it."""

    def __init__(self, lake: Lake) -> None:
        self.lake, self.key = lake, key_of(lake.settings, "north")
        self.broken: list[Exception] = []
        run = Run.start(lake.settings, quiet=True)
        prepare(run)
        self.reception = Reception(run, self.broken.append)
        self.reception.open()

    async def push(self, number: int, key: str | None = None) -> Told:
        """Push one visit."""
        body = lines(visit(number))
        given = {"content-type": NDJSON, "idempotency-key": key or f"key-{number}"}
        headers = sign("POST", f"http://x{PATH}", self.key, "north", body=body, headers=given)

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        return await self.reception.push(Message("POST", PATH, "", headers), "office", "visit", pieces())

    def landed(self) -> list[str]:
        """What is in bronze."""
        return sorted(r["visit_id"] for r in self.lake.bronze())


@pytest.fixture
def door(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    monkeypatch.setattr(receptions, "RECEIPT_WITHIN_S", 60)  # however slow the machine is
    made = Door(lake)
    yield made
    made.reception.close()


def failing(times: int, what: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """A function that fails so many times and works then."""
    left = [times]

    def wrapped(*arguments: Any, **options: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise error
        return what(*arguments, **options)

    return wrapped


async def refusal(told: Awaitable[Told]) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        await told
    return refused.value.status, refused.value.code


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, "not within the time"
        await asyncio.sleep(0.02)


def test_more_pushes_than_may_wait_are_told_to_come_back(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(receptions, "MOST_WAITING", 2)
        told = await asyncio.gather(*(door.push(n) for n in range(8)), return_exceptions=True)
        refused = [t for t in told if isinstance(t, Refused)]
        assert refused
        assert {(r.status, r.code, r.retry_after_s) for r in refused} == {(503, "busy", 1)}
        assert len(refused) < 8
        for number in range(8):
            assert (await door.push(number)).status == 200, "again under the same key, whether it was taken before or not"

    asyncio.run(scene())
    door.reception.close()
    assert door.landed() == sorted(f"V{n}" for n in range(8))


def test_a_push_that_the_disk_does_not_take_is_refused_and_may_be_sent_again(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        assert (await door.push(1)).status == 200
        monkeypatch.setattr(Journal, "append", failing(1, Journal.append, FULL))
        assert await refusal(door.push(2)) == (503, "not_kept")
        told = await door.push(2)
        assert (told.status, told.was_told_before) == (200, False)

    asyncio.run(scene())
    door.reception.close()
    assert door.landed() == ["V1", "V2"]
    assert door.broken == []


def test_half_a_record_on_a_full_disk_is_cut_off_before_the_next_one(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        assert (await door.push(1)).status == 200
        (desk,) = door.reception._desks.values()
        journal = desk._journals["north"]

        class HalfFull:
            """A file that takes half of what is written to it."""

            def __init__(self, file: Any) -> None:
                self._file = file

            def write(self, content: bytes) -> None:
                self._file.write(content[: len(content) // 2])
                self._file.flush()
                raise FULL

            def __getattr__(self, name: str) -> Any:
                return getattr(self._file, name)

        journal._written = HalfFull(journal._written)  # type: ignore[assignment]
        assert await refusal(door.push(2)) == (503, "not_kept")
        assert (await door.push(3)).status == 200

    asyncio.run(scene())
    door.reception.close()
    assert door.landed() == ["V1", "V3"]


def test_a_failed_fsync_ends_the_server_and_the_next_one_goes_by_what_is_there(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(Journal, "sync", failing(1, Journal.sync, OSError(errno.EIO, os.strerror(errno.EIO))))
        assert await refusal(door.push(1)) == (503, "not_kept")
        await until(lambda: bool(door.broken))

    asyncio.run(scene())
    assert isinstance(door.broken[0], JournalInDoubt)
    door.reception.close()
    again = Door(door.lake)
    assert (asyncio.run(again.push(1))).status == 200
    again.reception.close()
    assert again.landed() == ["V1"]


def test_a_commit_that_fails_is_tried_again_from_the_journal(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(desks, "COMMIT_EVERY_S", 0.05)
        monkeypatch.setattr(desks, "_PAUSES_S", (0.1,))
        first = await door.push(1)
        await until(lambda: door.landed() == ["V1"])
        monkeypatch.setattr(Tables, "append", failing(2, Tables.append, FULL))
        second = await door.push(2)
        assert second.status == 200, "it is on the disk and judged"
        await until(lambda: door.landed() == ["V1", "V2"])
        await until(lambda: door.reception.health()["state"] == "ok")
        assert (await door.push(1)).body == first.body
        assert json.loads((await door.push(2)).body)["rows"] == json.loads(second.body)["rows"]
        assert (await door.push(3)).status == 200

    asyncio.run(scene())
    door.reception.close()
    assert door.landed() == ["V1", "V2", "V3"]
    assert sum(r["received"] for r in door.lake.receipts()) == 3


def test_while_another_holds_the_table_pushes_wait_are_withdrawn_and_land_later(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    held, let_go = threading.Event(), threading.Event()

    def hold() -> None:
        with door.lake.tables.only_writer("bronze.office__visit"):
            held.set()
            let_go.wait(WITHIN_S)

    async def scene() -> None:
        assert (await door.push(1)).status == 200
        await until(lambda: door.landed() == ["V1"])
        other = threading.Thread(target=hold)
        other.start()
        held.wait(WITHIN_S)
        monkeypatch.setattr(desks, "COMMIT_EVERY_S", 0.05)
        assert (await door.push(2)).status == 200, "judged; its commit waits for the table"
        await asyncio.sleep(0.2)
        with monkeypatch.context() as impatient:
            impatient.setattr(receptions, "RECEIPT_WITHIN_S", 0.5)
            assert await refusal(door.push(3)) == (503, "busy")
        let_go.set()
        other.join()
        await until(lambda: door.landed() == ["V1", "V2"])
        assert (await door.push(3)).status == 200

    asyncio.run(scene())
    door.reception.close()
    assert door.landed() == ["V1", "V2", "V3"]


def test_a_journal_behind_bronze_is_an_error_that_names_the_runbook(door: Door) -> None:
    asyncio.run(door.push(1))
    folder = folder_of(door.lake.home, "http") / "office__visit" / "north"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    asyncio.run(door.push(2))
    door.reception.close()
    for path in folder.iterdir():
        path.unlink()
    for path, content in before.items():
        path.write_bytes(content)
    with pytest.raises(Exception, match=r"holds rows 1 to 1, bronze has those up to 2.*push-journal\.md"):
        Door(door.lake)


def test_what_a_failure_left_written_and_not_synced_is_refused_and_landed_all_the_same(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene() -> None:
        monkeypatch.setattr(desks, "_PAUSES_S", (0.05,))
        assert (await door.push(1)).status == 200
        monkeypatch.setattr(Journal, "sync", failing(1, Journal.sync, RuntimeError("no error of the disk")))
        assert await refusal(door.push(2)) == (503, "not_kept")
        await until(lambda: door.reception.health()["state"] == "ok")
        assert (await door.push(2)).was_told_before, "it was landed by the recovery, under its key"

    asyncio.run(scene())
    door.reception.close()
    assert door.landed() == ["V1", "V2"]
    assert sum(r["received"] for r in door.lake.receipts()) == 2


def test_pushes_of_a_feed_whose_contract_is_gone_are_not_forgotten(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(door.push(1))
    run = Run.start(door.lake.settings, quiet=True)
    monkeypatch.setattr(run, "contracts", {name: c for name, c in run.contracts.items() if name != "office__visit"})
    with pytest.raises(JournalDamaged, match=r"office__visit: holds pushes that are not landed, and no contract"):
        Reception(run, door.broken.append).open()
