"""The step `report`: every declared report, for the regions it is due for, over the published snapshot."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from gridlake.barriers import barrier
from gridlake.runs import Run
from gridlake.tables import write_file
from serving import regions
from serving.reports.chart import draw
from serving.reports.declaration import Report, ReportStopped, load_reports
from serving.reports.document import render_docx, render_html
from serving.reports.figures import gather
from serving.reports.week import Week
from serving.snapshots import NoSnapshot, Snapshot, Snapshots

__all__ = ["ReportStopped", "render", "render_all"]


def render_all(run: Run) -> dict[str, Any]:
    """Render every report that is due; gives the paths, and the region systems that were left out with the reason.

    A report that must not be issued does not hold up the others; ReportStopped names all such at the end.
    """
    snapshot = _snapshot(run)
    folder = run.settings.home.absolute() / "reports" / snapshot.id
    written: list[str] = []
    skipped: dict[str, str] = {}
    stopped: list[str] = []
    reports = load_reports()
    with run.progress.task("报告 report") as task:
        for report in reports.values():
            for root in regions.roots(snapshot):
                reason = _why_out_of_use(snapshot, report, root)
                if reason:
                    skipped[root["region_system"]] = reason
                    continue
                week = Week.last_complete(snapshot.manifest.region_systems[root["region_system"]].open_date)
                for region in _due_regions(snapshot, report, root, week):
                    try:
                        written += [str(path) for path in render(snapshot, report, region, week, folder)]
                    except ReportStopped as error:
                        stopped.append(str(error))
                    task.advance()
    for reason in skipped.values():
        run.progress.say(f"  no report: {reason}")
    if stopped:
        raise ReportStopped("; ".join(stopped))
    if not written:
        raise ReportStopped(f"snapshot {snapshot.id}: expected a region system in use, found none: {'; '.join(skipped.values())}")
    return {"reports": written, "skipped": skipped}


def render(snapshot: Snapshot, report: Report, region: dict[str, Any], week: Week, folder: Path) -> list[Path]:
    """One issue: docx and html, and the query results it was made of as json. Gives the paths of docx and html."""
    content = gather(snapshot, report, region, week)
    pictures = {chart.name: draw(chart, rows) for chart in report.charts if (rows := content.results[chart.query])}
    stem = f"{report.name}-{_as_file_name(region['region_code'])}-{week}"
    files = {
        folder / f"{stem}.docx": render_docx(report, content.context, pictures, snapshot.manifest.as_of),
        folder / f"{stem}.html": render_html(report, content.context, pictures),
    }
    write_file(folder / f"{stem}.json", content.archive)
    for number, (path, written) in enumerate(files.items()):
        if number:
            barrier("report.between_files")
        write_file(path, written)
    return list(files)


def _as_file_name(code: str) -> str:
    # A code of a foreign system may hold slashes and spaces; equal names need equal codes.
    return re.sub(r"[^A-Za-z0-9._-]", lambda sign: f"~{sign[0].encode().hex()}", code)


def _snapshot(run: Run) -> Snapshot:
    published = run.steps.get("publish", {}).get("snapshot", {}).get("id")
    try:
        return Snapshots(run.settings.home).open(published)
    except NoSnapshot as error:
        raise ReportStopped(f"run {run.run_id}: {error}") from None


def _why_out_of_use(snapshot: Snapshot, report: Report, root: dict[str, Any]) -> str | None:
    system = root["region_system"]
    open_date = snapshot.manifest.region_systems[system].open_date
    newest = snapshot.row("select max(business_date) as day from mart.event_daily where region_system = $system", {"system": system})
    day = newest["day"] if newest else None
    if day is None:
        return f"region system {system} has no events"
    if day < open_date - timedelta(days=report.quiet_after_days):
        return f"region system {system} has no events since {day}, {report.quiet_after_days} days before {open_date} at least"
    return None


def _due_regions(snapshot: Snapshot, report: Report, root: dict[str, Any], week: Week) -> Iterator[dict[str, Any]]:
    if "root" in report.regions:
        yield root
    if "first_child" in report.regions:
        child = snapshot.row(
            """
            select o.* from mart.region_overview as o
            where o.region_system = $system and o.parent_code = $code and exists (
                select 1 from mart.region_closure as c join mart.event_daily as e using (region_system, region_code)
                where c.region_system = o.region_system and c.ancestor_code = o.region_code and e.business_date between $first and $last
            )
            order by o.region_code limit 1
            """,
            {"system": root["region_system"], "code": root["region_code"], "first": week.monday, "last": week.sunday},
        )
        if child:
            yield child
