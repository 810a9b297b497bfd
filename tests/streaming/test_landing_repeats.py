"""Rows sent again: same sender, same key, same payload within the repeat window are duplicates; anything else is a new version."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from streaming import repeats
from tests.streaming.conftest import NOW, Lake, visit

DAY = timedelta(days=1)


def counts(lake: Lake, received_at=NOW) -> tuple[int, int, int]:  # type: ignore[no-untyped-def]
    landed = lake.land(received_at)["feeds"]["office__visit"]
    assert landed["received"] == sum(landed[state] for state in ("accepted", "refused", "duplicate", "waiting"))
    return landed["received"], landed["accepted"], landed["duplicate"]


def test_a_copy_under_another_name_is_all_duplicates(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(n) for n in range(50)])
    assert counts(lake) == (50, 50, 0)
    lake.put("copy of a.jsonl", [visit(n) for n in range(50)])
    assert counts(lake, NOW + 2 * DAY) == (50, 0, 50)
    assert len(lake.bronze()) == 50


def test_the_same_row_after_the_repeat_window_is_accepted(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1)])
    counts(lake)
    lake.put("b.jsonl", [visit(1)])
    assert counts(lake, NOW + 3 * DAY + timedelta(seconds=1)) == (1, 1, 0)


def test_a_changed_payload_is_a_new_version(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1)])
    lake.put("b.jsonl", [visit(1, note="改")])
    lake.put("c.jsonl", [visit(1, source_version=2)])
    assert counts(lake) == (3, 3, 0)


def test_the_same_row_from_two_senders_is_two_rows(lake: Lake) -> None:
    """Region 10 is north's alone, so the rows differ in nothing but who sent them only for deletes."""
    for sender in ("north", "south"):
        lake.put("a.jsonl", [{"visit_id": "V1", "_op": "delete", "source_version": 2}], sender=sender)
    assert counts(lake) == (2, 2, 0)


def test_an_upsert_and_a_delete_of_the_same_key_are_no_repeats(lake: Lake) -> None:
    lake.put("a.jsonl", [{"visit_id": "V1", "_op": "delete", "source_version": 2}, {"visit_id": "V1", "_op": "delete", "source_version": 3}])
    assert counts(lake) == (2, 2, 0)


def test_repeats_within_one_file_leave_the_first(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1), visit(2), visit(1), visit(1)])
    assert counts(lake) == (4, 2, 2)
    assert [row["_source_position"][-1] for row in lake.bronze()] == ["1", "2"]


def test_a_refused_row_that_comes_again_is_refused_again(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1, source_version="1"), visit(1, source_version="1")])
    assert counts(lake) == (2, 0, 0)


def test_null_and_absent_are_the_same_payload_but_empty_text_is_not(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(1), visit(1, visitor_name=None), visit(1, visitor_name="")])
    assert counts(lake) == (3, 2, 1)


def test_equal_hashes_of_unequal_digests_are_told_apart(lake: Lake, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    """Every row has the same 64-bit hash, as if all of them collided: only the whole digest decides."""
    hash_, rest = repeats._IDENTITY.split(" as h, ")
    assert hash_.startswith("hash(")
    monkeypatch.setattr(repeats, "_IDENTITY", f"hash(length(_sender_code) * 0) as h, {rest}")
    lake.put("a.jsonl", [visit(n) for n in range(20)])
    assert counts(lake) == (20, 20, 0)
    lake.put("b.jsonl", [visit(n) for n in range(10, 30)])
    assert counts(lake, NOW + DAY) == (20, 10, 10)


def test_rows_landed_by_this_run_are_known_to_its_later_batches(lake: Lake) -> None:
    lake.put("a.jsonl", [visit(n) for n in range(1, 60_001)])
    lake.put("b.jsonl", [visit(n) for n in range(40_001, 100_001)])
    assert counts(lake) == (120_000, 100_000, 20_000)


def _rows(*of: tuple[int, int, int]) -> repeats._Rows:
    h, d, s = (np.array(column) for column in zip(*of, strict=True)) if of else ([], [], [])
    return repeats._NONE.with_(repeats._Rows(np.array(h, np.uint64), np.array(d, np.uint64), np.array(s, np.uint32)))


def test_rows_found_are_exactly_those_held_and_received_within_the_window() -> None:
    held = _rows((2, 1, 100), (5, 1, 100), (9, 1, 100), (9, 1, 500), (9, 2, 100))
    wanted = [
        (1, 1, 150),
        (2, 1, 150),
        (2, 2, 150),
        (5, 1, 200),
        (5, 1, 201),
        (5, 1, 99),
        (9, 1, 150),
        (9, 1, 550),
        (9, 1, 300),
        (9, 2, 150),
        (10, 1, 150),
    ]
    expected = {(2, 1, 150), (5, 1, 200), (9, 1, 150), (9, 1, 550), (9, 2, 150)}
    for row in wanted:
        assert held.hold(_rows(row), 100).tolist() == [row in expected], row
    assert held.hold(_rows(*wanted), 100).sum() == len(expected)
    assert _rows().hold(_rows((1, 1, 1)), 100).tolist() == [False]
