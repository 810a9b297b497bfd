"""`gridlake land status`: how fresh each feed and sender is, how much of it is refused, how fast it comes, and how far each log is landed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click
import duckdb
from rich.console import Console
from rich.table import Table

from gridlake import cli
from gridlake.contracts import Contract
from gridlake.runs import Run
from gridlake.settings import Settings
from gridlake.tables import Tables
from streaming import opened_logs, receipts
from streaming.kafka.broker import Broker, BrokerAway, Connection, Partition, Reach

# A rate is that of the last five minutes: long enough for the slowest micro-batch, short enough to see that one stands still.
_RATE_SECONDS = 300
# The source's newest clock is looked for among rows received so long before the newest one.
_LOOK_BACK = timedelta(hours=1)
_CLOCKS = ("reported_at", "changed_at")
_STATES = ("received", "accepted", "refused", "duplicate", "waiting")


@click.command("status")
@click.option("--bootstrap", help="Bootstrap servers of the Kafka cluster to ask for the ends of topics [GRIDLAKE_KAFKA].")
@cli.command_options
def status(settings: Settings, as_json: bool, bootstrap: str | None) -> None:
    """Freshness, rate and refused share of each feed and sender, from receipts; lag of each log.

    Freshness is the time since the newest accepted row was received; behind the source, since its own newest clock (reported_at, changed_at).
    A cluster that does not answer leaves the lag open, nothing else. Running landers tell Prometheus the same: gridlake land kafka --metrics-port.
    """
    run = Run.start(settings, quiet=as_json)
    now = datetime.now(UTC)
    logs, said = _logs(run, Connection.read(bootstrap or settings.kafka, settings.kafka_properties), asked=bootstrap is not None)
    document = {"at": now.isoformat(), "feeds": _feeds(run, now), "logs": logs, "kafka": said}
    cli.emit(document, as_json=as_json, text=lambda console: _print(console, document))


def _feeds(run: Run, now: datetime) -> list[dict[str, Any]]:
    rows = _read(
        run.tables,
        receipts.TABLE,
        f"select feed, sender_code, {', '.join(f'sum({s})::bigint as {s}' for s in _STATES)}, "
        "(sum(received) filter (received_at >= $since))::bigint as recent, max(received_at) filter (accepted > 0 and state <> 'replayed') as newest "
        "from read_parquet($files, union_by_name = true) group by all order by all",
        since=now - timedelta(seconds=_RATE_SECONDS),
    )
    clocks = {feed: _source_clocks(run.tables, run.contracts[feed]) for feed in {row["feed"] for row in rows} & run.contracts.keys()}
    return [
        {
            "feed": row["feed"],
            "sender": row["sender_code"],
            **{state: row[state] for state in _STATES},
            "refused_share": row["refused"] / row["received"] if row["received"] else 0.0,
            "rate": (row["recent"] or 0) / _RATE_SECONDS,
            "newest_accepted_at": _text(row["newest"]),
            "freshness_seconds": _seconds(now, row["newest"]),
            "newest_source_at": _text(clocks.get(row["feed"], {}).get(row["sender_code"])),
            "behind_source_seconds": _seconds(now, clocks.get(row["feed"], {}).get(row["sender_code"])),
        }
        for row in rows
    ]


def _source_clocks(tables: Tables, contract: Contract) -> dict[str, datetime]:
    """By sender the newest of the source's own clocks among rows received lately."""
    table = f"bronze.{contract.id}"
    columns = [c.name for c in contract.columns if c.name in _CLOCKS and c.logical_type == "timestamp"]
    if not columns or not tables.exists(table):
        return {}
    rows = _read(
        tables,
        table,
        f"select _sender_code, max(greatest({', '.join(columns)})) as newest from read_parquet($files, union_by_name = true) "
        "where _received_at >= (select max(_received_at) from read_parquet($files, union_by_name = true)) - $back group by all",
        back=_LOOK_BACK,
    )
    return {row["_sender_code"]: row["newest"] for row in rows if row["newest"] is not None}


def _logs(run: Run, connection: Connection, *, asked: bool) -> tuple[list[dict[str, Any]], str]:
    """(each log, what the cluster said)."""
    opened = _read(run.tables, opened_logs.TABLE, "select _delivery_id, feed, sender_code, name, first_offset from read_parquet($files) order by all")
    reach: dict[Partition, Reach] = {}
    ids: dict[str, str] = {}
    said = "not asked"
    if opened or asked:
        try:
            reach, ids = _asked(connection, {row["name"] for row in opened})
            said = "answers"
        except BrokerAway as away:
            said = f"does not answer ({away})"
    entries = []
    for feed, rows in _by_feed(opened).items():
        points = _points(run.tables, feed, [row["_delivery_id"] for row in rows])
        for row in rows:
            _, topic_id, number = row["_delivery_id"].rsplit("/", 2)
            now = reach.get(Partition(row["name"], int(number))) if ids.get(row["name"]) == topic_id else None
            landed = points.get(row["_delivery_id"])
            going_on = row["first_offset"] if landed is None else landed + 1
            entries.append(
                {
                    "log": row["_delivery_id"],
                    "feed": feed,
                    "sender": row["sender_code"],
                    "landed": landed,
                    "end": now.end if now else None,
                    "lag": max(now.end - going_on, 0) if now else None,
                    "missing": max(now.earliest - going_on, 0) if now else None,
                    "is_gone": said == "answers" and now is None,
                }
            )
    return entries, said


def _asked(connection: Connection, topics: Iterable[str]) -> tuple[dict[Partition, Reach], dict[str, str]]:
    broker = Broker(connection)
    try:
        found = broker.topics()
        known = [found[name] for name in topics if name in found]
        return broker.reach([p for topic in known for p in topic.partitions]), {topic.name: topic.id for topic in known}
    finally:
        broker.close()


def _points(tables: Tables, feed: str, ids: Sequence[str]) -> dict[str, int]:
    """How far logs are landed: bronze's word, and of a feed without a contract that of receipts."""
    told = {receipts.app_id(feed, i): i for i in ids}
    unrouted = {told[app]: row for app, row in tables.resume_points(receipts.TABLE, told).items()} if not tables.exists(f"bronze.{feed}") else {}
    return unrouted | tables.resume_points(f"bronze.{feed}", ids)


def _by_feed(rows: Iterable[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["feed"], []).append(row)
    return found


def _read(tables: Tables, table: str, query: str, **values: Any) -> list[dict[str, Any]]:
    if not tables.exists(table) or not (files := tables.files(table)):
        return []
    with duckdb.connect(":memory:") as connection:
        connection.execute("set timezone = 'UTC'")
        return list(connection.sql(query, params={"files": files, **values}).to_arrow_table().to_pylist())


def _text(at: datetime | None) -> str | None:
    return at.isoformat() if at else None


def _seconds(now: datetime, at: datetime | None) -> float | None:
    return round((now - at).total_seconds(), 1) if at else None


def _print(console: Console, document: dict[str, Any]) -> None:
    feeds = Table(title="Feeds: since the lake began; rate over five minutes")
    for column in ("feed", "sender"):
        feeds.add_column(column, overflow="fold")
    for column in ("received", "accepted", "refused %", "rows/s", "fresh s", "behind source s"):
        feeds.add_column(column, justify="right")
    for row in document["feeds"]:
        feeds.add_row(
            row["feed"],
            row["sender"],
            f"{row['received']:,}",
            f"{row['accepted']:,}",
            f"{100 * row['refused_share']:.1f}",
            f"{row['rate']:,.1f}",
            *(f"{row[key]:,.0f}" if row[key] is not None else "" for key in ("freshness_seconds", "behind_source_seconds")),
        )
    console.print(feeds)
    if document["logs"]:
        logs = Table(title=f"Logs; Kafka: {document['kafka']}")
        logs.add_column("log", overflow="fold")
        for column in ("landed up to", "ends before", "lag", "missing"):
            logs.add_column(column, justify="right")
        for row in document["logs"]:
            state = "the topic is gone" if row["is_gone"] else f"{row['missing']:,}" if row["missing"] else ""
            logs.add_row(row["log"], *(f"{row[key]:,}" if row[key] is not None else "" for key in ("landed", "end", "lag")), state)
        console.print(logs)
