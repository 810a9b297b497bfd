"""What the queries of a report give: each asked once for all subjects over one snapshot, then checked subject by subject. Fails closed.

A query without the rows it promises, a null where a number must stand, or a period that is not over stops the report of that subject.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from gridlake.contracts.refusals import REFUSALS
from gridlake.privacy import PERSONS, SMALLEST_PUBLISHED_COUNT
from serving.reports.declaration import NUMBERS, SUBJECT, WHICH, Report, ReportStopped
from serving.reports.period import Period
from serving.reports.subjects import Subject
from serving.snapshots import Snapshot

Row = dict[str, Any]
Results = dict[str, list[Row]]
NOW, BEFORE, YEAR_AGO = "now", "before", "year_ago"
PARAMETERS = ("system", "first", "last", "compared_from", "shown_from")


@dataclass(frozen=True)
class Asked:
    """The results of one report, region system and period: by subject, and the reason for each subject that is stopped."""

    results: Mapping[Subject, Results]
    stopped: Mapping[Subject, ReportStopped]


def ask(snapshot: Snapshot, report: Report, system: str, subjects: Sequence[Subject], period: Period) -> Asked:
    """Every query once for all the subjects, which are of that region system; raises ReportStopped where the period cannot be told of at all."""
    require_covered(snapshot, report, system, period)
    began = first_day(snapshot, system)
    assert began is not None
    rows: dict[str, dict[str, list[Row]]] = {}
    with snapshot.session() as session:
        _lay_out(session, snapshot, system, subjects, period, began)
        bound = _bound(system, period)
        for name, query in report.queries.items():
            rows[name] = _by_subject(session, report, name, query.sql, bound)
    results: dict[Subject, Results] = {}
    stopped: dict[Subject, ReportStopped] = {}
    for subject in subjects:
        try:
            # The key numbers first: where one is missing, that is what has to be said.
            found = {name: rows[name].get(subject.key, []) for name in sorted(report.queries, key=lambda n: n != NUMBERS)}
            for name, given in found.items():
                _check(report, f"{report.name} {subject.code} {period}", snapshot.id, name, given)
            results[subject] = {name: without_few_persons(found[name]) for name in report.queries}
        except ReportStopped as error:
            stopped[subject] = error
    return Asked(results, stopped)


def columns(snapshot: Snapshot, report: Report) -> dict[str, list[str]]:
    """The columns that each query gives, those by which rows are sorted left out; nothing is counted."""
    with snapshot.session() as session:
        system = next(iter(snapshot.manifest.region_systems))
        today = snapshot.manifest.region_systems[system].open_date
        _lay_out(session, snapshot, system, [], Period.of("week", today), today)
        bound = _bound(system, Period.of("week", today))
        return {
            name: [c for c in _run(session, report, name, f"select * from ({query.sql}) limit 0", bound)[0] if c not in (SUBJECT, WHICH)]
            for name, query in report.queries.items()
        }


def _bound(system: str, period: Period) -> dict[str, Any]:
    """By PARAMETERS what queries may ask for; the first days of what is compared and charted too, as no month is skipped for the days of a join."""
    compared = [p.first for p in (period, period.previous, period.year_ago) if p]
    shown = [p.first for p in period.trend()]
    values = (system, period.first, period.last, min(compared), min(shown))
    return dict(zip(PARAMETERS, values, strict=True))


def first_day(snapshot: Snapshot, system: str) -> date | None:
    """The first day of which a region system has an event; None where it has none."""
    row = snapshot.row("select min(business_date) as day from mart.event_daily where region_system = $system", {"system": system})
    return row["day"] if row else None


def require_covered(snapshot: Snapshot, report: Report, system: str, period: Period) -> None:
    """Raises ReportStopped unless the period is over and the region system's data reach back to its first day."""
    open_date, began = snapshot.manifest.region_systems[system].open_date, first_day(snapshot, system)
    if not period.is_complete(open_date):
        raise ReportStopped(
            f"{report.name} {system} {period}: expected a {period.kind} that is over, but {open_date} is not complete at {snapshot.manifest.as_of}; "
            "report it later"
        )
    if began is None or began > period.first:
        raise ReportStopped(
            f"{report.name} {system} {period}: expected data from {period.first} on, they begin {began or 'never'}; report a later period"
        )


def _lay_out(session: duckdb.DuckDBPyConnection, snapshot: Snapshot, system: str, subjects: Sequence[Subject], period: Period, began: date) -> None:
    """The tables that queries may read beside the marts; docs/how-to/reports.md describes them."""
    session.execute(
        "create temp table subject (subject varchar, region_system varchar, region_code varchar, region_name varchar, region_level bigint,"
        " sender_code varchar)"
    )
    _fill(session, "subject", [(s.key, system, s.region_code, s.name, s.level, s.sender_code) for s in subjects])
    session.execute(
        "create temp table below as select s.subject, c.region_system, c.region_code from subject as s"
        " join mart.region_closure as c on c.region_system = s.region_system and c.ancestor_code = s.region_code"
    )
    session.execute("create temp table period (which varchar, first_date date, last_date date)")
    compared = {NOW: period, BEFORE: period.previous, YEAR_AGO: period.year_ago}
    _fill(session, "period", [(which, p.first, p.last) for which, p in compared.items() if p and p.first >= began])
    session.execute("create temp table trend (place bigint, first_date date, last_date date, label varchar)")
    shown = [p for p in period.trend() if p.first >= began]
    _fill(session, "trend", [(place, p.first, p.last, _label(p, place)) for place, p in enumerate(shown, 1)])
    _lay_out_words(session, snapshot, system)


def _lay_out_words(session: duckdb.DuckDBPyConnection, snapshot: Snapshot, system: str) -> None:
    """What feeds, their columns, the reasons of refusals and the models are called: no mart says it."""
    feeds = {name: feed for name, feed in sorted(snapshot.dictionary["feeds"].items()) if feed["region_system"] == system}
    session.execute("create temp table feed (feed varchar, title varchar)")
    _fill(session, "feed", [(name, feed["title"]) for name, feed in feeds.items()])
    session.execute("create temp table field (feed varchar, field varchar, title varchar)")
    _fill(session, "field", [(name, c["name"], c["title"] or c["name"]) for name, feed in feeds.items() for c in feed["columns"]])
    session.execute("create temp table rule (feed varchar, rule varchar, meaning varchar, remedy varchar)")
    general = [(None, r.code, r.meaning, r.remedy) for r in REFUSALS.values()]
    own = [
        (name, r["name"], f"不符合规则：{r['description'] or r['name']}", "核对有关字段后重报") for name, feed in feeds.items() for r in feed["rules"]
    ]
    _fill(session, "rule", [*general, *own])
    session.execute("create temp table model (model varchar, title varchar)")
    _fill(session, "model", sorted(snapshot.dictionary.get("models", {}).items()))


def _fill(session: duckdb.DuckDBPyConnection, table: str, rows: list[tuple[Any, ...]]) -> None:
    if rows:
        # Column by column: a statement for each row takes as many milliseconds as there are rows.
        session.execute(f"insert into {table} select {', '.join(f'unnest(${n})' for n in range(1, len(rows[0]) + 1))}", list(zip(*rows, strict=True)))


def _label(period: Period, place: int) -> str:
    # Thirteen months have one name twice; the year stands below the first and each January.
    return f"{period.label}\n{period.first.year}" if period.kind == "month" and (place == 1 or period.first.month == 1) else period.label


def _by_subject(session: duckdb.DuckDBPyConnection, report: Report, name: str, sql: str, bound: Mapping[str, Any]) -> dict[str, list[Row]]:
    names, rows = _run(session, report, name, sql, bound)
    if SUBJECT not in names:
        raise ReportStopped(f"{report.name}: {name}: expected a column `{SUBJECT}` that says whose row it is, it gives {', '.join(names)}; select it")
    if name == NUMBERS and report.numbers and WHICH not in names:
        raise ReportStopped(f"{report.name}: {name}: expected a column `{WHICH}` from the table period, it gives {', '.join(names)}; select it")
    place = names.index(SUBJECT)
    kept = [i for i in range(len(names)) if i != place]
    found: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        found[row[place]].append({names[i]: _plain(row[i]) for i in kept})
    return found


def _run(
    session: duckdb.DuckDBPyConnection, report: Report, name: str, sql: str, bound: Mapping[str, Any]
) -> tuple[list[str], list[tuple[Any, ...]]]:
    wanted = {parameter for statement in duckdb.extract_statements(sql) for parameter in statement.named_parameters}
    unknown = sorted(wanted - bound.keys())
    if unknown:
        raise ReportStopped(f"{report.name}: {name} asks for {', '.join(f'${u}' for u in unknown)}; it may ask for ${', $'.join(PARAMETERS)}")
    try:
        result = session.execute(sql, {parameter: bound[parameter] for parameter in wanted})
        return [column[0] for column in result.description], result.fetchall()
    except duckdb.Error as error:
        raise ReportStopped(
            f"{report.name}: {name}: the snapshot cannot answer it: {error}; `gridlake report template check` tries a query"
        ) from error


def _plain(value: Any) -> Any:
    """As JSON holds it: what is rendered now and what is rendered from an archive is the same."""
    if isinstance(value, date | datetime):
        return value.isoformat()
    return float(value) if isinstance(value, Decimal) else value


def _check(report: Report, issue: str, snapshot: str, name: str, rows: list[Row]) -> None:
    promise = report.queries[name].rows
    if name == NUMBERS and report.numbers:
        _check_numbers(report, issue, rows)
        return
    if (promise == "one" and len(rows) != 1) or (promise == "some" and not rows):
        expected = "exactly one row" if promise == "one" else "at least one row"
        raise ReportStopped(f"{issue}: {name}: expected {expected} in snapshot {snapshot}, found {len(rows)}; see whether the feed arrived")
    optional = report.listed(name).optional
    for row in rows:
        missing = [column for column, value in row.items() if value is None and column not in optional and not _counts_persons(column)]
        if missing:
            raise ReportStopped(
                f"{issue}: {name}: {missing[0]}: expected a value in every row, found none in {_row_text(row)}; see what arrived, or list the column"
                f" under lists: {name}: optional"
            )


def _check_numbers(report: Report, issue: str, rows: list[Row]) -> None:
    now = [row for row in rows if row[WHICH] == NOW]
    if len(now) != 1 or len({row[WHICH] for row in rows}) != len(rows):
        raise ReportStopped(
            f"{issue}: {NUMBERS}: expected one row for each period, found {[row[WHICH] for row in rows]}; see whether the feed arrived"
        )
    for number in report.numbers:
        if number.name not in now[0]:
            raise ReportStopped(f"{issue}: {NUMBERS}: expected a column {number.name}, it gives {', '.join(now[0])}; add it or take the number out")
        if now[0][number.name] is None and number.undefined is None:
            titled = f"（{number.title}）" if number.title else ""
            raise ReportStopped(f"{issue}: {number.name}{titled}: expected a number, found none; see whether what it counts arrived")


def _row_text(row: Row) -> str:
    return ", ".join(f"{column} {value}" for column, value in list(row.items())[:3])


def without_few_persons(rows: list[Row]) -> list[Row]:
    """The rows without counts of persons that would tell of a few: too small ones, and as many of the smallest others as hide them in a total."""
    for column in sorted({name for row in rows for name in row if _counts_persons(name)}):
        told = sorted((row[column], place) for place, row in enumerate(rows) if row.get(column))
        hidden = [(count, place) for count, place in told if count < SMALLEST_PUBLISHED_COUNT]
        others = [t for t in told if t not in hidden]
        while hidden and sum(count for count, _ in hidden) < SMALLEST_PUBLISHED_COUNT and others:
            hidden.append(others.pop(0))
        places = {place for _, place in hidden}
        rows = [{**row, column: None} if place in places else row for place, row in enumerate(rows)]
    return rows


def _counts_persons(column: str) -> bool:
    return column.endswith(PERSONS)


def newest_day(snapshot: Snapshot, systems: Iterable[str]) -> dict[str, date]:
    """By region system the newest day with an event; systems without one are left out."""
    rows = snapshot.rows("select region_system, max(business_date) as day from mart.event_daily group by region_system")
    wanted = set(systems)
    return {row["region_system"]: row["day"] for row in rows if row["region_system"] in wanted}
