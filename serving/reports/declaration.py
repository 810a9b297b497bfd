"""Reports as their folders declare them: `<report>/report.yml`, one `<query>.sql` a query, `template.docx`, `template.html`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from gridlake.runs import RunError

DECLARATION, DOCX_TEMPLATE, HTML_TEMPLATE = "report.yml", "template.docx", "template.html"
FOLDER = Path(__file__).parent

Rows = Literal["one", "some", "any"]


class ReportStopped(RunError):
    """A report that must not be issued: its declaration, its period or a number in it is not in order."""


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timetable(_Declared):
    """When the report is due; `cron` is local to the region."""

    period: Literal["week"]
    cron: str


class Number(_Declared):
    """A key number: a column of the query `numbers`, and of `previous_<name>` where it is compared."""

    name: str
    title: str
    unit: str
    meaning: Annotated[str, Field(min_length=1)]
    decimals: int = 0
    compare: Literal["relative", "points"] | None = None
    undefined: str | None = None


class Chart(_Declared):
    """A picture of one query's rows: `y` gives the series, column → label."""

    name: str
    title: str
    kind: Literal["line", "bar"]
    query: str
    x: str
    y: Mapping[str, str]


class Report(_Declared):
    """One report, due for every region and period that its timetable says."""

    name: str
    folder: Path
    title: str
    timetable: Timetable
    regions: tuple[Literal["root", "first_child"], ...]
    quiet_after_days: Annotated[int, Field(gt=0)]
    recipients: tuple[str, ...] = ()
    queries: Mapping[str, Rows]
    numbers: Annotated[tuple[Number, ...], Field(min_length=1)]
    charts: tuple[Chart, ...] = ()
    sentences: tuple[str, ...] = ()
    sql: Mapping[str, str]

    @property
    def docx_template(self) -> Path:
        """The Word template."""
        return self.folder / DOCX_TEMPLATE

    @property
    def html_template(self) -> Path:
        """The HTML template."""
        return self.folder / HTML_TEMPLATE


def load_reports(folder: Path = FOLDER) -> dict[str, Report]:
    """Every report by name; a folder is a report when it has a report.yml."""
    return {path.parent.name: load(path.parent) for path in sorted(folder.glob(f"*/{DECLARATION}"))}


def load(folder: Path) -> Report:
    """One report from its folder; raises ReportStopped naming what is missing or wrong."""
    path = folder / DECLARATION
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        queries = {query: (folder / f"{query}.sql") for query in document["queries"]}
        missing = [p.name for p in (*queries.values(), folder / DOCX_TEMPLATE, folder / HTML_TEMPLATE) if not p.exists()]
        if missing:
            raise ReportStopped(f"{path}: expected {', '.join(missing)} beside it; add them or take the queries out")
        sql = {query: file.read_text(encoding="utf-8") for query, file in queries.items()}
        report = Report.model_validate({**document, "name": folder.name, "folder": folder, "sql": sql})
    except (yaml.YAMLError, pydantic.ValidationError, KeyError, TypeError) as error:
        raise ReportStopped(f"{path}: not a report: {error}") from error
    if report.queries.get("numbers") != "one":
        raise ReportStopped(f"{path}: queries: expected `numbers: one`, the query of the key numbers")
    unknown = sorted({c.query for c in report.charts} - set(report.queries))
    if unknown:
        raise ReportStopped(f"{path}: charts ask for {', '.join(unknown)}, queries has {', '.join(report.queries)}; declare the query")
    return report
