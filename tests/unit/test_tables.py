"""Delta tables of `gridlake.tables`: appends that happen once, schemas that only grow, commits that survive a power cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest

from gridlake.tables import ROWS_PER_FILE, SchemaConflict, StaleTransaction, Tables, make_folder, write_file

SCHEMA = pa.schema([("key", pa.string()), ("count", pa.int64()), ("seen_at", pa.timestamp("us", "UTC"))])
NAME = "bronze.city__feed"
CHECKOUT = Path(__file__).parents[2]


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(tmp_path / "lake")
    tables.ensure(NAME, SCHEMA)
    return tables


def rows(*keys: str) -> pa.Table:
    return pa.table({"key": list(keys), "count": list(range(len(keys))), "seen_at": [0] * len(keys)}).cast(SCHEMA)


def keys(tables: Tables, version: int | None = None) -> list[str]:
    return sorted(tables.read(NAME, version=version).column("key").to_pylist())


def log(tables: Tables) -> Path:
    return tables.path(NAME) / "_delta_log"


def commits(tables: Tables) -> list[Path]:
    return sorted(log(tables).glob("*.json"))


class DiskOrder:
    """What was put on the disk, in order, beside what the log held at that moment."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.events: list[tuple[str, int]] = []
        self._fsync = os.fsync

    def fsync(self, handle: int) -> None:
        path = Path(f"/proc/self/fd/{handle}").readlink()
        self._fsync(handle)
        if path.is_relative_to(self.folder):
            self.events.append((str(path.relative_to(self.folder)), len(list((self.folder / "_delta_log").glob("*.json")))))


@dataclass(frozen=True)
class Checkpointed:
    """A table of 105 appends of one row, `files:<n>` at n; delta-rs makes a checkpoint at every hundredth commit."""

    tables: Tables
    synced: list[str]

    @property
    def checkpoint(self) -> Path:
        (path,) = log(self.tables).glob("*.checkpoint.parquet")
        return path


@pytest.fixture(scope="module")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Checkpointed:
    tables = Tables(tmp_path_factory.mktemp("checkpointed") / "lake")
    order = DiskOrder(tables.path(NAME))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", order.fsync)
        tables.ensure(NAME, SCHEMA)
        for number in range(1, 106):
            tables.append(NAME, rows(f"k{number:03}"), {f"files:{number}": number})
    return Checkpointed(tables, [path for path, _ in order.events])


@pytest.fixture
def checkpointed(made_once: Checkpointed, tmp_path: Path) -> Checkpointed:
    shutil.copytree(made_once.tables.root, tmp_path / "lake")
    return replace(made_once, tables=Tables(tmp_path / "lake"))


def actions(commit: Path) -> list[str]:
    return [next(iter(json.loads(line))) for line in commit.read_text(encoding="utf-8").splitlines()]


# --- names


def test_a_table_lies_in_the_folder_of_its_schema(tmp_path: Path) -> None:
    assert Tables(tmp_path).path("bronze.city__feed") == tmp_path / "bronze" / "city__feed"


@pytest.mark.parametrize("name", ["feed", "bronze.", "a.b.c"])
def test_a_name_without_schema_and_table_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match=r"expected <schema>\.<table>"):
        Tables(tmp_path).path(name)


def test_names_lists_what_was_created_and_nothing_else(tables: Tables) -> None:
    tables.ensure("ops.receipt", SCHEMA)
    (tables.root / "bronze" / "stray").mkdir()
    assert tables.names() == [NAME, "ops.receipt"]
    assert tables.exists(NAME)
    assert not tables.exists("bronze.stray")


def test_an_unknown_table_is_named_beside_those_there_are(tables: Tables) -> None:
    with pytest.raises(KeyError, match=r"bronze\.missing.*bronze\.city__feed"):
        tables.read("bronze.missing")


# --- append and transactions


def test_appended_rows_are_read_back_in_the_tables_column_order(tables: Tables) -> None:
    given = rows("a", "b")
    tables.append(NAME, given.select(["seen_at", "count", "key"]))
    assert tables.read(NAME).sort_by("key").equals(given)
    assert tables.row_count(NAME) == 2


def test_each_append_is_one_version_and_old_versions_stay_readable(tables: Tables) -> None:
    first = tables.append(NAME, rows("a"))
    second = tables.append(NAME, rows("b"))
    assert second == first + 1 == tables.version(NAME)
    assert keys(tables, first) == ["a"]
    assert keys(tables, second) == ["a", "b"]
    assert (tables.row_count(NAME, first), tables.row_count(NAME, second)) == (1, 2)


def test_columns_and_conditions_are_pushed_into_the_read(tables: Tables) -> None:
    tables.append(NAME, rows("a", "b", "c"))
    read = tables.read(NAME, columns=["key"], where=ds.field("count") > 0)
    assert read.to_pydict() == {"key": ["b", "c"]}


def test_a_transaction_at_or_past_the_version_is_stale_and_adds_nothing(tables: Tables) -> None:
    tables.append(NAME, rows("a"), {"files:x": 7})
    for version in (7, 3):
        with pytest.raises(StaleTransaction, match="files:x is already at 7"):
            tables.append(NAME, rows("again"), {"files:x": version})
    tables.append(NAME, rows("b"), {"files:x": 8})
    assert keys(tables) == ["a", "b"]
    assert tables.resume_point(NAME, "files:x") == 8


def test_one_stale_transaction_among_several_stops_the_whole_append(tables: Tables) -> None:
    tables.append(NAME, rows("a"), {"one": 1})
    with pytest.raises(StaleTransaction):
        tables.append(NAME, rows("b"), {"two": 1, "one": 1})
    assert tables.resume_points(NAME, ["one", "two"]) == {"one": 1}


def test_resume_points_are_unknown_without_table_or_app(tables: Tables) -> None:
    assert tables.resume_point("bronze.missing", "x") is None
    assert tables.resume_points("bronze.missing", ["x"]) == {}
    assert tables.resume_point(NAME, "x") is None


def test_a_transaction_without_rows_is_kept(tables: Tables) -> None:
    tables.append(NAME, rows(), {"files:empty": 1})
    assert tables.resume_point(NAME, "files:empty") == 1
    assert tables.row_count(NAME) == 0


def test_resume_points_outlive_the_checkpoint_among_many_commits(checkpointed: Checkpointed) -> None:
    again = checkpointed.tables
    assert again.resume_points(NAME, [f"files:{n}" for n in range(1, 106)]) == {f"files:{n}": n for n in range(1, 106)}
    assert again.row_count(NAME) == 105
    assert again.row_count(NAME, 50) == 50, "old versions stay: manifests name them"


def test_two_writers_with_different_transactions_both_land(tables: Tables) -> None:
    other = Tables(tables.root)
    tables.append(NAME, rows("a"), {"one": 1})
    other.append(NAME, rows("b"), {"two": 1})
    assert keys(tables) == keys(other) == ["a", "b"]


def test_a_large_append_is_cut_into_files_and_is_still_one_commit(tables: Tables) -> None:
    count = ROWS_PER_FILE + 1
    data = pa.table({field.name: pa.nulls(count, field.type) for field in SCHEMA})
    before = tables.version(NAME)
    assert tables.append(NAME, data) == before + 1
    assert len(tables.files(NAME)) == 2
    assert tables.row_count(NAME) == count


# --- schemas


def test_a_missing_or_unknown_column_is_refused_and_named(tables: Tables) -> None:
    with pytest.raises(SchemaConflict, match=r"lacks columns \['count'\] and adds \['extra'\]"):
        tables.append(NAME, rows("a").drop_columns(["count"]).append_column("extra", pa.array(["x"])))
    assert tables.row_count(NAME) == 0


def test_another_type_is_refused_even_where_it_could_be_cast(tables: Tables) -> None:
    with pytest.raises(SchemaConflict, match="column count is int64, the data bring int32"):
        tables.append(NAME, rows("a").set_column(1, "count", pa.array([1], pa.int32())))
    with pytest.raises(SchemaConflict, match="column count is int64, int32 was asked for"):
        tables.ensure(NAME, pa.schema([("count", pa.int32())]))


def test_ensure_adds_columns_at_the_end_and_older_rows_have_null_there(tables: Tables) -> None:
    tables.append(NAME, rows("a"))
    wider = SCHEMA.insert(1, pa.field("grid", pa.string(), nullable=False))
    tables.ensure(NAME, wider)
    assert tables.schema(NAME).names == ["key", "count", "seen_at", "grid"]
    tables.append(NAME, rows("b").append_column("grid", pa.array(["g1"])))
    read = tables.read(NAME).sort_by("key")
    assert read.select(["key", "grid"]).to_pydict() == {"key": ["a", "b"], "grid": [None, "g1"]}


def _grow(tables: Tables) -> None:
    tables.ensure("bronze.grown", SCHEMA)
    tables.ensure("bronze.grown", SCHEMA.append(pa.field("grid", pa.string())))


@pytest.mark.parametrize("moment", ["table.before_columns", "table.after_columns"])
def test_a_table_whose_writer_was_killed_while_it_grew_has_the_columns_after_a_repeat(tmp_path: Path, moment: str) -> None:
    command = f"from pathlib import Path; from tests.unit import test_tables; test_tables._grow(test_tables.Tables(Path({str(tmp_path)!r})))"
    killed = subprocess.run([sys.executable, "-c", command], cwd=CHECKOUT, env=os.environ | {"GRIDLAKE_KILL_AT": moment}, check=False)
    assert killed.returncode == -signal.SIGKILL
    tables = Tables(tmp_path)
    _grow(tables)
    assert tables.schema("bronze.grown").names == [*SCHEMA.names, "grid"]
    assert tables.version("bronze.grown") == 1


def test_ensure_of_what_is_there_writes_nothing(tables: Tables) -> None:
    before = tables.version(NAME)
    tables.ensure(NAME, SCHEMA)
    tables.ensure(NAME, pa.schema([SCHEMA.field("key")]))
    assert tables.version(NAME) == before


def test_overwrite_replaces_rows_and_schema_and_the_old_version_stays(tables: Tables) -> None:
    old = tables.append(NAME, rows("a"))
    new = tables.overwrite(NAME, pa.table({"key": ["x"], "count": ["now text"]}))
    assert tables.read(NAME).to_pylist() == [{"key": "x", "count": "now text"}]
    assert tables.schema(NAME).field("count").type == pa.string()
    assert tables.row_count(NAME) == 1
    assert keys(tables, old) == ["a"]
    assert tables.schema(NAME).names == ["key", "count"]
    assert new == old + 1


def test_overwrite_creates_the_table_and_can_empty_it(tables: Tables) -> None:
    tables.overwrite("staging.sender", rows("a"))
    tables.overwrite("staging.sender", rows())
    assert tables.row_count("staging.sender") == 0
    assert tables.files("staging.sender") == []


def test_files_of_a_version_hold_its_rows_for_readers_without_delta(tables: Tables) -> None:
    version = tables.append(NAME, rows("a"))
    tables.overwrite(NAME, rows("b"))
    assert ds.dataset(tables.files(NAME, version)).to_table().column("key").to_pylist() == ["a"]
    assert ds.dataset(tables.files(NAME)).to_table().column("key").to_pylist() == ["b"]


# --- power cuts


@pytest.mark.parametrize("torn", [b"", b"\n", b"\0" * 700, b'{"commitInfo":{"timestamp":17', b'{"commitInfo":{}}\n{"add":{"path":"part-'])
def test_a_torn_newest_commit_is_set_aside_and_its_rows_are_landed_again(tables: Tables, torn: bytes) -> None:
    tables.append(NAME, rows("a"), {"files:x": 1})
    tables.append(NAME, rows("b"), {"files:x": 2})
    commits(tables)[-1].write_bytes(torn)

    again = Tables(tables.root)
    assert again.resume_point(NAME, "files:x") == 1, "the lost commit's transaction must be unknown again"
    assert keys(again) == ["a"]
    again.append(NAME, rows("b"), {"files:x": 2})
    assert keys(again) == ["a", "b"]
    assert len(list(log(tables).glob("*.torn-*"))) == 1, "kept for whoever looks into it"


@pytest.mark.parametrize("lines", [1, 2, 3])
def test_a_commit_cut_short_at_the_end_of_a_line_is_torn_too(tables: Tables, lines: int) -> None:
    tables.append(NAME, rows("a"), {"files:x": 1, "files:y": 1})
    tables.append(NAME, rows("b"), {"files:x": 2, "files:y": 2})
    whole = commits(tables)[-1].read_bytes().splitlines(keepends=True)
    assert len(whole) == 4, "what it says of itself, the file, two transactions"
    commits(tables)[-1].write_bytes(b"".join(whole[:lines]))
    again = Tables(tables.root)
    assert again.resume_points(NAME, ["files:x", "files:y"]) == {"files:x": 1, "files:y": 1}
    assert keys(again) == ["a"]


def test_a_torn_commit_takes_those_after_it_along(tables: Tables) -> None:
    for number, key in enumerate("abcd"):
        tables.append(NAME, rows(key), {"files:x": number})
    commits(tables)[3].write_bytes(b"")
    again = Tables(tables.root)
    assert keys(again) == ["a", "b"]
    again.append(NAME, rows("c"), {"files:x": 2})
    assert keys(again) == ["a", "b", "c"]


def test_a_commit_whose_name_was_lost_takes_those_after_it_along(tables: Tables) -> None:
    for number, key in enumerate("abcd"):
        tables.append(NAME, rows(key), {"files:x": number})
    commits(tables)[3].unlink()
    assert keys(Tables(tables.root)) == ["a", "b"]


def test_a_log_that_another_engine_has_cleaned_is_left_as_it_is(tables: Tables) -> None:
    for key in "abcd":
        tables.append(NAME, rows(key))
    for commit in commits(tables)[:2]:
        commit.unlink()
    (log(tables) / f"{1:020}.checkpoint.0000000001.0000000002.parquet").touch()
    assert Tables(tables.root).names() == [NAME]
    assert len(commits(tables)) == 3


def test_what_another_process_had_not_synced_is_synced_before_what_stands_on_it(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Tables(tables.root)
    other.append(NAME, rows("a"))
    order = DiskOrder(tables.path(NAME))
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # killed before it could
    other.append(NAME, rows("b"))
    monkeypatch.setattr(os, "fsync", order.fsync)
    tables.append(NAME, rows("c"))
    synced = [path for path, _ in order.events]
    assert f"_delta_log/{2:020}.json" in synced
    assert f"_delta_log/{3:020}.json" in synced


def test_what_a_killed_process_had_not_synced_is_synced_before_anyone_goes_on_behind_it(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> None:
    order = DiskOrder(tables.path(NAME))
    monkeypatch.setattr(os, "fsync", lambda handle: None)  # killed before it could
    Tables(tables.root).append(NAME, rows("a"), {"files:1": 1})
    monkeypatch.setattr(os, "fsync", order.fsync)
    assert tables.resume_point(NAME, "files:1") == 1
    assert [path for path, _ in order.events if path.startswith("_delta_log")] == [f"_delta_log/{1:020}.json", "_delta_log"]
    assert tables.resume_point(NAME, "files:2") is None
    assert len([path for path, _ in order.events if path == "_delta_log"]) == 1


@pytest.mark.parametrize("torn", [b"", b"PAR1\x15", b"\0" * 9000])
def test_a_torn_checkpoint_loses_nothing(checkpointed: Checkpointed, torn: bytes) -> None:
    checkpointed.checkpoint.write_bytes(torn)
    again = checkpointed.tables
    assert again.row_count(NAME) == 105
    assert again.resume_point(NAME, "files:7") == 7
    again.append(NAME, rows("after"))
    assert again.row_count(NAME) == 106


@pytest.mark.parametrize("torn", [b"", b'{"version":9'])
def test_a_torn_hint_to_the_checkpoint_loses_nothing(checkpointed: Checkpointed, torn: bytes) -> None:
    (log(checkpointed.tables) / "_last_checkpoint").write_bytes(torn)
    assert checkpointed.tables.row_count(NAME) == 105


def test_a_checkpoint_without_its_commit_is_set_aside(checkpointed: Checkpointed) -> None:
    again = checkpointed.tables
    version = int(checkpointed.checkpoint.name[:20])
    for commit in commits(again)[version:]:
        commit.unlink()
    again = Tables(again.root)
    assert again.version(NAME) == version - 1
    again.append(NAME, rows("after"), {"files:after": 1})
    assert again.row_count(NAME) == version
    assert again.resume_points(NAME, [f"files:{version - 1}", f"files:{version}"]) == {f"files:{version - 1}": version - 1}


def test_a_torn_commit_after_a_checkpoint_is_set_aside_too(checkpointed: Checkpointed) -> None:
    again = checkpointed.tables
    commits(again)[-1].write_bytes(b"")
    assert again.resume_points(NAME, ["files:104", "files:105"]) == {"files:104": 104}
    assert again.row_count(NAME) == 104


def test_a_torn_first_commit_leaves_a_table_that_ensure_makes_again(tables: Tables) -> None:
    commits(tables)[-1].write_bytes(b"")
    again = Tables(tables.root)
    assert not again.exists(NAME)
    assert again.resume_point(NAME, "files:x") is None
    assert again.names() == []
    again.ensure(NAME, SCHEMA)
    again.append(NAME, rows("a"))
    assert keys(again) == ["a"]


@pytest.fixture
def disk_order(tables: Tables, monkeypatch: pytest.MonkeyPatch) -> DiskOrder:
    order = DiskOrder(tables.path(NAME))
    monkeypatch.setattr(os, "fsync", order.fsync)
    return order


def test_data_are_on_the_disk_before_the_log_names_them(tables: Tables, disk_order: DiskOrder) -> None:
    tables.append(NAME, rows("a"), {"files:x": 1})
    data = [count for path, count in disk_order.events if path.endswith(".parquet")]
    assert data == [1], "one data file, while the log still held the creation alone"
    folder = [count for path, count in disk_order.events if path == "."]
    assert folder[0] == 1, "the folder's entry of the data file too"


def test_log_entry_and_its_folder_are_on_the_disk_when_an_append_returns(tables: Tables, disk_order: DiskOrder) -> None:
    tables.append(NAME, rows("a"))
    after = [path for path, count in disk_order.events if count == 2]
    assert after[:2] == ["_delta_log/00000000000000000001.json", "_delta_log"]


def test_creation_and_evolution_are_on_the_disk_when_ensure_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = Tables(tmp_path / "lake")
    order = DiskOrder(tables.path(NAME))
    monkeypatch.setattr(os, "fsync", order.fsync)
    tables.ensure(NAME, SCHEMA)
    tables.ensure(NAME, SCHEMA.append(pa.field("grid", pa.string())))
    assert [path for path, _ in order.events if path.endswith(".json")] == [f"_delta_log/{n:020}.json" for n in (0, 1)]


def test_a_checkpoint_is_on_the_disk_when_its_append_returns(checkpointed: Checkpointed) -> None:
    assert f"_delta_log/{checkpointed.checkpoint.name}" in checkpointed.synced


def test_a_new_folder_is_on_the_disk_with_all_folders_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order = DiskOrder(tmp_path)
    monkeypatch.setattr(os, "fsync", order.fsync)
    make_folder(tmp_path / "lake" / "tables" / "bronze")
    assert {path for path, _ in order.events} == {".", "lake", "lake/tables"}


def test_an_append_names_its_rows_and_its_transaction_in_one_commit(tables: Tables) -> None:
    tables.append(NAME, rows("a"), {"files:x": 1})
    assert {"add", "txn"} <= set(actions(commits(tables)[-1]))


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "runs" / "r.json"
    write_file(target, b"old")

    def power_cut(handle: int) -> None:
        raise OSError("no power")

    monkeypatch.setattr(os, "fsync", power_cut)
    with pytest.raises(OSError, match="no power"):
        write_file(target, b"new")
    assert target.read_bytes() == b"old"
