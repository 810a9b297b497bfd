"""One issue of a report as a mail: text and page in Chinese, the files that its report.yml mails, and headers that tell a repeat.

Every recipient gets a message of its own, so that none sees another's address. It says what the report says of regions and counts, never of a person.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from serving.reports import content, issues
from serving.reports.declaration import Report, ReportStopped
from serving.reports.issues import Issue
from serving.reports.recipients import Recipient

# The report itself lists all of them.
_CHANGES_SHOWN = 20
_PAGE = Path(__file__).with_name("mail.html")
_FOOT = "本邮件由基层治理数据平台自动发送，请勿直接回复。"
_OFFICE = "application/vnd.openxmlformats-officedocument"
# Python's own list does not have the first two.
_TYPES = {
    "docx": f"{_OFFICE}.wordprocessingml.document",
    "xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    "pdf": "application/pdf",
    "html": "text/html",
}
# On Windows.
_NOT_IN_A_FILE_NAME = re.compile(r'[\\/:*?"<>|\x00-\x1f]+')
DRAFT, SIGNED = "draft", "signed"


@dataclass(frozen=True)
class Letter:
    """What every recipient of an issue gets: the words, and the files by the names under which they are attached."""

    report: str
    place: str
    subject: str
    text: str
    page: str
    files: Mapping[str, bytes]
    zone: ZoneInfo

    def to(self, recipient: Recipient, token: str, sender: Address, now: datetime, follows: str | None = None) -> EmailMessage:
        """The message for one recipient; `follows` is the Message-ID of the edition that it replaces."""
        message = EmailMessage(policy=SMTP)
        message["Message-ID"] = message_id(self.place, token, sender)
        message["Date"] = format_datetime(now.astimezone(self.zone))
        message["From"] = sender
        message["To"] = Address(addr_spec=recipient.address)
        message["Subject"] = self.subject
        if follows:
            message["In-Reply-To"] = message["References"] = follows
        # RFC 3834: nobody's out-of-office note answers it. RFC 2919: by which a mailbox files it.
        message["Auto-Submitted"] = "auto-generated"
        message["List-Id"] = f"<{self.report.replace('_', '-')}.reports.{sender.domain}>"
        # Base64 is ASCII, which a server without 8BITMIME takes too.
        message.set_content(self.text, cte="base64")
        message.add_alternative(self.page, subtype="html", cte="base64")
        for name, file in self.files.items():
            main, _, sub = _TYPES[name.rpartition(".")[2]].partition("/")
            message.add_attachment(file, main, sub, filename=name)
        return message


def message_id(place: str, token: str, sender: Address) -> str:
    """The same for the same issue and recipient, whenever and however often it is sent."""
    report, period, *_ = place.split("/")
    return f"<{report}.{period}.{hashlib.sha256(f'{place} {token}'.encode()).hexdigest()[:32]}@{sender.domain}>"


def place_of(issue: Issue) -> str:
    """Names what is mailed: <report>/<period>/<subject>/<edition>/<draft or signed>."""
    return "/".join([*issue.folder.parts[-4:], SIGNED if issue.is_signed else DRAFT])


def files(declared: Report, issue: Issue) -> dict[str, Path]:
    """The files of an issue that are mailed, by kind; raises ReportStopped where one was not made."""
    there = {path.suffix[1:]: path for path in issue.files}
    lacking = [kind for kind in declared.mail.formats if kind not in there]
    if lacking:
        raise ReportStopped(
            f"expected {', '.join(lacking)} as report.yml mails it, the issue has {', '.join(there)}; make it before it is signed off"
        )
    return {kind: there[kind] for kind in declared.mail.formats}


def write(home: Path, declared: Report, issue: Issue) -> Letter:
    """The letter of an issue; raises ReportStopped where a file that is to be mailed was not made, or something cannot be said."""
    archive = json.loads(issue.archive)
    context = content.in_words(issues.sources(home, issue), issue.archive)
    named = content.issue_name(archive)
    paths = files(declared, issue)
    correction = f"更正第{issue.edition - 1}号" if issue.edition > 1 else ""
    marks = [f"【{mark}】" for mark in ("" if issue.is_signed else "未签发稿", correction) if mark]
    subject = "".join(marks) + content.said(declared.mail.subject, context, f"{named}: mail.subject of report.yml")
    stem = _NOT_IN_A_FILE_NAME.sub(" ", "_".join(filter(None, (context["title"], context["subject"]["name"], context["period"]["name"], correction))))
    attached = {f"{stem}.{kind}": path.read_bytes() for kind, path in paths.items()}
    said = {
        "heading": f"{context['subject']['name']} {context['title']} {context['period']['text']}",
        "state": f"{context['edition']}，{_state(issue, archive['snapshot']['time_zone'])}。",
        "changes": _changes(archive, correction),
        "sentences": context["sentences"],
        "completeness": content.said(declared.mail.completeness, context, f"{named}: mail.completeness of report.yml"),
        "source": f"数据快照 {context['snapshot']['id']}，统计时点 {context['snapshot']['as_of']}（{context['snapshot']['time_zone']}）。",
        "attached": "附件：" + "、".join(attached),
        "foot": _FOOT,
    }
    page = content.environment(autoescape=True).from_string(_PAGE.read_text(encoding="utf-8")).render(said)
    return Letter(declared.name, place_of(issue), subject, _text(said), page, attached, ZoneInfo(archive["snapshot"]["time_zone"]))


def _state(issue: Issue, zone: str) -> str:
    if not issue.is_signed:
        return "未签发稿，数字可能变动"
    signed_at = datetime.fromisoformat(json.loads((issue.folder / issues.SIGNED).read_text(encoding="utf-8"))["signed_at"])
    return f"{signed_at.astimezone(ZoneInfo(zone)):%Y年%-m月%-d日 %H:%M} 签发"


def _changes(archive: Mapping[str, Any], correction: str) -> list[str]:
    """What a restatement changed, a line each; nothing of a first edition."""
    if not archive["replaces"]:
        return []
    was, found = archive["replaces"]["edition"], archive["replaces"]["changes"]
    lines = [f"{correction}：取代第{was}版，{len(found)} 处不同："]
    lines += [f"{c['title']}，{c['row']}，{c['heading']}：{c['was']} → {c['now']}" for c in found[:_CHANGES_SHOWN]]
    return lines + ([f"其余 {len(found) - _CHANGES_SHOWN} 处见附件的更正说明。"] if len(found) > _CHANGES_SHOWN else [])


def _text(said: Mapping[str, Any]) -> str:
    parts = [f"{said['heading']}\n{said['state']}", *("\n".join(said[name]) for name in ("changes", "sentences"))]
    parts += [f"数据完整性：{said['completeness']}" if said["completeness"] else "", f"{said['attached']}\n{said['source']}", said["foot"]]
    return "\n\n".join(filter(None, parts)) + "\n"
