"""The region tree: province, city, county, township, village; grids and micro-grids hang below villages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import pyarrow as pa

LEVELS = {1: "省", 2: "设区市", 3: "县（市、区）", 4: "乡镇（街道）", 5: "村（社区）", 6: "网格", 7: "微网格"}


class RegionTree:
    """Parents and children of one set of regions, from a table (region_system, region_code, region_name, region_level, parent_code)."""

    def __init__(self, regions: pa.Table) -> None:
        self._children: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        self._parents: dict[tuple[str, str], str | None] = {}
        columns = (regions.column(c).to_pylist() for c in ("region_system", "region_code", "parent_code"))
        for system, code, parent in zip(*columns, strict=True):
            self._children[system, parent].append(code)
            self._parents[system, code] = parent

    def knows(self, region_system: str, code: str) -> bool:
        """Whether the code is a region of that system."""
        return (region_system, code) in self._parents

    def depth(self, region_system: str, code: str) -> int:
        """How many regions stand above it; 0 for a root and for a code that is none. A ring of parents ends where it closes."""
        above: set[str] = set()
        parent = self._parents.get((region_system, code))
        while parent is not None and parent not in above:
            above.add(parent)
            parent = self._parents.get((region_system, parent))
        return len(above)

    def codes(self, region_system: str) -> pa.Array:
        """Every code of a system."""
        return pa.array([code for system, code in self._parents if system == region_system], pa.string())

    def subtree(self, region_system: str, roots: Iterable[str]) -> pa.Array:
        """The roots and all below them; unknown roots give nothing."""
        found: dict[str, None] = {}
        waiting = [code for code in roots if self.knows(region_system, code)]
        while waiting:
            code = waiting.pop()
            if code not in found:
                found[code] = None
                waiting.extend(self._children.get((region_system, code), ()))
        return pa.array(sorted(found), pa.string())
