"""The step `report`: what is due of the declared reports, for the top regions, over the published snapshot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from gridlake.runs import Run
from serving.reports import issues, subjects, templates
from serving.reports.declaration import Report, ReportStopped
from serving.reports.making import make
from serving.reports.period import Period
from serving.reports.results import first_day, newest_day
from serving.snapshots import NoSnapshot, Snapshot, Snapshots

__all__ = ["ReportStopped", "render_all"]

FORMATS = ("docx", "html")


def render_all(run: Run) -> dict[str, Any]:
    """Make the last complete issue of every report that a run makes, for the top region of each region system in use.

    Gives the paths, and by region system and report why one is not made. A report that must not be issued does not hold up the others;
    ReportStopped names all such at the end. All other regions: `gridlake report make`.
    """
    snapshot = _snapshot(run)
    home = run.settings.home
    written: list[str] = []
    skipped: dict[str, str] = {}
    stopped: list[str] = []
    due = [r for r in templates.declared(run.settings).values() if r.timetable and r.timetable.in_run]
    newest = newest_day(snapshot, snapshot.manifest.region_systems)
    with run.progress.task("报告 report") as task, issues.only_maker(home):
        for system in snapshot.manifest.region_systems:
            for report in due:
                reason = why_not_due(snapshot, report, system, newest.get(system))
                if reason:
                    skipped[system if system not in newest else f"{system} {report.name}"] = reason
                    continue
                kinds = (*FORMATS, *report.mail.formats)
                made = make(home, snapshot, report, subjects.roots(snapshot, system), last_complete(snapshot, report, system), kinds, task.advance)
                written += [str(path) for issue in made.issues for path in issue.files if path.suffix[1:] in FORMATS]
                stopped += [str(error) for error in made.stopped]
    for reason in skipped.values():
        run.progress.say(f"  no report: {reason}")
    if stopped:
        raise ReportStopped("; ".join(stopped))
    if not written:
        raise ReportStopped(f"snapshot {snapshot.id}: expected a region system in use, found none: {'; '.join(skipped.values())}")
    return {"reports": written, "skipped": skipped}


def last_complete(snapshot: Snapshot, report: Report, system: str) -> Period:
    """The newest period of a report that is over in a region system."""
    kind = report.timetable.period if report.timetable else "week"
    return Period.last_complete(kind, snapshot.manifest.region_systems[system].open_date)


def why_not_due(snapshot: Snapshot, report: Report, system: str, newest: Any) -> str | None:
    """Why there is nothing to report of a region system yet or any more; None where the report is due."""
    open_date = snapshot.manifest.region_systems[system].open_date
    if newest is None:
        return f"region system {system} has no events"
    if newest < open_date - timedelta(days=report.quiet_after_days):
        return f"region system {system} has no events since {newest}, {report.quiet_after_days} days before {open_date} at least"
    period, began = last_complete(snapshot, report, system), first_day(snapshot, system)
    if began is None or began > period.first:
        return f"{report.name} {period} of region system {system}: its data begin {began}, after {period.first}"
    return None


def _snapshot(run: Run) -> Snapshot:
    published = run.steps.get("publish", {}).get("snapshot", {}).get("id")
    try:
        return Snapshots(run.settings.home).open(published)
    except NoSnapshot as error:
        raise ReportStopped(f"run {run.run_id}: {error}") from None
