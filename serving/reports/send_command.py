"""`gridlake report send`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from gridlake.cli import command_options, emit
from gridlake.progress import ProgressLog
from gridlake.runs import RunError
from gridlake.settings import Settings
from serving.reports import issues, sending, smtp, templates
from serving.reports.declaration import ReportStopped
from serving.reports.recipients import Recipients
from serving.snapshots import NoSnapshot, Snapshots

_COLUMNS = {"report": "report", "period": "period", "subject_name": "subject", "edition": "edition", "state": "state", "role": "role",
            "recipient": "recipient"}  # fmt: skip


@click.command()
@click.argument("name", metavar="[REPORT]", required=False)
@click.option("--issue", "named", multiple=True, help="Only this one, however old, as weekly/2026-W09/330000000000; may be repeated.")
@click.option("--dry-run", is_flag=True, help="Only say who would get what.")
@command_options
def send(settings: Settings, as_json: bool, name: str | None, named: tuple[str, ...], dry_run: bool) -> None:
    """Mail what is signed off and was not mailed yet, to whom <home>.recipients.yml says, through GRIDLAKE_SMTP.

    Again, it sends only what is new or was not taken. An issue signed off more than 31 days ago is sent only where --issue names it.
    Ends with 1 where something was not taken or not in order.
    """
    declared = templates.declared(settings)
    if name and name not in declared:
        raise ReportStopped(f"expected a report, {', '.join(declared)}, came {name}; `gridlake report list` shows what was made")
    try:
        snapshot = Snapshots(settings.home).open()
    except NoSnapshot as error:
        raise RunError(str(error)) from None
    recipients = Recipients.load(settings.recipients, declared, snapshot)
    server = None if dry_run else smtp.server(settings)
    with sending.only_sender(settings.home):
        with issues.only_maker(settings.home):
            asked = [_newest(settings, one) for one in named] or issues.all_issues(settings.home)
            those = [issue for issue in asked if name in (None, issue.folder.parts[-4])]
            planned = sending.plan(settings, declared, recipients, those, settings.as_of or datetime.now(UTC), however_old=bool(named))
        if server is None:
            document = {"would_send": [one.entry for one in planned.due], **_left(planned)}
            emit(document, as_json=as_json, text=lambda console: _print_planned(console, document))
            return
        with ProgressLog(quiet=as_json).task("寄送报告", total=len(planned.due)) as task:
            done = sending.send(settings.home, server, planned, task.advance)
    sent = {**asdict(done), **{key: value for key, value in _left(planned).items() if key != "stopped"}}
    emit(sent, as_json=as_json, text=lambda console: _print_sent(console, sent))
    if done.deferred or done.refused or done.stopped:
        sys.exit(1)


def _newest(settings: Settings, named: str) -> issues.Issue:
    """The issue of that name; raises ReportStopped where a later edition has taken its place."""
    issue = issues.find(settings.home, named)
    newest = issues.find(settings.home, str(issue.folder.parent.absolute()))
    if newest.edition > issue.edition and newest.is_signed:
        raise ReportStopped(
            f"{issue.folder}: expected the newest edition, came {issue.edition}; edition {newest.edition} has taken its place, name that"
        )
    return issue


def _left(planned: sending.Planned) -> dict[str, Any]:
    return {"sent_before": planned.sent_before, "unsigned": planned.unsigned, "stopped": planned.stopped}


def _print_planned(console: Console, document: dict[str, Any]) -> None:
    table = Table(title="Would be mailed")
    for column in (*_COLUMNS.values(), "files"):
        table.add_column(column, overflow="fold")
    for entry in document["would_send"]:
        table.add_row(*(str(entry[key]) for key in _COLUMNS), ", ".join(entry["files"]))
    console.print(table)
    _print_left(console, document)


def _print_sent(console: Console, document: dict[str, Any]) -> None:
    for outcome, meant in (("refused", "refused for good: correct the address"), ("deferred", "not now: sent again next time")):
        for entry in document[outcome]:
            what = " ".join(str(entry[key]) for key in _COLUMNS)
            console.print(f"{outcome}: {what}: {entry['code'] or ''} {entry['words']} ({meant})", highlight=False, soft_wrap=True)
    _print_left(console, document)
    counts = ", ".join(f"{len(document[outcome])} {outcome}" for outcome in ("sent", "deferred", "refused"))
    console.print(f"{counts}, {document['sent_before']} sent before", highlight=False)


def _print_left(console: Console, document: dict[str, Any]) -> None:
    for reason in document["stopped"]:
        console.print(f"stopped: {reason}", highlight=False, soft_wrap=True)
    for issue in document["unsigned"]:
        console.print(f"not signed off, so not mailed: {issue}", highlight=False, soft_wrap=True)
