"""Word templates that officials edit: what is looked at before one is taken, and which version of each is in force in a lake.

A template is text of somebody else's: it is filled in within a sandbox, and one that brings macros, other documents or addresses of its own is
refused.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from docx.opc.exceptions import PackageNotFoundError
from docxtpl import DocxTemplate
from jinja2 import nodes

from gridlake.settings import Settings
from gridlake.tables import make_folder, write_file
from serving.reports.content import Figure, environment
from serving.reports.declaration import NUMBERS, Report, ReportStopped, digest, load_reports
from serving.reports.issues import reports_of

TEMPLATES, VERSIONS = "_templates", "versions.json"
# What every report says at its head; the source of its numbers is put below it without the template's doing.
REQUIRED = ("subject.name", "period.text", "edition")
# An official's template has pictures, not more; and what it unpacks to is read into memory.
_LARGEST, _LARGEST_UNPACKED = 5 << 20, 50 << 20
_ACTIVE = re.compile(r"vbaProject|vbaData|activeX|embeddings/|externalLinks|\.bin$", re.IGNORECASE)
_EXTERNAL = re.compile(r'<Relationship\b[^>]*TargetMode="External"[^>]*>')
_FETCHING = re.compile(r"<w:instrText[^>]*>\s*(DDE|DDEAUTO|INCLUDETEXT|INCLUDEPICTURE|MACROBUTTON)\b", re.IGNORECASE)
_FORBIDDEN = (nodes.Macro, nodes.CallBlock, nodes.Import, nodes.FromImport, nodes.Include, nodes.Extends)
_KEEPING_ROWS = {"selectattr", "rejectattr", "sort", "list", "reverse", "unique"}


def declared(settings: Settings) -> dict[str, Report]:
    """Every report by name, each with the newest template that was added to the lake, its own where none was."""
    return {name: in_force(settings.home, report) for name, report in load_reports(settings).items()}


def in_force(home: Path, report: Report) -> Report:
    """The report with the newest template added to the lake; raises ReportStopped where that file is not as it was added."""
    found = versions(home, report.name)
    if not found:
        return report
    newest = found[-1]
    path = _folder(home, report.name) / f"{newest['version']}.docx"
    if not path.exists() or digest(path.read_bytes()) != newest["digest"]:
        raise ReportStopped(f"{path}: expected the template with digest {newest['digest'][:16]}, it is gone or changed; add it again")
    return report.with_template(path.read_bytes())


def versions(home: Path, name: str) -> list[dict[str, Any]]:
    """The templates added for a report, oldest first: version, digest, file, by whom and when."""
    path = _folder(home, name) / VERSIONS
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    return found


def add(home: Path, report: Report, content: bytes, file: str, by: str, at: datetime) -> dict[str, Any]:
    """Take a checked template as the next version; the one in force again is no new version."""
    found = versions(home, report.name)
    if found and found[-1]["digest"] == digest(content):
        return found[-1]
    version = {"version": len(found) + 1, "digest": digest(content), "file": file, "by": by, "at": at.astimezone(UTC).isoformat()}
    folder = _folder(home, report.name)
    make_folder(folder)
    write_file(folder / f"{version['version']}.docx", content)
    write_file(folder / VERSIONS, json.dumps([*found, version], ensure_ascii=False, indent=1).encode())
    return version


def problems(report: Report, columns: Mapping[str, list[str]], content: bytes) -> list[str]:
    """What speaks against a template: macros and the like, placeholders that the report does not have, and ones that are missing.

    `columns` are those that each query gives.
    """
    found = list(_active(content))
    if found:
        return found
    try:
        texts = _jinja(content)
    except (PackageNotFoundError, KeyError, ValueError, zipfile.BadZipFile) as error:
        return [f"not a Word document: {error}; save it as .docx"]
    reader = _Reader(_shapes(report, columns))
    for text in texts:
        try:
            reader.read(environment(autoescape=True).parse(text))
        except jinja2.TemplateSyntaxError as error:
            found.append(f"a placeholder cannot be read: {error.message}; write {{{{ name }}}} in one go, without changing type or colour within it")
    found += reader.problems
    said = _Reader(_shapes(report, columns))
    for sentence in report.sentences:
        said.read(environment(autoescape=False).parse(sentence))
    return found + list(_missing(report, reader.used, said.used))


def _missing(report: Report, used: set[str], said: set[str]) -> Iterator[str]:
    tops = {name.partition(".")[0] for name in used}
    wanted = [(name, name in used) for name in REQUIRED]
    wanted += [("sentences", "sentences" in tops)] if report.sentences else []
    wanted += [(f"charts.{chart.name}", f"charts.{chart.name}" in used) for chart in report.charts]
    drawn = {chart.query for chart in report.charts}
    told = {name.partition(".")[0] for name in said} if "sentences" in tops else set()
    wanted += [(name, name in tops or name in drawn or name in told) for name in report.queries if name != NUMBERS or not report.numbers]
    if report.numbers and NUMBERS in tops and not used & {"numbers.values", "numbers.items"}:
        wanted += [(f"numbers.{n.name}", f"numbers.{n.name}" in used) for n in report.numbers]
    elif report.numbers:
        wanted.append((NUMBERS, NUMBERS in tops))
    for name, is_there in wanted:
        if not is_there:
            yield f"missing placeholder: {name}; put it back, or take it out of the report's declaration"


def _active(content: bytes) -> Iterator[str]:
    if len(content) > _LARGEST:
        yield f"expected a template of at most {_LARGEST >> 20} MB, came {len(content) >> 20} MB; make its pictures smaller"
        return
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > _LARGEST_UNPACKED:
                yield f"expected at most {_LARGEST_UNPACKED >> 20} MB unpacked; make its pictures smaller"
                return
            parts = {entry.filename: archive.read(entry) for entry in entries if entry.filename.endswith((".xml", ".rels"))}
            active = sorted(entry.filename for entry in entries if _ACTIVE.search(entry.filename))
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError):
        yield "not a Word document; save it as .docx without a password"
        return
    if active or b"macroEnabled" in parts.get("[Content_Types].xml", b""):
        yield f"macro or embedded object: {', '.join(active) or 'a document with macros'}; save it as .docx without them"
    for name, part in parts.items():
        text = part.decode("utf-8", errors="replace")
        for relation in _EXTERNAL.findall(text):
            if "relationships/hyperlink" not in relation:
                yield f"fetched from elsewhere: {name} names a file outside the document; put pictures into it, attach no template"
        if _FETCHING.search(text):
            yield f"a field that fetches or starts something: {name}; take the field out"


def _jinja(content: bytes) -> list[str]:
    template = DocxTemplate(io.BytesIO(content))
    template.init_docx()
    texts = [template.patch_xml(template.get_xml())]
    for uri in (DocxTemplate.HEADER_URI, DocxTemplate.FOOTER_URI):
        texts += [template.patch_xml(template.get_part_xml(part)) for _, part in template.get_headers_footers(uri)]
    return texts


# What a name of a template stands for: the names below it, the rows that it is a list of, or (None) something that is printed.
@dataclass(frozen=True)
class _Record:
    fields: Mapping[str, Any]


@dataclass(frozen=True)
class _Many:
    of: Any = None


def _shapes(report: Report, columns: Mapping[str, list[str]]) -> dict[str, Any]:
    def record(*names: str) -> _Record:
        return _Record(dict.fromkeys(names))

    rows = {
        name: record(*columns[name]) if query.rows == "one" else _Many(record(*columns[name]))
        for name, query in report.queries.items()
        if name != NUMBERS or not report.numbers
    }
    figure = record(*Figure.__dataclass_fields__)
    return {
        "title": None,
        "below": None,
        "edition": None,
        "sentences": _Many(),
        "subject": record("code", "name", "system", "level"),
        "period": record("text", "name", "first", "last", "this", "before", "year_ago"),
        "snapshot": record("id", "as_of", "time_zone", "contracts", "models", "code_digest", "digest"),
        "charts": record(*(chart.name for chart in report.charts)),
        **({NUMBERS: _Record({n.name: figure for n in report.numbers} | {"values": _Many(figure), "items": _Many()})} if report.numbers else {}),
        **rows,
    }


@dataclass
class _Reader:
    """Walks through the placeholders of a template: which it uses, and which its report does not have."""

    known: Mapping[str, Any]
    used: set[str] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def read(self, template: nodes.Template) -> None:
        """Follow every branch, whether the data of the day reach it or not."""
        self._body(template.body, {"compared": None, "namespace": None, "loop": None})

    def _body(self, body: list[nodes.Node], scope: dict[str, Any]) -> None:
        for node in body:
            self._statement(node, scope)

    def _statement(self, node: nodes.Node, scope: dict[str, Any]) -> None:
        if isinstance(node, _FORBIDDEN):
            self._say(f"{type(node).__name__.lower()} in a template; a template shows what the report gives and nothing else")
        elif isinstance(node, nodes.For):
            rows = self._shape(node.iter, scope)
            below = dict(scope)
            for target in node.target.find_all(nodes.Name) if not isinstance(node.target, nodes.Name) else [node.target]:
                below[target.name] = rows.of if isinstance(rows, _Many) else None
            if node.test:
                self._shape(node.test, below)
            self._body(node.body, below)
            self._body(node.else_, scope)
        elif isinstance(node, nodes.Assign):
            shape = self._shape(node.node, scope)
            for target in [node.target] if isinstance(node.target, nodes.Name) else node.target.find_all(nodes.Name):
                scope[target.name] = shape if isinstance(node.target, nodes.Name) else None
        elif isinstance(node, nodes.If):
            self._shape(node.test, scope)
            for body in (node.body, node.elif_, node.else_):
                self._body(list(body), scope)
        elif isinstance(node, nodes.Expr):
            self._shape(node, scope)
        else:
            for child in node.iter_child_nodes():
                self._statement(child, scope)

    def _shape(self, node: nodes.Node, scope: Mapping[str, Any]) -> Any:
        if isinstance(node, nodes.Name):
            return self._named(node.name, scope)
        if isinstance(node, nodes.Getattr):
            return self._attribute(node, self._shape(node.node, scope), node.attr)
        if isinstance(node, nodes.Getitem):
            above = self._shape(node.node, scope)
            if isinstance(above, _Record) and isinstance(node.arg, nodes.Const):
                return self._attribute(node, above, str(node.arg.value))
            return above if isinstance(node.arg, nodes.Slice) else above.of if isinstance(above, _Many) else None
        if isinstance(node, nodes.Call):
            above = self._shape(node.node, scope)
            for argument in [*node.args, *(k.value for k in node.kwargs)]:
                self._shape(argument, scope)
            return above
        if isinstance(node, nodes.Filter):
            return self._filtered(node, scope)
        if isinstance(node, nodes.Test) and node.name in ("defined", "undefined"):
            return None  # asking whether there is one shows nothing
        for child in node.iter_child_nodes():
            self._shape(child, scope)
        return None

    def _named(self, name: str, scope: Mapping[str, Any]) -> Any:
        if name in scope:
            return scope[name]
        if name in self.known:
            self.used.add(name)
            return self.known[name]
        self._say(f"unknown placeholder: {name}; the report has {', '.join(sorted(self.known))}")
        return None

    def _attribute(self, node: nodes.Getattr | nodes.Getitem, above: Any, name: str) -> Any:
        if isinstance(node.node, nodes.Name):
            self.used.add(f"{node.node.name}.{name}")
        if not isinstance(above, _Record):
            return None
        if name not in above.fields:
            where = node.node.name if isinstance(node.node, nodes.Name) else "it"
            self._say(f"unknown placeholder: {where}.{name}; {where} has {', '.join(sorted(above.fields))}")
        return above.fields.get(name)

    def _filtered(self, node: nodes.Filter, scope: Mapping[str, Any]) -> Any:
        above = self._shape(node.node, scope) if node.node else None
        for argument in [*node.args, *(k.value for k in node.kwargs)]:
            self._shape(argument, scope)
        by = [a for a in node.args[:1] if node.name in ("selectattr", "rejectattr")] + [k.value for k in node.kwargs if k.key == "attribute"]
        if isinstance(above, _Many) and isinstance(above.of, _Record):
            for column in (str(b.value) for b in by if isinstance(b, nodes.Const)):
                if column not in above.of.fields:
                    self._say(f"unknown placeholder: attribute {column}; a row has {', '.join(sorted(above.of.fields))}")
        if node.name in _KEEPING_ROWS:
            return above
        if node.name == "map":
            return _Many()
        return above.of if node.name in ("first", "last") and isinstance(above, _Many) else None

    def _say(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)


def _folder(home: Path, name: str) -> Path:
    return reports_of(home) / TEMPLATES / name
