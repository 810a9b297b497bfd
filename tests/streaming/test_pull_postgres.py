"""Rows pulled from a real PostgreSQL server by watermark: each version once, late commits too."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.streaming.conftest import Lake
from tests.streaming.sources import PASSWORD, Postgres, needs_postgres, project, pull

TABLE = """
create table visit (
    visit_id text primary key, region_code text, visitor_count int, temperature_c numeric(5, 2), is_urgent boolean, visit_date date,
    started_at timestamp, visitor_phone text, source_version bigint, updated_at timestamptz default clock_timestamp(), clerk text
)
"""


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    needs_postgres()
    running = Postgres(tmp_path_factory.mktemp("source"))
    yield running
    running.stop()


@pytest.fixture
def source(postgres: Postgres) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
    """An empty table of visits."""
    with postgres.owner() as connection:
        connection.execute("drop table if exists visit")
        connection.execute(TABLE)
        yield connection


@pytest.fixture
def made(tmp_path: Path, postgres: Postgres) -> Path:
    how = {
        "sender": "north", "table": "visit", "watermark": "updated_at", "key": ["visit_id"], "overlap": "10 minutes", "size": 5,
        "user": "reader", "secret": "reader",
    }  # fmt: skip
    server = {
        "server": "office_db", "type": "postgres", "host": "127.0.0.1", "port": postgres.port, "database": "source", "schema": "public",
        "customProperties": [{"property": "gridlake.pull", "value": how}],
    }  # fmt: skip
    return project(tmp_path, [server])


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


def insert(source: psycopg.Connection[tuple[Any, ...]], *numbers: int, version: int = 1) -> None:
    for number in numbers:
        source.execute(
            "insert into visit (visit_id, region_code, visitor_count, temperature_c, is_urgent, visit_date, started_at, visitor_phone,"
            " source_version) values (%s, '1001', 3, 36.5, true, '2026-05-01', '2026-05-01 09:00:00', '13812345678', %s)"
            " on conflict (visit_id) do update set source_version = excluded.source_version, updated_at = clock_timestamp()",
            (f"V{number}", version),
        )


def rows(lake: Lake) -> list[tuple[str, int]]:
    return sorted((r["visit_id"], r["source_version"]) for r in lake.bronze())


def test_rows_come_typed_in_pages_and_the_next_pull_brings_only_what_changed(lake: Lake, made: Path, source: psycopg.Connection[Any]) -> None:
    insert(source, *range(12))
    code, (told,), said = pull(lake, made)
    assert code == 0, said
    assert (told["pages"], told["received"], told["accepted"]) == (3, 12, 12)
    first = lake.bronze()[0]
    assert (first["visitor_count"], first["temperature_c"], first["is_urgent"], str(first["visit_date"])) == (3, 36.5, True, "2026-05-01")
    assert first["started_at"].isoformat() == "2026-05-01T13:00:00+00:00", "a timestamp without zone is the contract's: New York"
    insert(source, 3, version=2)
    insert(source, 12)
    _, (told,), _ = pull(lake, made)
    assert (told["received"], told["accepted"], told["duplicate"], told["seen_before"]) == (2, 2, 0, 11)
    _, (told,), _ = pull(lake, made)
    assert told["received"] == 0
    assert rows(lake) == sorted([(f"V{n}", 1) for n in range(13)] + [("V3", 2)])
    assert PASSWORD not in said
    assert b"13812345678" not in b"".join(p.read_bytes() for p in lake.home.rglob("*") if p.is_file())


def test_a_row_committed_late_below_the_watermark_is_not_missed(lake: Lake, made: Path, postgres: Postgres, source: psycopg.Connection[Any]) -> None:
    with psycopg.connect(**late_connection(postgres)) as late:
        late.execute("select 1")
        insert(late, 1)  # its updated_at is now, its commit comes later
        insert(source, 2, 3)
        _, (told,), _ = pull(lake, made)
        assert told["accepted"] == 2
        late.commit()
    _, (told,), _ = pull(lake, made)
    assert (told["received"], told["accepted"], told["seen_before"]) == (1, 1, 2)
    assert rows(lake) == [("V1", 1), ("V2", 1), ("V3", 1)]


def late_connection(postgres: Postgres) -> dict[str, Any]:
    """How to connect without committing each statement."""
    with postgres.owner() as owner:
        return {"host": owner.info.host, "port": owner.info.port, "user": "owner", "dbname": "source"}


def test_rows_that_the_contract_refuses_are_kept_with_their_reasons(lake: Lake, made: Path, source: psycopg.Connection[Any]) -> None:
    insert(source, 1)
    source.execute("update visit set visitor_count = 9999, region_code = null")
    _, (told,), _ = pull(lake, made)
    assert (told["received"], told["refused"]) == (1, 1)
    assert sorted(lake.refusals()[0]) == [("maximum", "visitor_count"), ("required", "region_code")]
    assert b'"visitor_count":9999' in lake.payload(lake.quarantine()[0])


@pytest.mark.parametrize("point", ["journal.after_sync:2", "pull.before_place"])
def test_a_killed_pull_neither_loses_nor_doubles(lake: Lake, made: Path, source: psycopg.Connection[Any], point: str) -> None:
    insert(source, *range(12))
    code, _, said = pull(lake, made, GRIDLAKE_KILL_AT=point)
    assert code == -signal.SIGKILL, said
    code, _, said = pull(lake, made)
    assert code == 0, said
    assert rows(lake) == sorted((f"V{n}", 1) for n in range(12))
    assert sum(r["accepted"] for r in lake.receipts()) == 12


def test_what_the_server_refuses_is_told_without_the_secret(lake: Lake, made: Path, source: psycopg.Connection[Any]) -> None:
    code, (told,), said = pull(lake, made, GRIDLAKE_SECRET_READER="not the password")
    assert code == 1
    assert "password authentication failed" in told["error"]
    assert "not the password" not in said
    source.execute("drop table visit")
    _, (told,), _ = pull(lake, made)
    assert "came no such table" in told["error"]
