"""The engine shows the lake as the cut fixed it, whatever else writes meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from gridlake.engine import Engine, EngineError
from gridlake.tables import Tables

SCHEMA = pa.schema([("key", pa.string()), ("seen_at", pa.timestamp("us", "UTC"))])
FEED = "bronze.city_platform__event"


def rows(*keys: str) -> pa.Table:
    return pa.table({"key": list(keys), "seen_at": [0] * len(keys)}).cast(SCHEMA)


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    tables = Tables(tmp_path / "tables")
    tables.ensure(FEED, SCHEMA)
    return tables


@pytest.fixture
def engine(tables: Tables) -> Iterator[Engine]:
    engine = Engine("embedded", tables)
    yield engine
    engine.stop()


def keys(engine: Engine, name: str) -> list[str]:
    return sorted(r["key"] for r in engine.spark.sql(f"select key from {name}").toArrow().to_pylist())


def test_bronze_is_at_the_cuts_version_though_the_table_went_on(tables: Tables, engine: Engine) -> None:
    cut = {FEED: tables.append(FEED, rows("a"))}
    tables.append(FEED, rows("b"))
    engine.register(cut)
    assert keys(engine, FEED) == ["a"]
    assert keys(engine, "landed.city_platform__event") == ["a", "b"]
    tables.append(FEED, rows("c"))
    assert keys(engine, FEED) == ["a"]
    assert keys(engine, "landed.city_platform__event") == ["a", "b", "c"]


def test_a_version_before_the_newest_checkpoint_is_read(tables: Tables, engine: Engine) -> None:
    names = "abcdefgh"
    for number, key in enumerate(names, 1):
        tables.append(FEED, rows(key))
        if number in {3, 6, 8}:
            DeltaTable(tables.path(FEED)).create_checkpoint()
    assert (tables.path(FEED) / "_delta_log" / "_last_checkpoint").exists()
    for version in (2, 4, 7):
        engine.register({FEED: version})
        assert keys(engine, FEED) == list(names[:version])
    tables.reach(FEED)
    assert keys(engine, "landed.city_platform__event version as of 4") == list(names[:4])


def test_a_table_that_is_read_at_a_version_may_be_given_a_checkpoint(tables: Tables, engine: Engine) -> None:
    for key in "abc":
        tables.append(FEED, rows(key))
    engine.register({FEED: 2})
    assert keys(engine, FEED) == ["a", "b"]
    assert tables.checkpoint(FEED, 1)
    tables.append(FEED, rows("d"))
    assert keys(engine, FEED) == ["a", "b"]
    assert keys(engine, "landed.city_platform__event") == ["a", "b", "c", "d"]


def test_a_later_cut_moves_the_view(tables: Tables, engine: Engine) -> None:
    engine.register({FEED: tables.append(FEED, rows("a"))})
    assert keys(engine, FEED) == ["a"]
    engine.register({FEED: tables.append(FEED, rows("b"))})
    assert keys(engine, FEED) == ["a", "b"]


def test_a_column_added_after_the_cut_is_not_in_the_view(tables: Tables, engine: Engine) -> None:
    cut = {FEED: tables.append(FEED, rows("a"))}
    tables.ensure(FEED, SCHEMA.append(pa.field("grid", pa.string())))
    engine.register(cut)
    assert engine.spark.table(FEED).columns == ["key", "seen_at"]
    assert engine.spark.table("landed.city_platform__event").columns == ["key", "seen_at", "grid"]


def test_a_later_cut_shows_a_column_added_since(tables: Tables, engine: Engine) -> None:
    engine.register({FEED: tables.append(FEED, rows("a"))})
    tables.ensure(FEED, SCHEMA.append(pa.field("grid", pa.string())))
    engine.register({FEED: tables.append(FEED, rows("b").append_column("grid", pa.array(["g1"])))})
    assert engine.spark.sql(f"select key, grid from {FEED} order by key").toArrow().to_pydict() == {"key": ["a", "b"], "grid": [None, "g1"]}


def test_a_cut_of_an_empty_table_reads_as_no_rows(tables: Tables, engine: Engine) -> None:
    engine.register({FEED: 0})
    tables.append(FEED, rows("late"))
    assert keys(engine, FEED) == []


def test_quarantine_and_receipts_are_cut_like_bronze(tables: Tables, engine: Engine) -> None:
    names = ["quarantine.city_platform__event", "ops.receipt"]
    for name in names:
        tables.ensure(name, SCHEMA)
    cut = {name: tables.append(name, rows("a")) for name in names}
    for name in names:
        tables.append(name, rows("later"))
    engine.register(cut)
    assert [keys(engine, name) for name in names] == [["a"], ["a"]]
    assert keys(engine, "landed_quarantine.city_platform__event") == keys(engine, "landed_ops.receipt") == ["a", "later"]


def test_a_landed_table_outside_the_cut_is_not_shown(tables: Tables, engine: Engine) -> None:
    tables.ensure("bronze.other__feed", SCHEMA)
    engine.register({FEED: 0})
    shown = {r["tableName"] for r in engine.spark.sql("show tables in bronze").toArrow().to_pylist()}
    assert shown == {"city_platform__event"}


def test_rebuilt_tables_are_shown_as_they_are_and_registering_keeps_their_rows(tables: Tables, engine: Engine) -> None:
    tables.overwrite("staging.sender", rows("a", "b"))
    for _ in range(2):
        engine.register({})
        assert keys(engine, "staging.sender") == ["a", "b"]
    assert tables.row_count("staging.sender") == 2, "showing a table anew must not remove its files"


def test_a_table_rewritten_with_another_schema_is_shown_with_it(tables: Tables, engine: Engine) -> None:
    tables.overwrite("staging.sender", rows("a"))
    engine.register({})
    tables.overwrite("staging.sender", pa.table({"key": ["x"], "name": ["某市"]}))
    engine.register_table("staging.sender")
    assert engine.spark.table("staging.sender").toArrow().to_pylist() == [{"key": "x", "name": "某市"}]


def test_what_the_engine_writes_the_tables_read(tables: Tables, engine: Engine) -> None:
    tables.append(FEED, rows("a", "b"))
    engine.register({FEED: tables.version(FEED)})
    engine.spark.sql(f"create table mart.counted using delta location '{tables.path('mart.counted')}' as select count(*) as event_count from {FEED}")
    assert tables.names() == [FEED, "mart.counted"]
    assert tables.read("mart.counted").to_pylist() == [{"event_count": 2}]


def test_times_are_utc_whatever_the_machines_zone(tables: Tables, engine: Engine) -> None:
    tables.append(FEED, rows("a"))
    engine.register({FEED: tables.version(FEED)})
    (row,) = (
        engine.spark.sql(f"select date_format(seen_at, 'yyyy-MM-dd HH:mm') as written, cast(seen_at as date) as day from {FEED}")
        .toArrow()
        .to_pylist()
    )
    assert (row["written"], str(row["day"])) == ("1970-01-01 00:00", "1970-01-01")


def test_two_engines_of_two_cuts_do_not_see_each_others_catalog(tables: Tables, engine: Engine) -> None:
    first = tables.append(FEED, rows("a"))
    second = tables.append(FEED, rows("b"))
    other = Engine("embedded", tables)
    try:
        engine.register({FEED: first})
        other.register({FEED: second})
        assert keys(engine, FEED) == ["a"]
        assert keys(other, FEED) == ["a", "b"]
        assert engine.url != other.url
    finally:
        other.stop()
    assert keys(engine, FEED) == ["a"], "stopping one engine must leave the other alone"


def test_another_client_of_the_same_url_sees_the_same_catalog(tables: Tables, engine: Engine) -> None:
    from pyspark.sql import SparkSession

    tables.append(FEED, rows("a"))
    engine.register({FEED: tables.version(FEED)})
    assert os.environ["SPARK_REMOTE"] == engine.url, "dbt finds the session by this variable"
    assert SparkSession.builder.remote(engine.url).create().table(FEED).count() == 1


def test_an_engine_of_another_kind_is_refused_with_what_is_expected(tables: Tables) -> None:
    with pytest.raises(EngineError, match="expected 'embedded' or 'sc://host:port'"):
        Engine("spark://master:7077", tables)


@pytest.mark.parametrize("folder", ["湖", "my lake", "it's", "50%", "a#b"])
def test_a_folder_that_the_engine_would_write_beside_is_refused(tmp_path: Path, folder: str) -> None:
    with pytest.raises(EngineError, match="without blanks, Chinese or quotes; give such a folder by --home"):
        Engine("embedded", Tables(tmp_path / folder))
    assert list(tmp_path.iterdir()) == []


def test_a_stopped_engine_leaves_no_address_behind(tables: Tables) -> None:
    Engine("embedded", tables).stop()
    assert "SPARK_REMOTE" not in os.environ


def test_a_view_is_shown_in_a_session_that_did_not_make_it(tables: Tables, engine: Engine) -> None:
    tables.overwrite("staging.stg_one", rows("a"))
    views = {"staging.stg_all": "select key from staging.stg_one"}
    engine.register({}, views)
    assert keys(engine, "staging.stg_all") == ["a"]
    engine.register({}, views)
    tables.overwrite("staging.stg_one", rows("b"))
    assert keys(engine, "staging.stg_all") == ["b"]
