"""`gridlake report make|list|sign|pictures|template …` and `gridlake reproduce`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake.cli import command_options, emit
from gridlake.progress import ProgressLog
from gridlake.runs import RunError
from gridlake.settings import Settings
from gridlake.signing import SigningKey
from serving.reports import issues, last_complete, pdf, subjects, templates, why_not_due
from serving.reports.declaration import Report, ReportStopped
from serving.reports.making import FORMATS, Made, documents, make
from serving.reports.period import Period
from serving.reports.reproduction import reproduce as make_again
from serving.reports.results import ask, columns, newest_day
from serving.snapshots import NoSnapshot, Snapshot, Snapshots


@click.command("make")
@click.argument("name")
@click.option("--period", "period_name", help="As 2026-W09, 2026-02 or 2026. Default: the last one that is over.")
@click.option("--of", "codes", multiple=True, help="A region's code, or a sender's; may be repeated. Default: the top region of each region system.")
@click.option("--all", "is_all", is_flag=True, help="Every region of the report's levels, or every sender.")
@click.option("--format", "formats", multiple=True, type=click.Choice(FORMATS), help="Default: docx, html, xlsx, and what is mailed of it.")
@click.option("--snapshot", "snapshot_id", help="Default: the current one.")
@command_options
def make_report(
    settings: Settings, as_json: bool, name: str, period_name: str | None, codes: tuple[str, ...], is_all: bool, formats: tuple[str, ...],
    snapshot_id: str | None,
) -> None:  # fmt: skip
    """Make one report: drafts, or a restatement where a signed issue's numbers were others. One that is stopped does not hold up the others."""
    report, snapshot = _declared(settings, name), _snapshot(settings, snapshot_id)
    formats = formats or ("docx", "html", "xlsx", *report.mail.formats)
    made = Made([], [])
    newest = newest_day(snapshot, snapshot.manifest.region_systems)
    asked = [subjects.find(snapshot, report, code) for code in codes]
    with issues.only_maker(settings.home), ProgressLog(quiet=as_json).task(report.title) as task:
        for system in snapshot.manifest.region_systems:
            chosen = [s for s in asked if s.system == system]
            if not codes:
                reason = None if period_name else why_not_due(snapshot, report, system, newest.get(system))
                if reason:
                    click.echo(f"gridlake: no report: {reason}", err=True)
                    continue
                chosen = subjects.every(snapshot, report, system) if is_all or report.per == "sender" else subjects.roots(snapshot, system)
            if chosen:
                period = _period(report, period_name) or last_complete(snapshot, report, system)
                found = make(settings.home, snapshot, report, chosen, period, formats, task.advance)
                made = Made(made.issues + found.issues, made.stopped + found.stopped)
    document = {
        "snapshot": snapshot.id,
        "issues": [{"folder": str(i.folder), "edition": i.edition, "signed": i.is_signed, "files": [str(p) for p in i.files]} for i in made.issues],
        "stopped": [str(error) for error in made.stopped],
    }
    emit(document, as_json=as_json, text=lambda console: _print_made(console, document))
    if made.stopped or not made.issues:
        sys.exit(1)


@click.command("list")
@click.argument("name", required=False)
@command_options
def list_issues(settings: Settings, as_json: bool, name: str | None) -> None:
    """Every issue of the lake's reports: period, subject, edition, snapshot, and whether it is signed."""
    found = [_entry(issue) for issue in issues.all_issues(settings.home) if name in (None, issue.folder.parent.parent.parent.name)]

    def text(console: Console) -> None:
        table = Table()
        for column in ("report", "period", "subject", "edition", "snapshot", "signed by"):
            table.add_column(column, overflow="fold")
        for entry in found:
            subject = f"{entry['subject_name']} {entry['subject']}"
            table.add_row(entry["report"], entry["period"], subject, str(entry["edition"]), entry["snapshot"], entry["signed_by"] or "")
        console.print(table)

    emit(found, as_json=as_json, text=text)


@click.command()
@click.argument("issue_name", metavar="ISSUE")
@click.option("--by", required=True, help="Who signs it off.")
@command_options
def sign(settings: Settings, as_json: bool, issue_name: str, by: str) -> None:
    """Sign an issue off: its files are locked. ISSUE as weekly/2026-W09/330000000000, or a file of it."""
    with issues.only_maker(settings.home):
        issue = issues.find(settings.home, issue_name)
        signed = issues.sign(issue, SigningKey.load(settings.signing_key), by, datetime.now(UTC))
    emit(
        signed,
        as_json=as_json,
        text=lambda console: console.print(f"signed: {issue.folder} by {by}, key {signed['signature']['key_id']}", soft_wrap=True),
    )


@click.command()
@click.argument("issue_name", metavar="ISSUE")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Keep what was made again in this folder.")
@command_options
def reproduce(settings: Settings, as_json: bool, issue_name: str, out: Path | None) -> None:
    """Make an issue of a report again from its archive and compare: docx, xlsx and html byte for byte, a PDF by pages and text."""
    issue = issues.find(settings.home, issue_name)
    compared = make_again(settings.home, issue, out)
    wrong = issues.verify(issue, SigningKey.load(settings.signing_key).public) if issue.is_signed else []
    document = {
        "issue": str(issue.folder),
        "files": [{"name": c.name, "is_equal": c.is_equal, "found": c.found} for c in compared],
        "signed": issue.is_signed,
        "signature_problems": wrong,
    }

    def text(console: Console) -> None:
        for one in compared:
            console.print(f"{'ok  ' if one.is_equal else 'FAIL'} {one.name}: {one.found}", highlight=False, soft_wrap=True)
        for problem in wrong:
            console.print(f"FAIL signature: {problem}", highlight=False, soft_wrap=True)

    emit(document, as_json=as_json, text=text)
    if wrong or not all(c.is_equal for c in compared):
        sys.exit(1)


@click.command("pictures")
@click.argument("issue_name", metavar="ISSUE")
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="The folder for the pages.")
@command_options
def page_pictures(settings: Settings, as_json: bool, issue_name: str, out: Path) -> None:
    """The pages of an issue as PNG, to look at: of its PDF, or of one made of its docx."""
    issue = issues.find(settings.home, issue_name)
    files = {path.suffix: path for path in issue.files}
    content = files[".pdf"].read_bytes() if ".pdf" in files else pdf.convert({"issue": files[".docx"].read_bytes()})["issue"]
    out.mkdir(parents=True, exist_ok=True)
    made = [str(path) for path in pdf.pictures(content, out, files[".docx"].stem)]
    emit({"pictures": made}, as_json=as_json, text=lambda console: console.print("\n".join(made), soft_wrap=True))


@click.group()
def template() -> None:
    """Word templates that officials edit: check one, add it, list the versions."""


@template.command("check")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@command_options
def check_template(settings: Settings, as_json: bool, name: str, file: Path) -> None:
    """Whether an edited template may be used: no macro, no unknown and no missing placeholder, and it can be filled in."""
    found = _problems(settings, name, file)
    emit({"template": str(file), "problems": found}, as_json=as_json, text=lambda console: _print_problems(console, file, found))
    if found:
        sys.exit(1)


@template.command("add")
@click.argument("name")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--by", required=True, help="Who edited it.")
@command_options
def add_template(settings: Settings, as_json: bool, name: str, file: Path, by: str) -> None:
    """Check an edited template and use it from the next issue on; issues made before keep theirs."""
    found = _problems(settings, name, file)
    if found:
        raise ReportStopped(f"{file}: not added: {'; '.join(found)}")
    with issues.only_maker(settings.home):
        added = templates.add(settings.home, _declared(settings, name), file.read_bytes(), file.name, by, datetime.now(UTC))
    emit(added, as_json=as_json, text=lambda console: console.print(f"{name}: template version {added['version']}, digest {added['digest'][:16]}"))


@template.command("list")
@command_options
def list_templates(settings: Settings, as_json: bool) -> None:
    """Every version of every template added to this lake; version 0 is the report's own."""
    found = {name: templates.versions(settings.home, name) for name in templates.declared(settings)}

    def text(console: Console) -> None:
        table = Table()
        for column in ("report", "version", "file", "by", "at", "digest"):
            table.add_column(column)
        for name, versions in found.items():
            table.add_row(name, "0", "template.docx", "", "", "")
            for v in versions:
                table.add_row(name, str(v["version"]), v["file"], v["by"], v["at"], v["digest"][:16])
        console.print(table)

    emit(found, as_json=as_json, text=text)


def _problems(settings: Settings, name: str, file: Path) -> list[str]:
    report, snapshot, content = _declared(settings, name), _snapshot(settings, None), file.read_bytes()
    found = templates.problems(report, columns(snapshot, report), content)
    return found or _tried(settings, snapshot, report.with_template(content))


def _tried(settings: Settings, snapshot: Snapshot, report: Report) -> list[str]:
    """What goes wrong when it is filled in with the last complete period of a subject; nothing is written."""
    for system in snapshot.manifest.region_systems:
        for subject in [*subjects.roots(snapshot, system)] if report.per == "region" else subjects.every(snapshot, report, system)[:1]:
            period = last_complete(snapshot, report, system)
            try:
                found = ask(snapshot, report, system, [subject], period)
            except ReportStopped:
                continue  # nothing to try it with in this system
            try:
                for results in found.results.values():
                    planned = issues.plan(settings.home, snapshot, report, subject, period, results)
                    documents(report, planned.archived, ("html", "xlsx"))
            except ReportStopped as error:
                return [str(error)]
    return []


def _declared(settings: Settings, name: str) -> Report:
    found = templates.declared(settings)
    if name not in found:
        raise ReportStopped(
            f"expected a report, {', '.join(found)}, came {name}; put its folder under {settings.contracts or '--contracts DIR'}/reports"
        )
    return found[name]


def _snapshot(settings: Settings, snapshot_id: str | None) -> Snapshot:
    try:
        return Snapshots(settings.home).open(snapshot_id)
    except NoSnapshot as error:
        raise RunError(str(error)) from None


def _period(report: Report, name: str | None) -> Period | None:
    if name is None:
        return None
    try:
        period = Period.named(name)
    except ValueError as error:
        raise ReportStopped(str(error)) from None
    if report.timetable and report.timetable.period != period.kind:
        raise ReportStopped(f"{report.name} is a report of a {report.timetable.period}, came {name}; name a {report.timetable.period}")
    return period


def _entry(issue: issues.Issue) -> dict[str, Any]:
    archive = json.loads(issue.archive)
    signed = json.loads((issue.folder / issues.SIGNED).read_text(encoding="utf-8")) if issue.is_signed else {}
    return {
        "report": archive["report"],
        "period": archive["period"],
        "subject": archive["subject"]["code"],
        "subject_name": archive["subject"]["name"],
        "edition": issue.edition,
        "snapshot": archive["snapshot"]["id"],
        "signed_by": signed.get("signed_by"),
        "signed_at": signed.get("signed_at"),
        "folder": str(issue.folder),
    }


def _print_made(console: Console, document: dict[str, Any]) -> None:
    for issue in document["issues"]:
        state = "signed, unchanged" if issue["signed"] else f"edition {issue['edition']}"
        console.print(f"{issue['folder']}  ({state})", highlight=False, soft_wrap=True)
    for reason in document["stopped"]:
        console.print(f"stopped: {reason}", highlight=False, soft_wrap=True)
    console.print(f"{len(document['issues'])} made, {len(document['stopped'])} stopped", highlight=False)


def _print_problems(console: Console, file: Path, found: list[str]) -> None:
    for problem in found:
        console.print(f"FAIL {problem}", highlight=False, soft_wrap=True)
    if not found:
        console.print(f"ok   {file}", highlight=False, soft_wrap=True)
