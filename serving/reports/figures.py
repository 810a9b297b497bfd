"""What a report says: its queries over one snapshot, checked, and the key numbers in words. Fails closed.

A query without the rows it promises, a null where a number must stand, or a period that is not over stops the report.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import jinja2

from gridlake.regions import LEVELS
from serving.reports import wording
from serving.reports.declaration import Number, Report, ReportStopped
from serving.reports.week import Week
from serving.snapshots import Snapshot

Row = dict[str, Any]


@dataclass(frozen=True)
class Figure:
    """A key number, ready to print."""

    title: str
    unit: str
    meaning: str
    value: float | None
    previous: float | None
    text: str
    previous_text: str
    change: str
    said: str


@dataclass(frozen=True)
class Content:
    """Everything a template may use, and the query results it came from."""

    context: Mapping[str, Any]
    results: Mapping[str, list[Row]]
    archive: bytes


def gather(snapshot: Snapshot, report: Report, region: Row, week: Week) -> Content:
    """The content of one issue; raises ReportStopped naming report, region, week and what is missing."""
    issue = f"{report.name} {region['region_code']} {week}"
    system = snapshot.manifest.region_systems[region["region_system"]]
    if not week.is_complete(system.open_date):
        raise ReportStopped(
            f"{issue}: expected a week that is over, but {system.open_date} is not complete at {snapshot.manifest.as_of}; report it later"
        )
    parameters = {
        "system": region["region_system"],
        "code": region["region_code"],
        "first": week.monday,
        "last": week.sunday,
        "before": week.previous.monday,
        "feeds": [name for name, feed in snapshot.dictionary["feeds"].items() if feed["region_system"] == region["region_system"]],
    }
    # The key numbers first: where one is missing, that is what has to be said.
    results = {"numbers": _query(snapshot, report, "numbers", parameters, issue)}
    figures = {n.name: _figure(n, results["numbers"][0], issue) for n in report.numbers}
    results |= {query: _query(snapshot, report, query, parameters, issue) for query in report.queries if query != "numbers"}
    archive = _archive(snapshot, report, region, week, results)
    context: dict[str, Any] = {
        "title": report.title,
        "region": {"code": region["region_code"], "name": region["region_name"], "system": region["region_system"]},
        "period": {"text": week.text, "week": str(week), "first": week.monday, "last": week.sunday},
        "numbers": figures,
        **{query: rows for query, rows in results.items() if query != "numbers"},
        "completeness_noun": _noun(region),
        "feed_titles": {name: feed["title"] for name, feed in snapshot.dictionary["feeds"].items()},
        "snapshot": {
            "id": snapshot.id,
            "as_of": snapshot.manifest.as_of.astimezone(ZoneInfo(system.time_zone)).strftime("%Y年%-m月%-d日 %H:%M"),
            "time_zone": system.time_zone,
            "contracts": "、".join(f"{name} {version}" for name, version in snapshot.manifest.contracts.items()),
            "models": "、".join(f"{name} {version}" for name, version in snapshot.manifest.models.items()) or "无",
            "code_digest": snapshot.manifest.code_digest[:16],
            "digest": hashlib.sha256(archive).hexdigest(),
        },
    }
    context["sentences"] = _sentences(report, context, issue)
    return Content(context, results, archive)


def _query(snapshot: Snapshot, report: Report, query: str, parameters: Mapping[str, Any], issue: str) -> list[Row]:
    sql, promise = report.sql[query], report.queries[query]
    wanted = {name for statement in duckdb.extract_statements(sql) for name in statement.named_parameters}
    unknown = sorted(wanted - parameters.keys())
    if unknown:
        raise ReportStopped(f"{issue}: {query}.sql asks for {', '.join(unknown)}; it may ask for {', '.join(parameters)}")
    rows = snapshot.rows(sql, {name: parameters[name] for name in wanted})
    if (promise == "one" and len(rows) != 1) or (promise == "some" and not rows):
        expected = "exactly one row" if promise == "one" else "at least one row"
        raise ReportStopped(f"{issue}: {query}.sql: expected {expected} in snapshot {snapshot.id}, found {len(rows)}; see whether the feed arrived")
    return rows


def _figure(declared: Number, row: Row, issue: str) -> Figure:
    if declared.name not in row:
        raise ReportStopped(f"{issue}: numbers.sql: expected a column {declared.name}, it gives {', '.join(row)}; add it or take the number out")
    value, previous = row[declared.name], row[f"previous_{declared.name}"] if declared.compare else None
    if value is None and declared.undefined is None:
        raise ReportStopped(f"{issue}: {declared.name}（{declared.title}）: expected a number, found none; see whether the week's events arrived")
    comparison = wording.Comparison(value, previous, declared.unit, declared.decimals, in_points=declared.compare == "points")
    return Figure(
        title=declared.title,
        unit=declared.unit,
        meaning=declared.meaning,
        value=value,
        previous=previous,
        text=declared.undefined if value is None and declared.undefined else _with_unit(value, declared),
        previous_text=_with_unit(previous, declared),
        change=comparison.in_table if declared.compare else wording.NONE,
        said=comparison.in_sentence if declared.compare else wording.NONE,
    )


def _with_unit(value: float | None, declared: Number) -> str:
    if value is None:
        return wording.NONE
    space = "" if declared.unit == "%" else " "
    return f"{wording.number(value, declared.decimals)}{space}{declared.unit}"


def _noun(region: Row) -> str:
    return LEVELS.get(region["region_level"] + 1, "下级区域") if region["region_system"] == "cn" else "下级区域"


def environment() -> jinja2.Environment:
    """The Jinja environment of sentences; the templates' environments have the same filters."""
    return with_filters(jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False))  # noqa: S701 - plain text, escaped where it is printed


def with_filters(given: jinja2.Environment) -> jinja2.Environment:
    """Add the filters that sentences and templates may use."""
    given.filters |= {"number": wording.number, "pct": wording.pct}
    given.globals["compared"] = wording.compared
    return given


def _sentences(report: Report, context: Mapping[str, Any], issue: str) -> list[str]:
    said = []
    for number, sentence in enumerate(report.sentences, 1):
        try:
            text = environment().from_string(sentence).render(context)
        except (jinja2.TemplateError, TypeError, IndexError) as error:
            raise ReportStopped(f"{issue}: sentence {number} of report.yml cannot be said: {error}") from error
        said.append(wording.sentence(text))
    return [sentence for sentence in said if sentence]


def _archive(snapshot: Snapshot, report: Report, region: Row, week: Week, results: Mapping[str, list[Row]]) -> bytes:
    document = {
        "report": report.name,
        "region": region["region_code"],
        "week": str(week),
        "snapshot": snapshot.id,
        "as_of": snapshot.manifest.as_of.isoformat(),
        "results": results,
    }
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True, default=_plain).encode()


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)
