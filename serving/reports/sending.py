"""Sending reports: what is due to whom, and the ledger `<home>/reports/_mail/<report>/<period>/<subject>/<edition>.json` of what was sent.

The ledger names recipients by the lake's join tokens and masked addresses, never in the clear. A process that is killed after the server has taken a
message and before the ledger says so sends that one message again, under the same Message-ID; no other is sent twice.
"""

from __future__ import annotations

import fcntl
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, time, timedelta
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa

from gridlake.barriers import barrier
from gridlake.privacy import Keys
from gridlake.settings import Settings
from gridlake.signing import PublicKey, SigningKey
from gridlake.tables import make_folder, write_file
from serving.reports import issues, mail
from serving.reports.content import issue_name
from serving.reports.declaration import Report, ReportStopped
from serving.reports.issues import Issue
from serving.reports.period import Period
from serving.reports.recipients import Recipient, Recipients, masked
from serving.reports.smtp import Connection, Server

LEDGER = "_mail"
# A new recipient, or a server of mails that was just set up, is not sent the reports of years.
SENT_WITHIN_DAYS = 31
_ADDRESS = re.compile(r"[^\s<>@,;:()]+@[^\s<>@,;:()]+")


@dataclass(frozen=True)
class Due:
    """One message that is to be sent."""

    issue: Issue
    declared: Report
    subject: Mapping[str, Any]
    recipient: Recipient
    token: str

    @cached_property
    def place(self) -> str:
        """What is mailed: <report>/<period>/<subject>/<edition>/<draft or signed>."""
        return mail.place_of(self.issue)

    @property
    def entry(self) -> dict[str, Any]:
        """As tables and JSON show it."""
        report, period, _, edition, state = self.place.split("/")
        return {
            "report": report, "period": period, "subject": self.subject["code"], "subject_name": self.subject["name"], "edition": int(edition),
            "state": state, "role": self.recipient.role, "recipient": self.recipient.masked, "files": list(self.declared.mail.formats),
        }  # fmt: skip


@dataclass
class Planned:
    """What is due; what was sent already; which issues wait to be signed off; which are not in order, and why."""

    due: list[Due] = field(default_factory=list)
    sent_before: int = 0
    unsigned: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


@dataclass
class Sent:
    """What became of each message: `sent`, `deferred` and `refused` are entries with the server's words, `stopped` reasons."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    deferred: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)


@contextmanager
def only_sender(home: Path) -> Iterator[None]:
    """Hold the ledger; a second sender waits. A killed holder lets go by itself."""
    folder = issues.reports_of(home) / LEDGER
    make_folder(folder)
    with (folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def plan(
    settings: Settings, declared: Mapping[str, Report], recipients: Recipients, asked: Iterable[Issue], now: datetime, *, however_old: bool = False
) -> Planned:
    """What of these issues is to be sent: of each report, period and subject the newest edition that may be, to whom it was not sent.

    `however_old`: also what was signed off (of a draft: whose period ended) more than SENT_WITHIN_DAYS ago.
    """
    found, tokens, key = Planned(), Keys.load(settings.keys), SigningKey.load(settings.signing_key).public
    for place, those in groupby(sorted(asked, key=lambda i: (i.folder.parent, i.edition)), key=lambda i: i.folder.parent):
        editions = list(those)
        report = declared.get(place.parts[-3])
        if report is None or not report.recipients:
            continue
        chosen = [issue for issue in editions if issue.is_signed or not report.mail.signed_only]
        waits = [] if editions[-1] in chosen else [editions[-1]]
        for issue in [*chosen[-1:], *waits]:
            if not however_old and _age(issue, now) > timedelta(days=SENT_WITHIN_DAYS):
                continue
            archive = json.loads(issue.archive)
            who = recipients.of(report, archive["subject"])
            if issue in waits:
                found.unsigned += [f"{issue_name(archive)} edition {issue.edition}"] if who else []
                continue
            ledger = _read(settings.home, mail.place_of(issue))
            named = tokens.token(pa.array([one.address.casefold() for one in who], pa.string())).to_pylist()
            due = [Due(issue, report, archive["subject"], one, token) for one, token in zip(who, named, strict=True) if not _is_sent(ledger, token)]
            found.sent_before += len(who) - len(due)
            if due and (wrong := _not_in_order(issue, key, report)):
                found.stopped.append(f"{issue_name(archive)}: not mailed: {wrong}")
            else:
                found.due += due
    return found


def send(home: Path, server: Server, planned: Planned, advance: Callable[[], None] = lambda: None) -> Sent:
    """Send what is due, entering each message into the ledger; an address that is refused holds up no other.

    Raises MailError where the server is not to be had; what was sent until then is in the ledger.
    """
    done = Sent(stopped=list(planned.stopped))
    with Connection(server) as connection:
        for _, those in groupby(planned.due, key=lambda one: one.place):
            messages = list(those)
            try:
                # A maker may be writing a draft anew.
                with issues.only_maker(home):
                    letter = mail.write(home, messages[0].declared, messages[0].issue)
            except (ReportStopped, FileNotFoundError) as error:
                done.stopped.append(str(error))
                continue
            for one in messages:
                now = datetime.now(UTC)
                message = letter.to(one.recipient, one.token, server.sender, now, _replaced(home, one))
                answer = connection.send(message, one.recipient.address)
                if answer.outcome == "sent":
                    barrier("mail.between_taken_and_ledger", one.place)
                # A server's words repeat the address, or name one that it stands for.
                words = _ADDRESS.sub(lambda found: masked(found[0]), " ".join(answer.words.split()))
                answered = asdict(answer) | {"words": words}
                entry = {**one.entry, **answered, "message_id": message["Message-ID"], "at": now.isoformat(timespec="seconds")}
                _enter(home, one, entry)
                getattr(done, answer.outcome).append(entry)
                advance()
    return done


def _not_in_order(issue: Issue, key: PublicKey, report: Report) -> str:
    """Why an issue must not leave; empty where it may."""
    wrong = issues.verify(issue, key) if issue.is_signed else [f"{name}: changed after it was made" for name in issue.damaged()]
    try:
        mail.files(report, issue)
    except ReportStopped as error:
        wrong.append(str(error))
    return "; ".join(wrong)


def _age(issue: Issue, now: datetime) -> timedelta:
    """How long ago it was signed off; of a draft, how long ago its period ended."""
    if issue.is_signed:
        return now - datetime.fromisoformat(json.loads((issue.folder / issues.SIGNED).read_text(encoding="utf-8"))["signed_at"])
    return now - datetime.combine(Period.named(issue.folder.parts[-3]).last, time.max, UTC)


def _replaced(home: Path, one: Due) -> str | None:
    """The Message-ID by which the recipient was sent the newest edition before this one, or its draft; None where it got none."""
    *place, edition, _ = one.place.split("/")
    earlier = [f"{n}/{state}" for n in range(int(edition), 0, -1) for state in (mail.SIGNED, mail.DRAFT)]
    for state in earlier:
        entry = _read(home, "/".join([*place, state])).get(one.token)
        if entry and entry["outcome"] == "sent":
            return str(entry["message_id"])
    return None


def _is_sent(ledger: Mapping[str, Any], token: str) -> bool:
    return bool(ledger.get(token, {}).get("outcome") == "sent")


def _path(home: Path, place: str) -> tuple[Path, str]:
    path, _, state = place.rpartition("/")
    return issues.reports_of(home) / LEDGER / f"{path}.json", state


def _entered(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else {}


def _read(home: Path, place: str) -> dict[str, Any]:
    """The entries of what is mailed, by the recipient's token."""
    path, state = _path(home, place)
    return dict(_entered(path).get(state, {}))


def _enter(home: Path, one: Due, entry: Mapping[str, Any]) -> None:
    path, state = _path(home, one.place)
    found = _entered(path)
    found.setdefault(state, {})[one.token] = entry
    write_file(path, json.dumps(found, ensure_ascii=False, indent=1).encode())
