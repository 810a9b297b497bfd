"""Counts of persons: what is published tells of no group of fewer than five, not even by differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gridlake.privacy import SMALLEST_PUBLISHED_COUNT, _told, publishable_counts

_TEXTS = ("region_system", "region_code", "person_type_code")
# The engines say of a count that it is never null.
SCHEMA = pa.schema([*((name, pa.string()) for name in _TEXTS), pa.field("person_count", pa.int64(), nullable=False)])
# A county with two townships, the first of two villages.
PARENTS = {"c": None, "t1": "c", "t2": "c", "v1": "t1", "v2": "t1", "v3": "t2", "v4": "t2"}


def publish(counts: dict[tuple[str, str], int]) -> dict[str, Any]:
    """By region what is told: counts by kind, or None where it is withheld."""
    rows = [{"region_system": "cn", "region_code": r, "person_type_code": t, "person_count": n} for (r, t), n in counts.items()]
    regions = [{"region_system": "cn", "region_code": r, "parent_code": p} for r, p in PARENTS.items()]
    told: dict[str, Any] = {}
    for row in publishable_counts(pa.Table.from_pylist(rows, SCHEMA), pa.Table.from_pylist(regions)).to_pylist():
        if row["is_suppressed"]:
            assert (row["person_type_code"], row["person_count"]) == (None, None)
            told[row["region_code"]] = None
        else:
            told.setdefault(row["region_code"], {})[row["person_type_code"]] = row["person_count"]
    return told


def test_large_counts_are_told_on_every_level() -> None:
    told = publish({("v1", "a"): 10, ("v2", "a"): 7, ("v3", "a"): 6, ("v3", "b"): 5})
    assert told["c"] == {"a": 23, "b": 5}
    assert told["t1"] == {"a": 17}
    assert told["v3"] == {"a": 6, "b": 5}


def test_the_only_small_part_takes_another_with_it_or_its_total_would_tell_it() -> None:
    told = publish({("v1", "a"): 3, ("v2", "a"): 40, ("v3", "a"): 50})
    assert told["t1"] == {"a": 43}
    assert told["v1"] is None
    assert told["v2"] is None, "43 - 40 would be 3"
    assert told["v3"] == {"a": 50}


def test_two_small_parts_that_are_few_together_take_a_third() -> None:
    told = publish({("v1", "a"): 2, ("v2", "a"): 2, ("v3", "a"): 9, ("v4", "a"): 50})
    assert told["c"] == {"a": 63}
    assert told["t1"] is None
    assert told["t2"] is None, "63 - 59 would be 4"
    assert "v1" not in told, "nothing is told below what is withheld"


def test_a_small_kind_withholds_the_whole_region() -> None:
    told = publish({("v1", "a"): 100, ("v1", "b"): 1, ("v2", "a"): 100, ("v2", "b"): 30})
    assert told["t1"] == {"a": 200, "b": 31}
    assert (told["v1"], told["v2"]) == (None, None)


def test_persons_in_no_part_of_a_region_are_not_told_by_the_parts() -> None:
    told = publish({("t1", "a"): 2, ("v1", "a"): 20, ("v2", "a"): 30})
    assert told["t1"] == {"a": 52}
    assert told["v1"] is None, "52 - 20 - 30 would be 2"
    assert told["v2"] == {"a": 30}


def test_a_small_province_tells_nothing_and_no_persons_tell_nothing() -> None:
    assert publish({("v1", "a"): 4}) == {"c": None}
    assert publish({}) == {}


def test_a_count_in_an_unknown_region_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no known region.*elsewhere"):
        publish({("elsewhere", "a"): 9})


@st.composite
def provinces(draw: st.DrawFn) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """A tree of up to 14 regions with counts of two kinds, small ones among them."""
    size = draw(st.integers(2, 14))
    parent = np.array([-1, *(draw(st.integers(0, n - 1)) for n in range(1, size))], dtype=np.int64)
    own = draw(st.lists(st.tuples(*[st.sampled_from([0, 0, 1, 2, 4, 5, 6, 9, 30])] * 2), min_size=size, max_size=size))
    return np.array(own, dtype=np.int64), parent


def lies_below(parent: NDArray[np.int64]) -> NDArray[np.float64]:
    """Which regions make up each region: (n, n)."""
    made_of = np.eye(len(parent))
    for region in range(len(parent) - 1, 0, -1):  # a child has a higher number than its parent
        made_of[parent[region]] += made_of[region]
    return made_of


@given(provinces())
def test_no_sum_or_difference_of_published_numbers_is_a_small_cell(province: tuple[NDArray[np.int64], NDArray[np.int64]]) -> None:
    own, parent = province
    total, is_told, _ = _told(own, parent)
    made_of = lies_below(parent)
    assert (total == made_of @ own).all()
    known = made_of[is_told]
    for region, kind in np.argwhere((total > 0) & (total < SMALLEST_PUBLISHED_COUNT)):
        # Whoever knows that a place is empty may leave it out of his sums.
        empty = np.diag((own[:, kind] == 0).astype(float))[own[:, kind] == 0]
        equations = np.vstack([known, empty])
        rank = np.linalg.matrix_rank(equations) if len(equations) else 0
        assert np.linalg.matrix_rank(np.vstack([equations, made_of[region]])) > rank, f"region {region}, kind {kind} can be computed"
    for region in np.flatnonzero(is_told):
        parts = np.flatnonzero((parent == region) & is_told)
        rest = total[region] - total[parts].sum(axis=0)
        assert not ((rest > 0) & (rest < SMALLEST_PUBLISHED_COUNT)).any()
    assert not (is_told[1:] & ~is_told[parent[1:]]).any()


def test_leaving_out_small_cells_alone_would_tell_them() -> None:
    own, parent = np.array([[0], [3], [40]], dtype=np.int64), np.array([-1, 0, 0], dtype=np.int64)
    made_of = lies_below(parent)
    known = np.vstack([made_of[[0, 2]], np.eye(3)[0]])  # the total, the large part, and that nobody is in none
    assert np.linalg.matrix_rank(np.vstack([known, made_of[1]])) == np.linalg.matrix_rank(known)
    assert _told(own, parent)[1].tolist() == [True, False, False]
