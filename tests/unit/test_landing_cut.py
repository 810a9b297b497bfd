"""How a delivery is cut into chunks: by its own rows alone, so that every repeat cuts it at the same ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.rows import Block, Chunk, Delivery, Lines, RefusedWhole, Unreadable, cut

DELIVERY = Delivery("office__visit", "north", "day.jsonl", "files:north/day.jsonl@0", 0)


def chunks(blocks: list[Block], rows: int = 3, size: int = 1000) -> list[Chunk]:
    return list(cut(DELIVERY, blocks, lambda: "kept", rows=rows, size=size))


def of(*texts: bytes) -> Lines:
    return Lines(list(texts))


def test_the_last_chunk_says_so_even_when_it_is_full() -> None:
    found = chunks([of(b"1", b"2", b"3"), of(b"4", b"5", b"6")])
    assert [(c.number, c.first_row, c.last_row, c.is_last) for c in found] == [(1, 1, 3, False), (2, 4, 6, True)]


def test_a_delivery_without_rows_is_one_chunk_without_rows() -> None:
    (only,) = chunks([])
    assert (only.first_row, only.last_row, only.rows, only.is_last) == (1, 0, 0, True)


def test_a_row_larger_than_a_chunk_is_a_chunk_of_its_own() -> None:
    found = chunks([of(b"a" * 5, b"b" * 50, b"c" * 5)], rows=10, size=20)
    assert [c.rows for c in found] == [1, 1, 1]
    assert [c.size for c in found] == [5, 50, 5]


@pytest.mark.parametrize(("before", "is_whole"), [(0, True), (2, False)])
def test_where_a_reader_breaks_off_is_one_row_more(before: int, is_whole: bool) -> None:
    def blocks() -> Iterator[Block]:
        if before:
            yield of(*[b"x"] * before)
        raise RefusedWhole("format", "damaged")

    (only,) = cut(DELIVERY, blocks(), lambda: "kept", rows=10, size=10)
    assert only.rows == before + 1
    assert only.blocks[-1] == Unreadable("format", "damaged", reference="kept", is_whole=is_whole)


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 40), max_size=12), max_size=8), st.integers(1, 7), st.integers(1, 60))
def test_chunks_hold_all_rows_in_order_within_bounds_however_the_reader_blocks_them(blocks: list[list[int]], rows: int, size: int) -> None:
    texts = [bytes([n]) * n for block in blocks for n in block]
    found = chunks([of(*(bytes([n]) * n for n in block)) for block in blocks], rows, size)
    assert [line for c in found for b in c.blocks for line in b.raw] == texts  # type: ignore[union-attr]
    assert all(c.rows <= rows and (c.size <= size or c.rows == 1) for c in found)
    assert [c.is_last for c in found] == [False] * (len(found) - 1) + [True]
    assert [c.first_row for c in found] == [1, *(c.last_row + 1 for c in found[:-1])]
    assert [c.rows for c in found] == [c.rows for c in chunks([of(*texts)], rows, size)]
