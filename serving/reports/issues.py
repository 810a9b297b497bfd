"""Issues of reports: `<home>/reports/<report>/<period>/<subject>/<edition>/`, each with the archive that it was made of.

`archive.json` holds the query results and what they came from; `issue.json` the digest of every file, written last; `signed.json` locks the
issue. A draft is made anew from newer data; what is signed is never written again: other data make the next edition, which says what changed.
"""

from __future__ import annotations

import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from gridlake import __version__
from gridlake.barriers import barrier
from gridlake.signing import PublicKey, SignatureError, SigningKey
from gridlake.tables import make_folder, write_file
from serving.reports import wording
from serving.reports.declaration import NUMBERS, WHICH, Report, ReportStopped, digest, of_sources
from serving.reports.period import Period
from serving.reports.results import BEFORE, NOW, YEAR_AGO, Results, Row
from serving.reports.subjects import Subject
from serving.snapshots import Snapshot

ARCHIVE, ISSUE, SIGNED = "archive.json", "issue.json", "signed.json"
# Beside the reports, by their digests: the templates, queries and declarations that issues were made of.
MADE_OF = "_made_of"
_READ_ONLY = 0o444


@dataclass(frozen=True)
class Issue:
    """One issue as it lies in its folder."""

    folder: Path
    document: Mapping[str, Any]

    @property
    def edition(self) -> int:
        """1, or the number of the restatement that it is."""
        return int(self.folder.name)

    @property
    def is_signed(self) -> bool:
        """Whether it is locked."""
        return (self.folder / SIGNED).exists()

    @property
    def archive(self) -> bytes:
        """The bytes of its archive."""
        return (self.folder / ARCHIVE).read_bytes()

    @property
    def files(self) -> list[Path]:
        """Its documents."""
        return [self.folder / name for name in self.document["files"] if name != ARCHIVE]

    def damaged(self) -> list[str]:
        """The files that are not as they were written."""
        paths = {name: self.folder / name for name in self.document["files"]}
        return [name for name, path in paths.items() if not path.exists() or digest(path.read_bytes()) != self.document["files"][name]]


@dataclass(frozen=True)
class Planned:
    """What is to be made: the archive and where it goes; `made` is the issue that says the same already."""

    report: Report
    folder: Path
    archived: bytes
    stem: str
    made: Issue | None = None


def reports_of(home: Path) -> Path:
    """The folder of a lake's reports."""
    return home.absolute() / "reports"


@contextmanager
def only_maker(home: Path) -> Iterator[None]:
    """Hold the lake's reports; a second maker waits. A killed holder lets go by itself."""
    folder = reports_of(home)
    make_folder(folder)
    with (folder / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def plan(home: Path, snapshot: Snapshot, report: Report, subject: Subject, period: Period, results: Results) -> Planned:
    """The edition that these results make: the draft anew, the first one, or a restatement of a signed one whose results were others."""
    place = reports_of(home) / report.name / str(period) / subject.file_name
    found = _editions(place)
    signed = [issue for issue in found if issue.is_signed]
    replaced, edition = None, 1
    if signed:
        newest = signed[-1]
        was = json.loads(newest.archive)
        changed = changes(report, was, results)
        if not changed:
            return Planned(report, newest.folder, newest.archive, _stem(report, subject, period, newest.edition), newest)
        edition = newest.edition + 1
        as_of = datetime.fromisoformat(was["snapshot"]["as_of"]).astimezone(ZoneInfo(was["snapshot"]["time_zone"]))
        replaced = {
            "edition": newest.edition,
            "digest": digest(newest.archive),
            "as_of_text": as_of.strftime("%Y年%-m月%-d日 %H:%M"),
            "changes": changed,
        }
    archived = _archive(snapshot, report, subject, period, results, edition, replaced)
    same = next((issue for issue in found if issue.edition == edition and issue.archive == archived and not issue.damaged()), None)
    return Planned(report, place / str(edition), archived, _stem(report, subject, period, edition), same)


def write(home: Path, planned: Planned, documents: Mapping[str, bytes]) -> Issue:
    """Put an issue into its folder: its documents by kind (docx, html, …). A repeat after a kill makes it whole."""
    folder = planned.folder
    if (folder / SIGNED).exists():
        raise ReportStopped(f"{folder}: expected a draft, found a signed issue; it is not written again")
    store = reports_of(home) / MADE_OF
    make_folder(store)
    for content in planned.report.sources.values():
        if not (store / digest(content)).exists():
            write_file(store / digest(content), content)
    shutil.rmtree(folder, ignore_errors=True)
    make_folder(folder)
    files = {ARCHIVE: planned.archived} | {f"{planned.stem}.{kind}": content for kind, content in documents.items()}
    for number, (name, content) in enumerate(files.items()):
        if number:
            barrier("report.between_files")
        write_file(folder / name, content)
    written = {"files": {name: digest(content) for name, content in files.items()}, "gridlake": __version__}
    write_file(folder / ISSUE, json.dumps(written, indent=1).encode())
    return Issue(folder, written)


def all_issues(home: Path) -> list[Issue]:
    """Every issue of a lake; unfinished ones are none."""
    return [_read(path) for path in sorted(reports_of(home).glob(f"[a-z]*/*/*/*/{ISSUE}"))]


def find(home: Path, named: str) -> Issue:
    """The issue of a folder or file, or of <report>/<period>/<subject>[/<edition>]; without an edition the newest one. Raises ReportStopped."""
    given = Path(named)
    for place in (given if given.is_absolute() else Path.cwd() / given, reports_of(home) / named):
        folder = place.parent if place.is_file() else place
        if (folder / ISSUE).exists():
            return _read(folder / ISSUE)
        if folder.is_dir() and (found := _editions(folder)):
            return found[-1]
    raise ReportStopped(f"expected an issue of a report, as weekly/2026-W09/330000000000, came {named}; `gridlake report list` shows them")


def sign(issue: Issue, key: SigningKey, by: str, at: datetime) -> dict[str, Any]:
    """Lock an issue: its digests, who signed it off and when, under the platform's signature. Raises ReportStopped where it is signed or damaged."""
    if issue.is_signed:
        raise ReportStopped(f"{issue.folder}: signed already, by {_signature(issue)['signed_by']}; other data make the next edition")
    damaged = issue.damaged()
    if damaged:
        raise ReportStopped(f"{issue.folder}: expected the files as they were made, changed: {', '.join(damaged)}; make the report again")
    archive = json.loads(issue.archive)
    signed = key.sign(
        {
            **{name: archive[name] for name in ("report", "period", "edition")},
            "subject": archive["subject"]["code"],
            "files": issue.document["files"],
            "signed_by": by,
            "signed_at": at.astimezone(UTC).isoformat(),
        }
    )
    for path in (issue.folder / ARCHIVE, issue.folder / ISSUE, *issue.files):
        path.chmod(_READ_ONLY)
    write_file(issue.folder / SIGNED, json.dumps(signed, ensure_ascii=False, indent=1).encode())
    return signed


def verify(issue: Issue, key: PublicKey) -> list[str]:
    """What is wrong with a signed issue; nothing where it stands as it was signed."""
    try:
        signed = _signature(issue)
        key.verify(signed)
    except SignatureError as error:
        return [str(error)]
    changed = [name for name in issue.damaged() or [] if name in signed["files"]]
    return [f"{name}: changed after it was signed" for name in changed] + (
        [] if signed["files"] == issue.document["files"] else ["issue.json: changed"]
    )


def sources(home: Path, issue: Issue) -> Report:
    """The report as it was when the issue was made; raises ReportStopped where a file of it is gone."""
    archive = json.loads(issue.archive)
    files = {}
    for name, made_of in archive["made_of"].items():
        path = reports_of(home) / MADE_OF / made_of
        if not path.exists() or digest(path.read_bytes()) != made_of:
            raise ReportStopped(f"{issue.folder}: expected its {name} at {path}, it is gone or changed; restore it from a backup")
        files[name] = path.read_bytes()
    return of_sources(archive["report"], files)


def changes(report: Report, was: Mapping[str, Any], results: Results) -> list[dict[str, Any]]:
    """Every cell that is not as it was: query, the row and column by name, both values as they are printed."""
    found = []
    for name, rows in results.items():
        before, now = _keyed(report, name, was["results"].get(name, [])), _keyed(report, name, rows)
        for row in dict.fromkeys([*now, *before]):
            columns = dict.fromkeys([*now.get(row, {}), *before.get(row, {})])
            found += [
                {
                    "query": name,
                    "title": "关键数据" if name == NUMBERS else report.listed(name).title or name,
                    "row": _row_name(_keys(report, name, now.get(row) or before[row]), row, now.get(row) or before[row], Period.named(was["period"])),
                    "column": column,
                    "heading": was["headings"].get(name, {}).get(column, column),
                    "was": _printed(before, row, column),
                    "now": _printed(now, row, column),
                }
                for column in columns
                if before.get(row, {}).get(column) != now.get(row, {}).get(column)
            ]
    return found


def _keys(report: Report, name: str, row: Row) -> tuple[str, ...]:
    """The columns that tell a row from the others of its query; none where there is only one."""
    if name == NUMBERS and report.numbers:
        return (WHICH,)
    return () if report.queries[name].rows == "one" else report.listed(name).key or tuple(row)[:1]


def _keyed(report: Report, name: str, rows: list[Row]) -> dict[tuple[str, ...], Row]:
    """Rows by what tells them apart; rows that nothing tells apart by their place as well."""
    keyed: dict[tuple[str, ...], Row] = {}
    for row in rows:
        key = named = tuple(str(row[column]) for column in _keys(report, name, row))
        place = 1
        while key in keyed:
            place += 1
            key = (*named, f"第{place}行")
        keyed[key] = row
    return keyed


def _row_name(columns: tuple[str, ...], key: tuple[str, ...], row: Row, period: Period) -> str:
    """As the report prints it: of a code the name beside it, of a period 本周."""
    words = {NOW: period.words["this"], BEFORE: period.words["before"], YEAR_AGO: period.words["year_ago"]}
    names = [
        str(row.get(c.removesuffix("_code") + "_name") or k) if c.endswith("_code") else words.get(k, k) for c, k in zip(columns, key, strict=False)
    ]
    return " ".join([*names, *key[len(columns) :]])


def _printed(rows: Mapping[tuple[str, ...], Row], row: tuple[str, ...], column: str) -> str:
    value = rows[row].get(column) if row in rows else None
    if value is None or isinstance(value, str):
        return value or wording.NONE
    return f"{value:,}" if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _archive(
    snapshot: Snapshot, report: Report, subject: Subject, period: Period, results: Results, edition: int, replaced: dict[str, Any] | None
) -> bytes:
    manifest = snapshot.manifest
    words = _words(snapshot, report)
    document = {
        "report": report.name,
        "title": report.title,
        "subject": asdict(subject),
        "period": str(period),
        "edition": edition,
        "replaces": replaced,
        "snapshot": {
            "id": snapshot.id,
            "as_of": manifest.as_of.isoformat(),
            "time_zone": manifest.region_systems[subject.system].time_zone,
            "contracts": dict(manifest.contracts),
            "models": dict(manifest.models),
            "code_digest": manifest.code_digest,
        },
        "made_of": {name: digest(content) for name, content in sorted(report.sources.items())},
        "words": words,
        "headings": {name: _headings(snapshot, report, words, name, rows) for name, rows in results.items()},
        "results": results,
    }
    return json.dumps(document, ensure_ascii=False, indent=1).encode()


def _words(snapshot: Snapshot, report: Report) -> dict[str, dict[str, str]]:
    """What the mart columns of the key numbers are called and mean, by mart and column."""
    marts = snapshot.dictionary.get("marts", {})
    words = {}
    for column in (number.column for number in report.numbers if number.column):
        mart, _, name = column.partition(".")
        said = marts.get(mart, {}).get("columns", {}).get(name)
        if not said or not said["description"]:
            raise ReportStopped(f"{report.name}: expected a description of mart.{column}, found none; write one in dbt's YAML and publish again")
        words[column] = said
    return words


def _headings(snapshot: Snapshot, report: Report, words: Mapping[str, Mapping[str, str]], name: str, rows: list[Row]) -> dict[str, str]:
    declared = dict(report.listed(name).headings)
    if name == NUMBERS:
        declared |= {n.name: n.title or words[n.column or ""]["label"] for n in report.numbers}
    return {column: declared.get(column) or _label(snapshot, column) for column in (rows[0] if rows else ())}


def _label(snapshot: Snapshot, column: str) -> str:
    """What marts call a column of that name where they agree; its name where they do not."""
    marts = snapshot.dictionary.get("marts", {}).values()
    labels = {mart["columns"][column]["label"] for mart in marts if column in mart["columns"]}
    return labels.pop() if len(labels) == 1 else column


def _stem(report: Report, subject: Subject, period: Period, edition: int) -> str:
    return f"{report.name}-{subject.file_name}-{period}" + (f"-{edition}" if edition > 1 else "")


def _editions(place: Path) -> list[Issue]:
    folders = sorted((p for p in place.glob("[1-9]*") if (p / ISSUE).exists()), key=lambda p: int(p.name))
    return [_read(folder / ISSUE) for folder in folders]


def _read(path: Path) -> Issue:
    return Issue(path.parent, json.loads(path.read_text(encoding="utf-8")))


def _signature(issue: Issue) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((issue.folder / SIGNED).read_text(encoding="utf-8"))
    return found
