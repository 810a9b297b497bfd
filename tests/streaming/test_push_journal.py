"""The journal of pushes: durable, numbered on, torn ends cut off, damage told, landed segments removed, nothing readable on the disk."""

from __future__ import annotations

import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gridlake.privacy import Keys
from streaming.push import journal as journals
from streaming.push.journal import Journal, JournalDamaged, Push
from streaming.push.nonces import Nonces

AT = datetime(2026, 6, 1, 8, 0, tzinfo=UTC)
SECRET = b"13812345678"


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys.load(tmp_path / "keys.json")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "lake" / "journal" / "office__visit" / "north"


def push(number: int, rows: int = 1) -> Push:
    return Push(f"key {number}", "ndjson", AT, f"digest {number}", rows, b"%d %s\n" % (number, SECRET) * rows)


def kept(journal: Journal, first_row: int = 1) -> list[tuple[str, int, int]]:
    return [(r.push.key, r.first_row, r.last_row) for r in journal.records(first_row)]


def append(journal: Journal, pushes: Iterable[Push]) -> None:
    journal.append(list(pushes))
    journal.sync()


def segment(folder: Path) -> Path:
    (found,) = folder.glob("*.log")
    return found


def test_what_was_synced_is_there_after_a_restart_under_the_same_id_and_numbers_go_on(folder: Path, keys: Keys) -> None:
    first = Journal(folder, keys)
    append(first, [push(1), push(2, rows=3)])
    append(first, [push(3)])
    again = Journal(folder, keys)
    assert again.id == first.id
    assert kept(again) == [("key 1", 1, 1), ("key 2", 2, 4), ("key 3", 5, 5)]
    assert kept(again, 3) == [("key 2", 2, 4), ("key 3", 5, 5)]
    assert [r.push for r in again.records(1)] == [push(1), push(2, rows=3), push(3)]
    assert [r.first_row for r in again.append([push(4)])] == [6]


def test_what_was_not_synced_is_not_handed_out(folder: Path, keys: Keys) -> None:
    journal = Journal(folder, keys)
    append(journal, [push(1)])
    journal.append([push(2)])
    assert kept(journal) == [("key 1", 1, 1)]


def test_nothing_that_was_pushed_can_be_read_on_the_disk(folder: Path, keys: Keys) -> None:
    append(Journal(folder, keys), [push(1, rows=50)])
    assert SECRET not in segment(folder).read_bytes()


def test_an_end_torn_at_any_byte_is_cut_off_and_what_stood_before_is_kept(folder: Path, keys: Keys) -> None:
    journal = Journal(folder, keys)
    append(journal, [push(1), push(2)])
    whole = segment(folder).read_bytes()
    journal.append([push(3)])
    longer = segment(folder).read_bytes()
    for end in range(len(whole), len(longer)):
        segment(folder).write_bytes(longer[:end])
        assert kept(Journal(folder, keys)) == [("key 1", 1, 1), ("key 2", 2, 2)]
        assert segment(folder).stat().st_size == len(whole)


def test_pages_of_an_unsynced_end_that_were_written_out_of_order_are_cut_off(folder: Path, keys: Keys) -> None:
    journal = Journal(folder, keys)
    append(journal, [push(1)])
    before = segment(folder).stat().st_size
    # Two records of one group: the first one's page is lost, the second one's is there.
    journal.append([push(2), push(3)])
    content = bytearray(segment(folder).read_bytes())
    content[before : before + 40] = bytes(40)
    segment(folder).write_bytes(content)
    again = Journal(folder, keys)
    assert kept(again) == [("key 1", 1, 1)]
    assert again.next_row == 2


def test_damage_to_what_was_answered_is_an_error_that_names_the_runbook(folder: Path, keys: Keys) -> None:
    journal = Journal(folder, keys)
    for number in (1, 2, 3):
        append(journal, [push(number)])
    whole = segment(folder).read_bytes()
    place = random.Random(5)
    for _ in range(50):
        content = bytearray(whole)
        content[place.randrange(len(whole) * 2 // 3 - 10)] ^= 1 + place.randrange(255)
        segment(folder).write_bytes(content)
        with pytest.raises(JournalDamaged, match=r"runbooks/push-journal\.md"):
            Journal(folder, keys)


def test_segments_that_bronze_has_are_removed_and_numbers_go_on(folder: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 1)
    journal = Journal(folder, keys)
    append(journal, [push(1, rows=2)])
    journal.release(0)
    append(journal, [push(2)])
    assert len(list(folder.glob("*.log"))) == 2
    journal.release(1)
    assert kept(journal) == [("key 1", 1, 2), ("key 2", 3, 3)], "row 2 of the first segment is not landed"
    journal.release(2)
    assert kept(journal) == [("key 2", 3, 3)]
    journal.release(3)
    assert kept(journal) == []
    assert segment(folder).stat().st_size == 0
    again = Journal(folder, keys)
    assert (again.first_row, again.next_row) == (4, 4)


def test_a_missing_segment_or_id_is_told(folder: Path, keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journals, "SEGMENT_BYTES", 1)
    journal = Journal(folder, keys)
    for number in (1, 2, 3):
        append(journal, [push(number)])
        journal.release(0)
    sorted(folder.glob("*.log"))[1].unlink()
    with pytest.raises(JournalDamaged, match="expected a segment that begins with row 2"):
        Journal(folder, keys)
    (folder / "id").unlink()
    with pytest.raises(JournalDamaged, match="expected the journal's id"):
        Journal(folder, keys)


def test_a_nonce_is_new_once_also_after_a_restart_and_forgotten_when_no_signature_of_it_would_be_believed(tmp_path: Path) -> None:
    now = 1_780_000_000.0
    nonces = Nonces(tmp_path / "nonces", now)
    assert nonces.is_new("north", "n1")
    assert not nonces.is_new("north", "n1")
    assert nonces.is_new("south", "n1")
    nonces.sync(now)
    nonces.is_new("north", "n2")
    nonces.sync(now + 61)
    assert not Nonces(tmp_path / "nonces", now + 599).is_new("north", "n1")
    assert not Nonces(tmp_path / "nonces", now + 599).is_new("north", "n2")
    later = Nonces(tmp_path / "nonces", now + 3600)
    later.sync(now + 3600)
    assert later.is_new("north", "n1")
    assert len(list((tmp_path / "nonces").iterdir())) == 1


def test_a_torn_end_of_nonces_costs_no_other(tmp_path: Path) -> None:
    now = 1_780_000_000.0
    nonces = Nonces(tmp_path / "nonces", now)
    nonces.is_new("north", "n1")
    nonces.sync(now)
    (file,) = (tmp_path / "nonces").iterdir()
    with file.open("ab") as content:
        content.write(b"half")
    again = Nonces(tmp_path / "nonces", now)
    again.is_new("north", "n2")
    again.sync(now)
    third = Nonces(tmp_path / "nonces", now)
    assert not third.is_new("north", "n1")
    assert not third.is_new("north", "n2")
