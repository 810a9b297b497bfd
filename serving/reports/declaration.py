"""Reports as their folders declare them: `<report>/template.docx`, `queries.sql` and, for more than the plain case, `report.yml`."""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import docx
import duckdb
import pydantic
import yaml
from pydantic import BaseModel, ConfigDict, Field

from gridlake import named_queries
from gridlake.runs import RunError
from gridlake.settings import Settings
from serving.reports.period import Kind

DECLARATION, QUERIES, TEMPLATE = "report.yml", "queries.sql", "template.docx"
FOLDER = Path(__file__).parent
NUMBERS = "numbers"
# By which a result is given to the subject it is of, and a number to its period; neither is printed.
SUBJECT, WHICH = "subject", "which"

Rows = Literal["one", "some", "any"]
Format = Literal["docx", "html", "xlsx", "pdf"]
_NAME = re.compile(r"[a-z][a-z0-9_]*")


class ReportStopped(RunError):
    """A report that must not be issued: its declaration, its template, its period or a number in it is not in order."""


class _Declared(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Timetable(_Declared):
    """When the report is due: `cron` is local to the region; `in_run`: whether a run makes it for the top region at its end."""

    period: Kind
    cron: str
    in_run: bool = False


class Number(_Declared):
    """A key number: a column of the query `numbers`, which gives it for each period.

    `column` is the mart's column whose label and description it takes; `title` and `meaning` stand where no mart has it as it is.
    """

    name: str
    unit: str
    column: str | None = None
    title: str | None = None
    meaning: str | None = None
    decimals: int = 0
    compare: Literal["relative", "points"] | None = None
    undefined: str | None = None

    @pydantic.model_validator(mode="after")
    def _is_explained(self) -> Number:
        if self.column is None and not (self.title and self.meaning):
            raise ValueError(f"number {self.name}: expected `column: <mart>.<column>`, or `title` and `meaning`; a number is not printed unexplained")
        return self


class Listed(_Declared):
    """How a query's rows are shown and told apart: `key` names a row among the others, `optional` are columns that may be empty.

    `headings` are by column what a sheet and a table of changes call it; others go by the label of the mart's column of that name.
    """

    title: str | None = None
    key: tuple[str, ...] = ()
    optional: tuple[str, ...] = ()
    headings: Mapping[str, str] = {}


class Chart(_Declared):
    """A picture of one query's rows: `y` gives the series, column → label."""

    name: str
    title: str
    kind: Literal["line", "bar"]
    query: str
    x: str
    y: Mapping[str, str]


class Mail(_Declared):
    """How a report is mailed: which files of an issue, under which subject; `completeness` is a sentence on who has sent data.

    Only what is signed off is mailed: a mail cannot be taken back. `signed_only: false` mails drafts too, and says that they are drafts.
    """

    formats: Annotated[tuple[Format, ...], Field(min_length=1)] = ("docx",)
    subject: str = "{{ title }}：{{ subject.name }} {{ period.text }}"
    completeness: str = ""
    signed_only: bool = True


class Query(_Declared):
    """One query and the number of rows that it promises for each subject."""

    sql: str
    rows: Rows


class Report(_Declared):
    """One report, made for every subject and period that is asked for."""

    name: str
    title: str
    template: bytes
    per: Literal["region", "sender"] = "region"
    # 1 province, 2 city, 3 county; of a foreign region system its own levels
    levels: tuple[int, ...] = (1, 2, 3)
    timetable: Timetable | None = None
    # Roles, as 政法委; who has a role in which region is said where gridlake is installed (serving.reports.recipients).
    recipients: tuple[str, ...] = ()
    mail: Mail = Mail()
    quiet_after_days: Annotated[int, Field(gt=0)] = 28
    numbers: tuple[Number, ...] = ()
    lists: Mapping[str, Listed] = {}
    charts: tuple[Chart, ...] = ()
    sentences: tuple[str, ...] = ()
    queries: Mapping[str, Query]
    # The files it is made of, as they stand in the archive of an issue.
    sources: Mapping[str, bytes]

    def listed(self, query: str) -> Listed:
        """What is declared of a query's rows; nothing is a declaration too."""
        return self.lists.get(query, Listed())

    def with_template(self, content: bytes) -> Report:
        """The same report set in another template."""
        return self.model_copy(update={"template": content, "sources": {**self.sources, TEMPLATE: content}})


def load_reports(settings: Settings) -> dict[str, Report]:
    """Every report by name: the built-in ones, and over them those of `--contracts DIR/reports`."""
    folders = [FOLDER, *([settings.contracts / "reports"] if settings.contracts else [])]
    places = {path.parent.name: path.parent for folder in folders for name in (QUERIES, DECLARATION) for path in sorted(folder.glob(f"*/{name}"))}
    return {name: load(place) for name, place in sorted(places.items())}


def load(folder: Path) -> Report:
    """One report from its folder; raises ReportStopped naming what is missing or wrong."""
    declared = _read_yaml(folder / DECLARATION)
    source = folder.parent / str(declared["like"]) if "like" in declared else folder
    files = {}
    for name, place in ((DECLARATION, folder), (QUERIES, source), (TEMPLATE, source)):
        if (place / name).exists():
            files[name] = (place / name).read_bytes()
        elif name != DECLARATION:
            raise ReportStopped(f"{place}: expected {name} in the folder of a report; add it, or say `like: <report>` in {DECLARATION}")
    if source != folder:
        inherited = _read_yaml(source / DECLARATION)
        files[DECLARATION] = yaml.safe_dump({**inherited, **declared, "like": declared["like"]}, allow_unicode=True, sort_keys=False).encode()
    return of_sources(folder.name, files)


def of_sources(name: str, files: Mapping[str, bytes]) -> Report:
    """A report from the bytes of its files, as a folder or an archive holds them."""
    try:
        if not _NAME.fullmatch(name):
            raise ValueError(f"expected a folder named in small letters, digits and _, came {name!r}")
        declared = {k: v for k, v in _of_yaml(files.get(DECLARATION, b"{}")).items() if k != "like"}
        queries = {query.name: {"sql": query.sql, "rows": query.rows or "some"} for query in named_queries.split(files[QUERIES].decode("utf-8"))}
        declared.setdefault("title", _title(files[TEMPLATE]) or name)
        report = Report.model_validate({**declared, "name": name, "template": files[TEMPLATE], "queries": queries, "sources": dict(files)})
    except (yaml.YAMLError, pydantic.ValidationError, KeyError, TypeError, ValueError, AttributeError) as error:
        raise ReportStopped(f"report {name}: not a report: {error}") from error
    _refuse_unknown(report)
    return report


def digest(content: bytes) -> str:
    """The SHA-256 by which an archive names a file."""
    return hashlib.sha256(content).hexdigest()


def _refuse_unknown(report: Report) -> None:
    asked = [*(c.query for c in report.charts), *report.lists, *([NUMBERS] if report.numbers else [])]
    unknown = sorted(set(asked) - set(report.queries))
    if unknown:
        raise ReportStopped(
            f"report {report.name}: {DECLARATION} asks for {', '.join(unknown)}, {QUERIES} has {', '.join(report.queries)}; add the query"
        )
    for name, query in report.queries.items():
        try:
            statements = duckdb.extract_statements(query.sql)
        except duckdb.Error as error:
            raise ReportStopped(f"report {report.name}: {name}: not SQL that DuckDB reads: {error}") from error
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ReportStopped(f"report {report.name}: {name}: expected one SELECT, found {len(statements)} statements; a report only reads")


def _title(template: bytes) -> str:
    return str(docx.Document(io.BytesIO(template)).core_properties.title or "")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        return _of_yaml(path.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:
        raise ReportStopped(f"{path}: not a report: {error}") from error


def _of_yaml(content: bytes) -> dict[str, Any]:
    # The loader written in C takes a tenth of the time.
    document = yaml.load(content, Loader=yaml.CSafeLoader) or {}
    if not isinstance(document, dict):
        raise TypeError(f"expected names and values, came {type(document).__name__}")
    return document
