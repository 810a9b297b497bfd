"""The step `resolve` on the embedded engine: regions and closure, codes of grids and micro-grids that never change, crosswalk."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gridlake.runs import Run
from gridlake.settings import Settings
from spark_jobs.resolve import persons, resolve
from spark_jobs.resolve.check_digit import check_digit
from tests.persons import KEY_PERSONS, crafted, land

_TEXT, _LONG, _TIME = pa.string(), pa.int64(), pa.timestamp("us", "UTC")
_REGION = pa.schema([("region_system", _TEXT), ("region_code", _TEXT), ("region_name", _TEXT), ("region_level", _LONG), ("parent_code", _TEXT)])
_STG_REGION = pa.schema(
    [
        *_REGION,
        ("valid_from", pa.date32()),
        ("valid_to", pa.date32()),
        ("replaces_codes", _TEXT),
        ("source_version", _LONG),
        ("changed_at", _TIME),
        ("_source_position", _TEXT),
    ]
)
_STG_GRID = pa.schema([("grid_id", _TEXT), ("local_id", _TEXT), ("region_system", _TEXT), ("region_code", _TEXT)])
_AUDIT = [("_sender_code", _TEXT), ("_received_at", _TIME), ("_source_position", _TEXT), ("_op", _TEXT)]
_BRONZE_GRID = pa.schema([("grid_id", _TEXT), ("region_code", _TEXT), *_AUDIT])
_STG_FEED_GRID = pa.schema([*_STG_GRID, *_AUDIT])
_STG_MICRO_GRID = pa.schema([("micro_grid_id", _TEXT), ("local_id", _TEXT), ("region_system", _TEXT), ("grid_id", _TEXT)])
_BRONZE_MICRO_GRID = pa.schema([("micro_grid_id", _TEXT), ("grid_id", _TEXT), *_AUDIT])

DAY = datetime(2026, 1, 1, tzinfo=UTC)
VILLAGE, TOWNSHIP = "330106002051", "330106002000"
TREE = [
    ("330000000000", "浙江省", 1, None),
    ("330100000000", "杭州市", 2, "330000000000"),
    ("330106000000", "西湖区", 3, "330100000000"),
    (TOWNSHIP, "北山街道", 4, "330106000000"),
    (VILLAGE, "上保社区", 5, TOWNSHIP),
]


class Lake:
    """A lake with regions and a landing history of grids; what staging would hold is derived from it."""

    def __init__(self, root: Path) -> None:
        self.run = Run.start(Settings(home=root / "lake", inbox=root / "inbox"), quiet=True)
        self._landed: list[dict[str, Any]] = []
        self._landed_micro_grids: list[dict[str, Any]] = []
        self.write_regions(TREE)
        self.land()
        self.land_micro_grids()

    def write_regions(self, tree: list[tuple[str, str, int, str | None]], *, reported: list[Mapping[str, Any]] | None = None) -> None:
        listed = [{"region_system": "cn", "region_code": c, "region_name": n, "region_level": v, "parent_code": p} for c, n, v, p in tree]
        self._overwrite("staging.region_vocabulary", pa.Table.from_pylist(listed, _REGION))
        defaults = {"region_system": "cn", "source_version": 1, "changed_at": DAY, "valid_from": date(2024, 1, 1), "_source_position": "f#1"}
        rows = [dict.fromkeys(_STG_REGION.names) | defaults | dict(r) for r in reported or []]
        self._overwrite("staging.stg_region", pa.Table.from_pylist(rows, _STG_REGION))

    def land(self, *rows: tuple[str, str | None], sender: str = "hangzhou", day: int = 0, op: str = "upsert") -> None:
        """Land grids (id, village) as one delivery."""
        for grid, village in rows:
            self._landed.append(
                {
                    "grid_id": grid,
                    "region_code": village,
                    "_sender_code": sender,
                    "_received_at": DAY + timedelta(days=day),
                    "_source_position": f"files:{sender}/{day}#{len(self._landed):010}",
                    "_op": op,
                }
            )
        newest = {(r["_sender_code"], r["grid_id"]): r for r in self._landed}
        staged = [{**r, "grid_id": f"{r['_sender_code']}-{r['grid_id']}", "local_id": r["grid_id"], "region_system": "cn"} for r in newest.values()]
        current = [{f: r[f] for f in _STG_GRID.names} for r in staged if r["_op"] == "upsert"]
        self._overwrite("bronze.city_platform__grid", pa.Table.from_pylist(self._landed, _BRONZE_GRID))
        self._overwrite("staging.stg_city_platform__grid", pa.Table.from_pylist(staged, _STG_FEED_GRID))
        self._overwrite("staging.stg_grid", pa.Table.from_pylist(current, _STG_GRID))

    def land_micro_grids(self, *rows: tuple[str, str | None], sender: str = "hangzhou", day: int = 0, op: str = "upsert") -> None:
        """Land micro-grids (id, grid) as one delivery."""
        for micro_grid, grid in rows:
            place = {"_source_position": f"files:{sender}/{day}#{len(self._landed_micro_grids):010}", "_received_at": DAY + timedelta(days=day)}
            self._landed_micro_grids.append({"micro_grid_id": micro_grid, "grid_id": grid, "_sender_code": sender, "_op": op, **place})
        newest = {(r["_sender_code"], r["micro_grid_id"]): r for r in self._landed_micro_grids}
        current = [
            {f: f"{r['_sender_code']}-{r[f]}" for f in ("micro_grid_id", "grid_id")} | {"local_id": r["micro_grid_id"], "region_system": "cn"}
            for r in newest.values()
            if r["_op"] == "upsert"
        ]
        self._overwrite("bronze.city_platform__micro_grid", pa.Table.from_pylist(self._landed_micro_grids, _BRONZE_MICRO_GRID))
        self._overwrite("staging.stg_micro_grid", pa.Table.from_pylist(current, _STG_MICRO_GRID))

    def resolve(self) -> dict[str, Any]:
        self.run.cut = {name: self.run.tables.version(name) for name in ("bronze.city_platform__grid", "bronze.city_platform__micro_grid")}
        self.run.engine.register(self.run.cut)
        return resolve(self.run)

    def rows(self, table: str) -> list[dict[str, Any]]:
        return self.run.tables.read(f"resolved.{table}").to_pylist()

    def codes(self) -> dict[str, str | None]:
        return {r["grid_id"]: r["grid_code"] for r in self.rows("grid_code")}

    def micro_grid_codes(self) -> dict[str, str | None]:
        return {r["micro_grid_id"]: r["micro_grid_code"] for r in self.rows("micro_grid_code")}

    def ancestors(self, code: str) -> list[str]:
        return [r["ancestor_code"] for r in sorted(self.rows("region_closure"), key=lambda r: r["distance"]) if r["region_code"] == code]

    def problems(self) -> set[tuple[str, str]]:
        return {(r["problem"], r["subject_id"]) for r in self.rows("problem")}

    def _overwrite(self, name: str, rows: pa.Table) -> None:
        self.run.tables.overwrite(name, rows)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    made = Lake(tmp_path)
    yield made
    made.run.close()


def test_each_region_and_grid_lies_below_itself_and_all_its_ancestors(lake: Lake) -> None:
    lake.land(("G1", VILLAGE))
    lake.resolve()
    assert lake.ancestors("hangzhou-G1") == ["hangzhou-G1", VILLAGE, TOWNSHIP, "330106000000", "330100000000", "330000000000"]
    assert lake.ancestors("330000000000") == ["330000000000"]
    assert len(lake.rows("region_closure")) == 6 + 5 + 4 + 3 + 2 + 1
    levels = {r["region_code"]: r["region_level"] for r in lake.rows("region_closure")}
    assert (levels["hangzhou-G1"], levels[VILLAGE]) == (6, 5)
    assert lake.problems() == set()


def test_the_newest_report_of_a_region_goes_before_the_vocabulary(lake: Lake) -> None:
    renamed = {"region_code": VILLAGE, "region_name": "新上保社区", "region_level": 5, "parent_code": TOWNSHIP}
    lake.write_regions(
        TREE, reported=[{**renamed, "region_name": "旧名", "source_version": 1}, {**renamed, "source_version": 2, "_source_position": "f#0"}]
    )
    lake.resolve()
    rows = {r["region_code"]: r for r in lake.rows("region")}
    assert len(rows) == 5
    assert rows[VILLAGE]["region_name"] == "新上保社区"
    assert (rows[VILLAGE]["valid_from"], rows[TOWNSHIP]["valid_from"]) == (date(2024, 1, 1), None)


def test_a_cycle_is_reported_and_not_followed(lake: Lake) -> None:
    lake.write_regions(
        [*TREE, ("990000000001", "甲", 3, "990000000002"), ("990000000002", "乙", 3, "990000000001"), ("990000000003", "丙", 4, "990000000002")]
    )
    lake.resolve()
    found = {code for problem, code in lake.problems() if problem == "region_in_or_below_a_cycle"}
    assert found == {"990000000001", "990000000002", "990000000003"}
    assert lake.ancestors("990000000003") == ["990000000003"]
    assert len(lake.ancestors(VILLAGE)) == 5


def test_a_region_whose_parent_is_unknown_is_reported_and_kept(lake: Lake) -> None:
    lake.write_regions([*TREE, ("330199001000", "某街道", 4, "330199000000"), ("330199001001", "某社区", 5, "330199001000")])
    lake.resolve()
    assert lake.problems() == {("parent_unknown", "330199001000")}
    assert lake.ancestors("330199001001") == ["330199001001", "330199001000"]


def test_grid_codes_number_the_grids_of_a_village_by_first_arrival(lake: Lake) -> None:
    lake.land(("G9", VILLAGE), ("G1", VILLAGE), ("G5", "330106002052"))
    lake.resolve()
    stems = {grid: code[:15] for grid, code in lake.codes().items() if code}
    assert stems == {"hangzhou-G9": VILLAGE + "001", "hangzhou-G1": VILLAGE + "002", "hangzhou-G5": "330106002052001"}
    for code in lake.codes().values():
        assert code is not None
        assert re.fullmatch("[0-9]{16}", code)
        assert int(code[15]) == check_digit(int(d) for d in code[:15])


def test_later_arrivals_new_versions_moves_and_deletes_never_change_a_code(lake: Lake) -> None:
    lake.land(("G2", VILLAGE), ("G1", VILLAGE), day=0)
    lake.resolve()
    before = lake.codes()
    lake.land(("G0", VILLAGE), ("G2", "330106002052"), day=1)
    lake.land(("G1", None), day=2, op="delete")
    lake.land(("G3", VILLAGE), sender="another", day=3)
    lake.resolve()
    after = lake.codes()
    assert {grid: after[grid] for grid in before} == before
    assert {grid: (code or "")[12:15] for grid, code in after.items()} == {
        "hangzhou-G2": "001",
        "hangzhou-G1": "002",
        "hangzhou-G0": "003",
        "another-G3": "004",
    }


def test_the_thousandth_grid_of_a_village_is_an_error_row_without_a_code(lake: Lake) -> None:
    lake.land(*((f"G{n:04}", VILLAGE) for n in range(1001)))
    result = lake.resolve()
    assert result["problems"] == {"village_has_more_than_999_grids": 2}
    assert lake.problems() == {("village_has_more_than_999_grids", f"hangzhou-G{n}") for n in ("0999", "1000")}
    codes = lake.codes()
    assert (codes["hangzhou-G0999"], codes["hangzhou-G1000"]) == (None, None)
    given = [c for c in codes.values() if c]
    assert len(given) == len(set(given)) == 999


def test_a_grid_outside_the_twelve_digit_codes_gets_no_code_and_a_problem(lake: Lake) -> None:
    lake.land(("G1", "Back Bay"))
    lake.resolve()
    assert lake.codes() == {"hangzhou-G1": None}
    assert ("grid_not_in_a_village", "hangzhou-G1") in lake.problems()


def test_a_micro_grid_lies_below_its_grid_and_carries_its_code_and_a_number_by_first_arrival(lake: Lake) -> None:
    lake.land(("G1", VILLAGE), ("G2", VILLAGE))
    lake.land_micro_grids(("M9", "G2"), ("M1", "G2"), ("M5", "G1"))
    lake.resolve()
    assert lake.ancestors("hangzhou-M9")[:3] == ["hangzhou-M9", "hangzhou-G2", VILLAGE]
    assert len(lake.ancestors("hangzhou-M9")) == 7
    assert {r["region_level"] for r in lake.rows("region_closure") if r["region_code"] == "hangzhou-M9"} == {7}
    grids, found = lake.codes(), lake.micro_grid_codes()
    stems = {micro_grid: (code or "")[:19] for micro_grid, code in found.items()}
    expected = {"hangzhou-M9": ("G2", "001"), "hangzhou-M1": ("G2", "002"), "hangzhou-M5": ("G1", "001")}
    assert stems == {micro_grid: f"{grids[f'hangzhou-{grid}']}{number}" for micro_grid, (grid, number) in expected.items()}
    for code in found.values():
        assert code is not None
        assert re.fullmatch("[0-9]{20}", code)
        assert int(code[19]) == check_digit(int(d) for d in code[:19])
    assert lake.problems() == set()


def test_a_micro_grids_code_survives_its_deletion_its_move_and_later_arrivals(lake: Lake) -> None:
    lake.land(("G1", VILLAGE), ("G2", VILLAGE))
    lake.land_micro_grids(("M1", "G1"), ("M2", "G1"))
    lake.resolve()
    before = lake.micro_grid_codes()
    lake.land_micro_grids(("M1", None), day=1, op="delete")
    lake.land_micro_grids(("M2", "G2"), ("M3", "G1"), day=2)
    lake.resolve()
    after = lake.micro_grid_codes()
    assert {micro_grid: after[micro_grid] for micro_grid in before} == before
    assert (after["hangzhou-M3"] or "")[16:19] == "003"
    assert lake.ancestors("hangzhou-M1") == []
    assert lake.ancestors("hangzhou-M2")[1] == "hangzhou-G2"


def test_a_micro_grid_of_an_unknown_grid_waits_for_its_code_with_its_number_kept(lake: Lake) -> None:
    lake.land_micro_grids(("M1", "G7"), ("M2", "G7"))
    lake.resolve()
    assert lake.micro_grid_codes() == {"hangzhou-M1": None, "hangzhou-M2": None}
    waiting = {("micro_grid_not_in_a_coded_grid", m) for m in ("hangzhou-M1", "hangzhou-M2")}
    assert lake.problems() == waiting | {("parent_unknown", m) for m in ("hangzhou-M1", "hangzhou-M2")}
    assert {r["subject_type"] for r in lake.rows("problem")} == {"micro_grid"}
    lake.land(("G7", VILLAGE), day=1)
    lake.resolve()
    assert {m: (c or "")[16:19] for m, c in lake.micro_grid_codes().items()} == {"hangzhou-M1": "001", "hangzhou-M2": "002"}
    assert lake.problems() == set()


def test_the_crosswalk_spans_a_local_id_from_first_arrival_to_deletion(lake: Lake) -> None:
    lake.land(("G1", VILLAGE), ("G2", VILLAGE), day=0)
    lake.land(("G1", VILLAGE), day=1)
    lake.land(("G2", None), day=2, op="delete")
    lake.resolve()
    rows = {r["local_id"]: r for r in lake.rows("crosswalk")}
    assert {r["entity"] for r in rows.values()} == {"grid"}
    assert rows["G1"]["canonical_id"] == "hangzhou-G1"
    assert (rows["G1"]["valid_from"], rows["G1"]["valid_to"]) == (DAY, None)
    assert (rows["G2"]["valid_from"], rows["G2"]["valid_to"]) == (DAY, DAY + timedelta(days=2))


def test_resolving_the_same_cut_again_writes_nothing(lake: Lake) -> None:
    lake.land(("G1", VILLAGE), ("G2", VILLAGE))
    first = lake.resolve()
    versions = {name: lake.run.tables.version(name) for name in first["tables"]}
    assert lake.resolve() == first
    assert {name: lake.run.tables.version(name) for name in first["tables"]} == versions


def test_a_day_without_rows_about_persons_links_nothing_anew_and_one_with_them_does(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    number = "33990119900501001X"
    rows = [
        {"local_id": "A", "id_number": number},
        {"local_id": "B", "id_number": number, "feed": KEY_PERSONS, "day": 1},
        {"local_id": "C", "name": "王芳", "day": 2},
    ]
    linked = []
    link = persons.resolve
    monkeypatch.setattr(persons, "resolve", lambda run: linked.append(run) or link(run))
    land(lake.run, crafted(*rows), until=1)
    first = resolve(lake.run)
    tables = {name: lake.run.tables.read(name) for name in first["tables"]}
    assert (len(lake.rows("person_link")), len(linked)) == (1, 1)
    assert resolve(lake.run) == first
    assert {name: lake.run.tables.read(name) for name in first["tables"]} == tables
    assert len(linked) == 1
    land(lake.run, crafted(*rows))
    assert resolve(lake.run)["tables"]["resolved.person_record"] == 3
    assert len(linked) == 2
    # Somebody has been at a table.
    lake.run.tables.overwrite("resolved.person_link", tables["resolved.person_link"].slice(0, 0))
    lake.run.engine.register_table("resolved.person_link")
    resolve(lake.run)
    assert (len(lake.rows("person_link")), len(linked)) == (1, 3)
