"""Small pages for people: the overview with drill by region, the list of reports, this interface's description, and the
lake's own pages (reports, dictionary, checks). Server-rendered, nothing loaded from elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import jinja2
from fastapi import APIRouter, Query, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from gridlake.regions import LEVELS
from serving import posture, regions
from serving.api.answers import Reading
from serving.api.posture import DEFAULT_DAYS
from serving.api.problems import SNAPSHOT_HEADER, Problem
from serving.api.regions import SystemName, known_region
from serving.reports import issues
from serving.reports.content import edition_text
from serving.reports.period import Period
from serving.snapshots import Snapshot

router = APIRouter()

# The lake's folders whose files are shown as they are.
_FOLDERS = {"dictionary": "docs/dictionary", "checks": "docs/checks"}
_CLASSES_SHOWN = 12
_SPARK_WIDTH, _SPARK_HEIGHT = 560, 64

_pages = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_pages.filters["number"] = lambda value: "—" if value is None else f"{value:,}"
_pages.filters["pct"] = lambda value: "—" if value is None else f"{value:.1f}%"


@router.get("/", response_class=HTMLResponse)
def overview(
    request: Request, snapshot: Reading, region: Annotated[str | None, Query(max_length=64)] = None, system: SystemName = None
) -> HTMLResponse:
    """One region: key numbers, four weeks as a line, the regions below, the classes, and where to read on."""
    tops = regions.roots(snapshot)
    if not tops:
        raise Problem(404, f"a region in snapshot {snapshot.id}", "none", "land the region feed and run again")
    found = known_region(snapshot, region, system) if region else tops[0]
    period = posture.latest(snapshot, found["region_system"], DEFAULT_DAYS)
    days = posture.by_day(snapshot, found, period)
    zone = ZoneInfo(snapshot.manifest.region_systems[found["region_system"]].time_zone)
    return _page(
        snapshot,
        "overview.html",
        region=found,
        level=LEVELS.get(found["region_level"], "") if found["region_system"] == "cn" else "",
        roots=tops,
        path=regions.path(snapshot, found),
        children=regions.children(snapshot, found),
        period=period,
        totals=posture.totals(snapshot, found, period),
        previous=posture.totals(snapshot, found, period.previous),
        classes=posture.by_class(snapshot, found, period)[:_CLASSES_SHOWN],
        line=_spark_line([d["event_count"] for d in days]),
        most=max((d["event_count"] for d in days), default=0),
        spark={"width": _SPARK_WIDTH, "height": _SPARK_HEIGHT},
        as_of=snapshot.manifest.as_of.astimezone(zone),
        issues=_issues(request.app.state.home, found),
    )


@router.get("/reports", response_class=HTMLResponse)
@router.get("/reports/", response_class=HTMLResponse)
def report_list(request: Request, snapshot: Reading) -> HTMLResponse:
    """Every issue of every report, newest period first."""
    return _page(snapshot, "reports.html", issues=_issues(request.app.state.home))


@router.get("/docs", response_class=HTMLResponse)
def interface(request: Request, snapshot: Reading) -> HTMLResponse:
    """The interface described from its own OpenAPI document."""
    return _page(snapshot, "interface.html", document=request.app.openapi())


@router.get("/reports/{path:path}")
def report_file(request: Request, path: str) -> FileResponse:
    """A report as it was rendered."""
    # What begins with _ or . beside the reports is what they are made of.
    if path.startswith(("_", ".")):
        raise Problem(404, "a file of a report", path, "GET /reports/ lists them")
    return _file(request.app.state.home / "reports", path)


@router.get("/{folder}/", response_model=None)
def folder_index(request: Request, folder: str) -> FileResponse:
    """The first page of a folder of pages."""
    return lake_file(request, folder, "index.html")


@router.get("/{folder}", response_model=None)
def folder_name(request: Request, folder: str) -> RedirectResponse:
    """Relative links of the pages need the slash."""
    if folder not in _FOLDERS:
        raise Problem(404, "a path of this interface", f"/{folder}", "GET /openapi.json lists them")
    return RedirectResponse(f"/{folder}/")


@router.get("/{folder}/{path:path}", response_model=None)
def lake_file(request: Request, folder: str, path: str) -> FileResponse:
    """A page that a run wrote."""
    if folder not in _FOLDERS:
        raise Problem(404, "a path of this interface", f"/{folder}/{path}", "GET /openapi.json lists them")
    return _file(request.app.state.home / _FOLDERS[folder], path)


def _file(root: Path, path: str) -> FileResponse:
    # What a path resolves to decides, not how it is written: links and dots lead nowhere else.
    target = (root / path).resolve() if "\0" not in path else root
    if root.resolve() not in target.parents or not target.is_file():
        raise Problem(404, "a file that a run wrote", path, "GET /reports/, /dictionary/ or /checks/ lists them")
    return FileResponse(target)


def _page(snapshot: Snapshot, template: str, **content: Any) -> HTMLResponse:
    text = _pages.get_template(template).render(snapshot=snapshot.id, **content)
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'self'"
    return HTMLResponse(text, headers={SNAPSHOT_HEADER: snapshot.id, "Content-Security-Policy": policy})


def _issues(home: Path, region: dict[str, Any] | None = None) -> list[dict[str, Any]]:
    """Every issue, or the region's, newest period first; each with title, subject, period, edition, snapshot, whether signed, and its files."""
    found = []
    for issue in issues.all_issues(home):
        archive = json.loads(issue.archive)
        of = archive["subject"]["system"], archive["subject"]["code"]
        if region is None or (archive["subject"]["kind"] == "region" and of == (region["region_system"], region["region_code"])):
            files = [(path.name, path.relative_to(home / "reports").as_posix()) for path in issue.files]
            found.append(archive | {"edition_text": edition_text(issue.edition), "is_signed": issue.is_signed, "files": files})
    return sorted(found, key=lambda a: (Period.named(a["period"]).last, a["report"], a["edition"]), reverse=True)


def _spark_line(values: list[int]) -> str:
    step, top = _SPARK_WIDTH / max(len(values) - 1, 1), max(values, default=0) or 1
    return " ".join(f"{i * step:.1f},{_SPARK_HEIGHT - 2 - (_SPARK_HEIGHT - 4) * v / top:.1f}" for i, v in enumerate(values))
