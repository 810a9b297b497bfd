"""What a report says: from the archive of its query results to the figures, words and pictures that a template may use.

Only the archive and the report's own files are read, so an issue can be made again without the snapshot.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

from serving.reports import wording
from serving.reports.chart import draw
from serving.reports.declaration import NUMBERS, WHICH, Number, Report, ReportStopped, digest
from serving.reports.period import Period
from serving.reports.results import BEFORE, NOW, YEAR_AGO
from serving.reports.subjects import Subject

WITHHELD = "不公布"


@dataclass(frozen=True)
class Figure:
    """A key number, ready to print; `said` and `year_ago_said` go after 较上周 and 较上年同周."""

    name: str
    title: str
    unit: str
    meaning: str
    value: float | None
    before: float | None
    year_ago: float | None
    text: str
    before_text: str
    change: str
    said: str
    year_ago_text: str
    year_ago_change: str
    year_ago_said: str


@dataclass(frozen=True)
class Content:
    """Everything a template may use, the pictures of the charts, and the moment at which its numbers hold."""

    report: Report
    archive: Mapping[str, Any]
    context: Mapping[str, Any]
    pictures: Mapping[str, bytes]
    as_of: datetime

    @property
    def title(self) -> str:
        """平安法治周报 杭州市 2026-W09."""
        return f"{self.context['title']} {self.context['subject']['name']} {self.context['period']['name']}"


def compose(report: Report, archived: bytes) -> Content:
    """The content of one issue from the bytes of its archive; raises ReportStopped where something cannot be said or drawn."""
    archive = json.loads(archived)
    context = in_words(report, archived)
    pictures = {
        chart.name: draw(chart, said(chart.title, context, f"{issue_name(archive)}: the title of chart {chart.name}"), rows)
        for chart in report.charts
        if (rows := archive["results"][chart.query])
    }
    return Content(report, archive, context, pictures, datetime.fromisoformat(archive["snapshot"]["as_of"]))


def in_words(report: Report, archived: bytes) -> dict[str, Any]:
    """Everything that is said of one issue, without its pictures: `names`, `snapshot` and `sentences`."""
    archive = json.loads(archived)
    context = names(report, archive) | {"snapshot": _source(archive, digest(archived))}
    return context | {"sentences": _sentences(report, context, issue_name(archive))}


def issue_name(archive: Mapping[str, Any]) -> str:
    """As errors name an issue: weekly 330100000000 2026-W09."""
    return f"{archive['report']} {archive['subject']['code']} {archive['period']}"


def names(report: Report, archive: Mapping[str, Any]) -> dict[str, Any]:
    """What sentences and templates may name, by name."""
    period, subject = Period.named(archive["period"]), archive["subject"]
    results = {name: rows for name, rows in archive["results"].items() if name != NUMBERS or not report.numbers}
    return {
        "title": report.title,
        "subject": {key: subject[key] for key in ("code", "name", "system", "level")},
        "below": Subject(**subject).below,
        "period": {"text": period.text, "name": str(period), "first": str(period.first), "last": str(period.last), **period.words},
        "edition": edition_text(archive["edition"]),
        "numbers": _figures(report, archive, period),
        **{name: rows[0] if report.queries[name].rows == "one" and rows else rows for name, rows in results.items()},
    }


def edition_text(edition: int) -> str:
    """第1版, 第2版（更正，取代第1版）."""
    return "第1版" if edition == 1 else f"第{edition}版（更正，取代第{edition - 1}版）"


def environment(*, autoescape: bool) -> jinja2.Environment:
    """The Jinja environment of sentences and templates. Templates come from outside, so it is a sandbox: nothing of Python is in reach."""
    given = ImmutableSandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=autoescape)
    given.filters |= {"number": wording.number, "pct": wording.pct, "day": wording.day}
    given.globals = {"compared": wording.compared, "namespace": given.globals["namespace"]}
    return given


def said(text: str, context: Mapping[str, Any], what: str) -> str:
    """A text of report.yml with its names filled in; raises ReportStopped saying which text it was."""
    try:
        return wording.sentence(environment(autoescape=False).from_string(text).render(context))
    except (jinja2.TemplateError, TypeError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ReportStopped(f"{what} cannot be said: {error}") from error


def _sentences(report: Report, context: Mapping[str, Any], issue: str) -> list[str]:
    given = (said(text, context, f"{issue}: sentence {number} of report.yml") for number, text in enumerate(report.sentences, 1))
    return [sentence for sentence in given if sentence]


def _source(archive: Mapping[str, Any], digested: str) -> dict[str, Any]:
    snapshot = archive["snapshot"]
    as_of = datetime.fromisoformat(snapshot["as_of"]).astimezone(ZoneInfo(snapshot["time_zone"]))
    return {
        "id": snapshot["id"],
        "as_of": as_of.strftime("%Y年%-m月%-d日 %H:%M"),
        "time_zone": snapshot["time_zone"],
        "contracts": _by_version(snapshot["contracts"]),
        "models": "、".join(f"{name} {version}" for name, version in snapshot["models"].items()) or "无",
        "code_digest": snapshot["code_digest"][:16],
        "digest": digested,
    }


def _by_version(versions: Mapping[str, str]) -> str:
    """1.0.0：city_platform__event, …；1.1.0：…"""
    named = {version: ", ".join(n for n, v in versions.items() if v == version) for version in sorted(set(versions.values()))}
    return "；".join(f"{version}：{names}" for version, names in named.items())


def _figures(report: Report, archive: Mapping[str, Any], period: Period) -> dict[str, Figure]:
    if not report.numbers:
        return {}
    rows = {row[WHICH]: row for row in archive["results"][NUMBERS]}
    return {n.name: _figure(n, rows, archive["words"], period) for n in report.numbers}


def _figure(declared: Number, rows: Mapping[str, Mapping[str, Any]], words: Mapping[str, Mapping[str, str]], period: Period) -> Figure:
    value, before, year_ago = (rows[which].get(declared.name) if which in rows else None for which in (NOW, BEFORE, YEAR_AGO))
    if not declared.compare:
        before = year_ago = None

    def against(other: float | None, than: str) -> tuple[str, str]:
        if not declared.compare:
            return wording.NONE, wording.NONE
        found = wording.Comparison(value, other, declared.unit, declared.decimals, in_points=declared.compare == "points", than=than)
        return found.in_table, found.in_sentence

    change, in_words = against(before, period.words["before"])
    year_ago_change, year_ago_in_words = against(year_ago, period.words["year_ago"])
    known = words.get(declared.column or "", {})
    return Figure(
        name=declared.name,
        title=declared.title or known["label"],
        unit=declared.unit,
        meaning=declared.meaning or known["description"],
        value=value,
        before=before,
        year_ago=year_ago,
        text=declared.undefined if value is None and declared.undefined else _with_unit(value, declared),
        before_text=_with_unit(before, declared),
        change=change,
        said=in_words,
        year_ago_text=_with_unit(year_ago, declared),
        year_ago_change=year_ago_change,
        year_ago_said=year_ago_in_words,
    )


def _with_unit(value: float | None, declared: Number) -> str:
    if value is None:
        return wording.NONE
    space = "" if declared.unit == "%" else " "
    return f"{wording.number(value, declared.decimals)}{space}{declared.unit}"
