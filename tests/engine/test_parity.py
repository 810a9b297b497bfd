"""Sail and Apache Spark make the same lake of the same files: a base and three further deliveries, every table row for row."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from gridlake.tables import Tables
from tests.conftest import needs_java
from tests.e2e.conftest import succeed
from tests.lakes import content, differing

CHECKOUT = Path(__file__).parents[2]
FULL = os.environ.get("GRIDLAKE_TEST_SIZE") == "full"
SMALL = ["--days", "60", "--events", "3000", "--villages", "100"]
LARGE = ["--days", "400", "--events", "1000000"]
AS_OF = "2026-11-01T00:00:00+00:00"
DAYS = 3


@dataclass(frozen=True)
class Lakes:
    """The lake of each engine, and what was landed."""

    embedded: Path
    spark: Path
    inboxes: list[Path]


def deliveries(inbox: Path, folder: Path) -> list[Path]:
    """The province's files as a base and three days: the last three of a sender and feed come one a day; of two files the last comes on some day."""
    days = [folder / f"day{number}" for number in range(DAYS + 1)]
    places = sorted({p.parent for p in inbox.glob("*/*/*/*") if not p.relative_to(inbox).parts[0].startswith("_")})
    for number, place in enumerate(places):
        files = sorted(place.iterdir())
        late = min(len(files) - 1, DAYS)
        base = len(files) - late
        first = number % DAYS + 1 if late == 1 else DAYS - late + 1
        for position, file in enumerate(files):
            day = days[first + position - base] if position >= base else days[0]
            target = day / place.relative_to(inbox) / file.name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(file)
    for day in days:
        # Findings are measured against the truth wherever an inbox has it.
        (day / "_truth").symlink_to(inbox / "_truth")
    return days


def build(home: Path, inboxes: list[Path], engine: str, keys_of: Path | None = None, contracts: Path | None = None) -> list[dict[str, float]]:
    """The lake after all deliveries; sealed values of two lakes are alike only under the same keys."""
    home.parent.mkdir(parents=True, exist_ok=True)
    if keys_of is not None:
        shutil.copy(keys_of.with_name("lake.keys.json"), home.with_name("lake.keys.json"))
    surroundings = {k: v for k, v in os.environ.items() if not k.startswith("GRIDLAKE_")} | {"GRIDLAKE_ENGINE": engine}
    surroundings |= {"GRIDLAKE_CONTRACTS": str(contracts)} if contracts else {}
    done = subprocess.run(
        [sys.executable, "-m", "tests.engine.deliveries", str(home), AS_OF, *map(str, inboxes)],
        cwd=CHECKOUT,
        env=surroundings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    seconds: list[dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    print(f"{engine}: " + "; ".join(f"{sum(run.values()):.0f} s {run}" for run in seconds))
    return seconds


@pytest.fixture(scope="module")
def landed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """The embedded engine's lake and the deliveries that it was made of."""
    needs_java()
    folder = tmp_path_factory.mktemp("parity")
    succeed("simulate", *(LARGE if FULL else SMALL), "--inbox", folder / "inbox")
    inboxes = deliveries(folder / "inbox", folder)
    build(folder / "embedded" / "lake", inboxes, "embedded")
    return folder / "embedded" / "lake", inboxes


@pytest.fixture(scope="module")
def lakes(landed: tuple[Path, list[Path]], spark_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    """The same deliveries through both engines."""
    embedded, inboxes = landed
    home = tmp_path_factory.mktemp("on_spark") / "lake"
    build(home, inboxes, spark_url, keys_of=embedded)
    return Lakes(embedded, home, inboxes)


def test_both_engines_end_in_the_same_tables(lakes: Lakes) -> None:
    one, other = content(lakes.embedded), content(lakes.spark)
    assert differing(one, other) == {}


def test_every_model_was_built_and_every_day_brought_rows(lakes: Lakes) -> None:
    tables = Tables(lakes.spark / "tables")
    models = {p.stem for p in (CHECKOUT / "dbt" / "models").glob("*/*.sql")}
    built = {name.partition(".")[2] for name in tables.names()} | {name.replace(".", "_") for name in tables.names()}
    assert models - built == set()
    assert tables.row_count("finding.finding") > 0
    assert tables.row_count("factor.event") > 0
    for day in lakes.inboxes:
        assert [p for p in day.glob("*/*/*/*") if p.is_symlink()], day
    assert tables.version("business.event") > tables.version("item.event_level"), "later deliveries changed events, not the levels"


def test_a_planted_difference_is_seen(lakes: Lakes, tmp_path: Path) -> None:
    shutil.copytree(lakes.spark / "tables" / "business" / "event", tmp_path / "tables" / "business" / "event")
    tables = Tables(tmp_path / "tables")
    rows = tables.read("business.event")
    notes = rows.column("closing_note").to_pylist()
    place = next(number for number, note in enumerate(notes) if note)
    notes[place] += "。"
    tables.overwrite("business.event", rows.set_column(rows.column_names.index("closing_note"), "closing_note", [notes]))
    said = differing({"business.event": content(lakes.embedded)["business.event"]}, content(tmp_path))
    assert "1 against 1 differ" in said["business.event"]
    assert "closing_note" in said["business.event"]


def test_what_spark_wrote_is_read_without_it(lakes: Lakes) -> None:
    tables = Tables(lakes.spark / "tables")
    for name in tables.names():
        schema = tables.schema(name)
        for file in tables.files(name)[:1]:
            kinds = dict(duckdb.execute("select column_name, column_type from (describe select * from read_parquet(?))", [file]).fetchall())
            zoned = {c for c, kind in kinds.items() if kind == "TIMESTAMP WITH TIME ZONE"}
            assert zoned == {f.name for f in schema if str(f.type) == "timestamp[us, tz=UTC]" and f.name in kinds}, name


def test_a_server_shows_one_lake_at_a_time_and_changes_over_to_another(lakes: Lakes, spark_url: str, tmp_path: Path) -> None:
    from gridlake.engine import Engine, EngineError

    one, other = Tables(lakes.spark / "tables"), Tables(tmp_path / "tables")
    levels = one.read("item.event_level")
    other.overwrite("item.event_level", levels.slice(0, 1))
    first = Engine(spark_url, one)
    try:
        first.register({})
        second = Engine(spark_url, other)
        with pytest.raises(EngineError, match="shows one lake at a time"):
            second.register({})
    finally:
        first.stop()
    second.register({})
    try:
        assert second.spark.table("item.event_level").count() == 1
        assert second.spark.sql("show tables in business").collect() == []
        other.overwrite("item.event_level", levels)
        assert second.spark.table("item.event_level").count() == levels.num_rows
    finally:
        second.stop()


@pytest.mark.deep
def test_a_cluster_of_two_workers_ends_in_the_same_tables(landed: tuple[Path, list[Path]], cluster_url: str, tmp_path: Path) -> None:
    embedded, inboxes = landed
    build(tmp_path / "lake", inboxes, cluster_url, keys_of=embedded)
    assert differing(content(embedded), content(tmp_path / "lake")) == {}


@pytest.mark.deep
def test_the_whole_command_runs_on_spark(landed: tuple[Path, list[Path]], spark_url: str, tmp_path: Path) -> None:
    embedded, inboxes = landed
    documents = {}
    for name, engine in {"embedded": "embedded", "spark": spark_url}.items():
        home = tmp_path / name / "lake"
        home.parent.mkdir()
        shutil.copy(embedded.with_name("lake.keys.json"), home.with_name("lake.keys.json"))
        documents[name] = succeed("run", "--input", inboxes[0], "--home", home, "--as-of", AS_OF[:19], env={"GRIDLAKE_ENGINE": engine})
    one, other = documents["embedded"], documents["spark"]
    for part in ("feeds", "tables", "checks", "failed_checks", "findings"):
        assert one[part] == other[part], part
