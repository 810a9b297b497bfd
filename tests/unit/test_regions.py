"""The region tree: what lies below what, by region system."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from gridlake import vocabularies
from gridlake.regions import LEVELS, RegionTree
from gridlake.settings import Settings


def tree(*rows: tuple[str, str, str | None]) -> RegionTree:
    systems, codes, parents = zip(*rows, strict=True)
    return RegionTree(pa.table({"region_system": systems, "region_code": codes, "parent_code": pa.array(parents, pa.string())}))


@pytest.fixture(scope="module")
def province() -> RegionTree:
    return RegionTree(vocabularies.load_all(Settings()).regions)


SMALL = tree(("cn", "1", None), ("cn", "11", "1"), ("cn", "12", "1"), ("cn", "111", "11"), ("xx", "1", None), ("xx", "19", "1"))


def test_a_subtree_holds_its_roots_and_everything_below_once() -> None:
    assert SMALL.subtree("cn", ["11"]).to_pylist() == ["11", "111"]
    assert SMALL.subtree("cn", ["1", "11", "1"]).to_pylist() == ["1", "11", "111", "12"]


def test_one_code_in_two_systems_is_two_regions() -> None:
    assert SMALL.subtree("xx", ["1"]).to_pylist() == ["1", "19"]
    assert SMALL.knows("cn", "11")
    assert not SMALL.knows("xx", "11")
    assert sorted(SMALL.codes("xx").to_pylist()) == ["1", "19"]


def test_unknown_roots_and_systems_give_nothing() -> None:
    assert SMALL.subtree("cn", ["99"]).to_pylist() == []
    assert SMALL.subtree("nowhere", ["1"]).to_pylist() == []
    assert SMALL.subtree("cn", []).type == pa.string()
    assert SMALL.codes("nowhere").to_pylist() == []


def test_a_loop_in_the_parents_ends() -> None:
    assert tree(("cn", "a", "b"), ("cn", "b", "a")).subtree("cn", ["a"]).to_pylist() == ["a", "b"]


def test_the_province_has_its_official_divisions(province: RegionTree) -> None:
    regions = vocabularies.load_all(Settings()).regions
    counts = regions.filter(pc.equal(regions["region_system"], "cn")).group_by("region_level").aggregate([("region_code", "count_distinct")])
    assert dict(zip(counts["region_level"].to_pylist(), counts["region_code_count_distinct"].to_pylist(), strict=True)) == {
        1: 1,
        2: 11,
        3: 90,
        4: 1387,
        5: 25547,
    }
    assert set(range(1, 8)) == set(LEVELS)


def test_every_region_of_the_province_hangs_one_level_below_its_parent(province: RegionTree) -> None:
    rows = vocabularies.load_all(Settings()).regions.to_pylist()
    level = {(r["region_system"], r["region_code"]): r["region_level"] for r in rows}
    assert len(level) == len(rows), "a code stands twice"
    orphans = [r for r in rows if (r["parent_code"] is None) != (r["region_level"] == 1)]
    assert orphans == []
    wrong = [r for r in rows if r["parent_code"] and level[r["region_system"], r["parent_code"]] != r["region_level"] - 1]
    assert wrong == []


def test_a_city_holds_its_counties_and_no_neighbours(province: RegionTree) -> None:
    hangzhou = set(province.subtree("cn", ["330100000000"]).to_pylist())
    assert "330106000000" in hangzhou
    assert all(code.startswith("3301") for code in hangzhou)
    assert "330200000000" not in hangzhou
