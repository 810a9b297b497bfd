"""An issue made again from its archive, without the snapshot: docx, xlsx and html byte for byte, a PDF by its pages and their text."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gridlake import __version__
from serving.reports import issues, pdf
from serving.reports.declaration import ReportStopped
from serving.reports.issues import Issue
from serving.reports.making import documents


@dataclass(frozen=True)
class Compared:
    """One file of an issue beside the same made again."""

    name: str
    is_equal: bool
    found: str


def reproduce(home: Path, issue: Issue, out: Path | None = None) -> list[Compared]:
    """Make every file of an issue again; with `out` what was made is kept there. Raises ReportStopped where the archive is not as it was written."""
    damaged = [name for name in issue.damaged() if name == issues.ARCHIVE]
    if damaged:
        raise ReportStopped(f"{issue.folder}: expected its {issues.ARCHIVE} as it was written, it is gone or changed; restore it from a backup")
    report = issues.sources(home, issue)
    kinds = [path.suffix[1:] for path in issue.files]
    made = documents(report, issue.archive, [kind for kind in kinds if kind != "pdf"])
    if "pdf" in kinds:
        made |= {"pdf": pdf.convert({"issue": made["docx"]})["issue"]}
    compared = [_compare(issue, path, made[path.suffix[1:]]) for path in issue.files]
    if out:
        out.mkdir(parents=True, exist_ok=True)
        for path in issue.files:
            (out / path.name).write_bytes(made[path.suffix[1:]])
    return compared


def _compare(issue: Issue, path: Path, made: bytes) -> Compared:
    if not path.exists():
        return Compared(path.name, False, "the file is gone")
    was = path.read_bytes()
    if path.suffix == ".pdf":
        pages, again = pdf.pages(was), pdf.pages(made)
        different = [n for n, (one, other) in enumerate(zip(pages, again, strict=False), 1) if one != other]
        if len(pages) != len(again) or different:
            return Compared(path.name, False, f"{len(pages)} pages, {len(again)} made again; text differs on {different or 'none'}")
        return Compared(path.name, True, f"{len(pages)} pages with the same text")
    if was == made:
        return Compared(path.name, True, "equal, byte for byte")
    version = issue.document["gridlake"]
    made_by = f"; it was made by gridlake {version}, this is {__version__}" if version != __version__ else ""
    damaged = "; the file was changed since" if path.name in issue.damaged() else ""
    return Compared(path.name, False, f"different bytes{damaged}{made_by}")
