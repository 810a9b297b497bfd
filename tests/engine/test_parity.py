"""Sail and Apache Spark make the same lake of the same files: a base and further daily deliveries, every table row for row."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from gridlake.contracts.staging import MONTH
from gridlake.privacy import Keys
from gridlake.tables import Tables
from tests.conftest import needs_java
from tests.e2e.conftest import succeed
from tests.lakes import PLAIN, content, differing

CHECKOUT = Path(__file__).parents[2]
FULL = os.environ.get("GRIDLAKE_TEST_SIZE") == "full"
# On Apache Spark a small lake costs plans, not rows; but the province's 27,036 regions are ten times the other rows.
SMALL = ["--days", "60", "--events", "600", "--villages", "20"]
LARGE = ["--days", "400", "--events", "1000000"]
CITIES = ("3301", "3304")
AS_OF = "2026-11-01T00:00:00+00:00"
# A day of 52 feeds takes Apache Spark two minutes; three days on one engine are in test_dbt_increments.py.
DAYS = 3 if FULL else 1
# A sender's feed of at least so many files comes again every day, any other on one.
DAILY = 6
LATE_REGIONS = 20


@dataclass(frozen=True)
class Lakes:
    """The lake of each engine, and what was landed."""

    embedded: Path
    spark: Path
    inboxes: list[Path]


def fewer_regions(folder: Path) -> Path:
    """Declarations with the province's counties, and of each county of the cities with grids one township with its villages."""
    with (CHECKOUT / "expectations" / "vocabularies" / "regions_cn.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    townships = {row["parent_code"]: row["region_code"] for row in rows if row["region_level"] == "4" and row["region_code"].startswith(CITIES)}
    kept = [row for row in rows if row["region_level"] <= "3" or not {row["region_code"], row["parent_code"]}.isdisjoint(townships.values())]
    (folder / "vocabularies").mkdir(parents=True)
    with (folder / "vocabularies" / "regions_cn.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(kept)
    return folder


def only_declared_regions(inbox: Path, contracts: Path) -> None:
    """Of the regions reported those that are declared; the last of them in a file of their own, that come late."""
    (file,) = inbox.glob("*/region/*/*")
    rows = pq.read_table(file)
    declared = pa_csv.read_csv(contracts / "vocabularies" / "regions_cn.csv").column("region_code").cast(pa.string())
    rows = rows.filter(pc.is_in(rows.column("region_code"), value_set=declared.combine_chunks()))
    pq.write_table(rows.slice(0, rows.num_rows - LATE_REGIONS), file)
    pq.write_table(rows.slice(rows.num_rows - LATE_REGIONS), file.with_name(file.name.replace("-09-", "-10-")))


def deliveries(inbox: Path, folder: Path) -> list[Path]:
    """The province's files as a base and further days.

    Of a feed that a sender sends often the last files come one a day, of any other the last one on some day, as it is with real senders. Of a feed
    with one file a sender the last sender's comes late.
    """
    days = [folder / f"day{number}" for number in range(DAYS + 1)]
    places = [p for p in sorted(inbox.glob("*/*/*")) if p.is_dir() and not p.relative_to(inbox).parts[0].startswith("_")]
    feeds = {feed: [p for p in places if p.parent == feed] for feed in dict.fromkeys(p.parent for p in places)}
    for number, senders in enumerate(feeds.values()):
        several = any(len(list(place.iterdir())) > 1 for place in senders)
        for place in senders:
            files = sorted(place.iterdir())
            # On Apache Spark each of their models costs seconds a day, so but for full size they come once.
            if place.parent.name in PLAIN and not FULL:
                late = {}
            elif len(files) >= DAILY:
                late = dict(zip(files[-DAYS:], days[1:], strict=True))
            elif len(files) > 1 or (not several and place != senders[0]):
                late = {files[-1]: days[number % DAYS + 1]}
            else:
                late = {}
            for file in files:
                target = late.get(file, days[0]) / place.relative_to(inbox) / file.name
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file)
    for day in days:
        # Findings are measured against the truth wherever an inbox has it.
        (day / "_truth").symlink_to(inbox / "_truth")
    return days


class Build:
    """All deliveries into a lake, in a process of its own."""

    def __init__(self, home: Path, inboxes: list[Path], engine: str, contracts: Path | None = None) -> None:
        surroundings = {k: v for k, v in os.environ.items() if not k.startswith("GRIDLAKE_")} | {"GRIDLAKE_ENGINE": engine}
        surroundings |= {"GRIDLAKE_CONTRACTS": str(contracts)} if contracts else {}
        command = [sys.executable, "-m", "tests.engine.deliveries", str(home), AS_OF, *map(str, inboxes)]
        self._engine = engine
        self._process = subprocess.Popen(command, cwd=CHECKOUT, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def finish(self) -> None:
        """Wait for its end, and say how long each step took."""
        try:
            output, error = self._process.communicate()
        finally:
            self.stop()
        assert self._process.returncode == 0, error[-4000:]
        seconds: list[dict[str, float]] = json.loads(output.splitlines()[-1])
        print(f"{self._engine}: " + "; ".join(f"{sum(run.values()):.0f} s {run}" for run in seconds))

    def stop(self) -> None:
        """End it if it still runs."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def build(home: Path, inboxes: list[Path], engine: str, keys_of: Path | None = None, contracts: Path | None = None) -> None:
    """The lake after all deliveries; sealed values of two lakes are alike only under the same keys."""
    home.parent.mkdir(parents=True, exist_ok=True)
    if keys_of is not None:
        shutil.copy(keys_of.with_name("lake.keys.json"), home.with_name("lake.keys.json"))
    Build(home, inboxes, engine, contracts).finish()


@dataclass(frozen=True)
class Province:
    """What is delivered, and the embedded engine's lake of it, which may still be building."""

    embedded: Path
    inboxes: list[Path]
    contracts: Path | None
    building: Build


@pytest.fixture(scope="module")
def province(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Province]:
    """The deliveries on their way into the embedded engine's lake."""
    needs_java()
    folder = tmp_path_factory.mktemp("parity")
    succeed("simulate", *(LARGE if FULL else SMALL), "--inbox", folder / "inbox")
    contracts = None
    if not FULL:
        contracts = fewer_regions(folder / "declared")
        only_declared_regions(folder / "inbox", contracts)
    inboxes = deliveries(folder / "inbox", folder)
    home = folder / "embedded" / "lake"
    home.parent.mkdir()
    Keys.load(home.with_name("lake.keys.json"))
    building = Build(home, inboxes, "embedded", contracts)
    try:
        yield Province(home, inboxes, contracts, building)
    finally:
        building.stop()


@pytest.fixture(scope="module")
def lakes(province: Province, spark_url: str, tmp_path_factory: pytest.TempPathFactory) -> Lakes:
    """The same deliveries through both engines, side by side."""
    home = tmp_path_factory.mktemp("on_spark") / "lake"
    build(home, province.inboxes, spark_url, keys_of=province.embedded, contracts=province.contracts)
    province.building.finish()
    return Lakes(province.embedded, home, province.inboxes)


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
    changed = rows.set_column(rows.column_names.index("closing_note"), "closing_note", [notes])
    tables.overwrite_parts("business.event", changed, MONTH, set(rows.column(MONTH).to_pylist()))
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
def test_a_cluster_of_two_workers_ends_in_the_same_tables(province: Province, lakes: Lakes, cluster_url: str, tmp_path: Path) -> None:
    build(tmp_path / "lake", province.inboxes, cluster_url, keys_of=province.embedded, contracts=province.contracts)
    assert differing(content(lakes.embedded), content(tmp_path / "lake")) == {}


@pytest.mark.deep
def test_the_whole_command_runs_on_spark(province: Province, spark_url: str, tmp_path: Path) -> None:
    documents = {}
    for name, engine in {"embedded": "embedded", "spark": spark_url}.items():
        home = tmp_path / name / "lake"
        home.parent.mkdir()
        shutil.copy(province.embedded.with_name("lake.keys.json"), home.with_name("lake.keys.json"))
        given = ["--contracts", province.contracts] if province.contracts else []
        documents[name] = succeed(
            "run", "--input", province.inboxes[0], "--home", home, "--as-of", AS_OF[:19], *given, env={"GRIDLAKE_ENGINE": engine}
        )
    one, other = documents["embedded"], documents["spark"]
    for part in ("feeds", "tables", "checks", "failed_checks", "findings"):
        assert one[part] == other[part], part
