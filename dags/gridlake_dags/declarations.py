"""What the DAGs are generated from, read as YAML: contracts, senders, reports, backfills. It judges nothing: `gridlake feed check` does.

Airflow's environment holds no gridlake, so nothing of it is imported. The folders are those that gridlake itself reads: the checkout's, and
GRIDLAKE_CONTRACTS beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(os.environ.get("GRIDLAKE_PROJECT") or Path(__file__).resolve().parents[2])
_PREFIX, _SUFFIX = "gridlake.", ".odcs.yaml"
# libyaml, where PyYAML was built with it: a tenth of the time.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class DeclarationError(Exception):
    """A declaration that no DAG can be made of; Airflow shows it as an import error of the file."""


@dataclass(frozen=True)
class Feed:
    """What a DAG goes by of one contract. `waits_for` are the feeds whose rows a gate of this one looks for."""

    source: str
    name: str
    title: str
    purpose: str
    owner: str
    every: str
    path: Path
    senders: Mapping[str, str]
    waits_for: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """`<source>__<feed>`."""
        return f"{self.source}__{self.name}"

    @property
    def asked(self) -> str:
        """`<source>.<feed>`, as commands name it."""
        return f"{self.source}.{self.name}"

    @property
    def is_per_city(self) -> bool:
        """Whether more than one sender sends it, so that each is landed by a task of its own."""
        return len(self.senders) > 1


@dataclass(frozen=True)
class Report:
    """What a DAG goes by of one report: its period, how many days later it is due at the earliest (0: the day after), and at what local time.

    `recipients` are the roles that it is mailed to.
    """

    name: str
    title: str
    period: str
    days_after: int
    hour: int
    minute: int
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True)
class Backfill:
    """A reviewed file of `backfills/`: which days of a feed are landed late, from where, why, and who let it."""

    name: str
    feed: str
    first: date
    last: date
    folder: str
    files: str
    reason: str
    asked_by: str
    approved_by: str
    days_may_lack: bool = False

    @property
    def days(self) -> list[date]:
        """Every day of the range."""
        return [self.first + timedelta(days=n) for n in range((self.last - self.first).days + 1)]


@cache
def feeds() -> dict[str, Feed]:
    """Every feed that is in force, by id."""
    contracts = dict(_contracts())
    senders = _senders()
    entities = {feed: _own(document).get("defines") or _own(document).get("conformsTo") for feed, document in contracts.items()}
    found = {}
    for (source, name, path), document in contracts.items():
        family = name.partition("_v")[0] if ".v" in path.name else name
        awaited = _awaited(document)
        found[f"{source}__{name}"] = Feed(
            source,
            name,
            str(document["name"]),
            str(document["description"]["purpose"]),
            str((document.get("team") or {}).get("name") or source),
            _every(document),
            path,
            {code: sender["name"] for code, sender in senders.items() if f"{source}.{family}" in sender["feeds"]},
            tuple(sorted(f"{s}__{n}" for (s, n, p), entity in entities.items() if entity in awaited and (s, n) != (source, name))),
        )
    return found


@cache
def reports() -> list[Report]:
    """Every report that has a timetable: the built-in ones, and over them those of GRIDLAKE_CONTRACTS/reports."""
    folders = [PROJECT / "serving" / "reports", *_given("reports")]
    documents = {path.parent.name: _read(path) for folder in folders for path in sorted(folder.glob("*/report.yml"))}
    found = []
    for name, document in documents.items():
        if not (timetable := document.get("timetable")):
            continue
        period, (minute, hour, *days) = str(timetable["period"]), str(timetable["cron"]).split()
        declared = documents.get(str(document.get("like")), {}) | document
        to = tuple(str(role) for role in declared.get("recipients") or ())
        found.append(Report(name, str(document["title"]), period, _days_after(period, *days), int(hour), int(minute), to))
    return found


def _days_after(period: str, day: str, month: str, weekday: str) -> int:
    """How many days after the first day of the next period the day lies that a cron line names."""
    if period == "week":
        return int(weekday) - 1
    return int(day) - 1 if period == "month" else (date(2001, int(month), int(day)) - date(2001, 1, 1)).days


@cache
def backfills() -> list[Backfill]:
    """Every backfill that was approved and is not done. Raises DeclarationError where one was let by nobody, or by who asked for it."""
    folder = Path(os.environ.get("GRIDLAKE_BACKFILLS") or PROJECT / "dags" / "backfills")
    found = []
    for path in sorted(folder.glob("*.yml")):
        document = _read(path)
        status = document.get("status")
        if status not in {"proposed", "approved", "done"}:
            raise DeclarationError(f"{path}: status: expected proposed, approved or done, came {status!r}; correct it")
        if status != "approved":
            continue
        try:
            backfill = Backfill(
                path.stem, str(document["feed"]), document["from"], document["to"], str(document["folder"]), str(document["files"]),
                str(document["reason"]), str(document["asked_by"]), str(document["approved_by"]), bool(document.get("days_may_lack", False)),
            )  # fmt: skip
        except KeyError as missing:
            raise DeclarationError(f"{path}: expected {missing}, it is not there; see docs/how-to/run-in-airflow.md") from None
        if backfill.approved_by == backfill.asked_by:
            raise DeclarationError(f"{path}: approved_by: expected somebody else than {backfill.asked_by}, who asked for it; have it reviewed")
        if "{date}" not in backfill.files or not backfill.days:
            raise DeclarationError(f"{path}: expected `files` with {{date}} in it and `from` not after `to`; correct it")
        found.append(backfill)
    return found


def _contracts() -> Iterator[tuple[tuple[str, str, Path], dict[str, Any]]]:
    for folder in _folders("contracts"):
        for path in sorted(folder.glob(f"*/*{_SUFFIX}")):
            document = _read(path)
            if document.get("status") != "retired":
                # `event.v2.odcs.yaml` is the feed event_v2.
                yield (path.parent.name, path.name.removesuffix(_SUFFIX).replace(".v", "_v"), path), document


def _senders() -> dict[str, dict[str, Any]]:
    return {path.stem: _read(path) for folder in _folders("senders") for path in sorted(folder.glob("*.yml"))}


def _folders(kind: str) -> list[Path]:
    return [PROJECT / "expectations" / kind, *_given(kind)]


def _given(kind: str) -> list[Path]:
    """Of GRIDLAKE_CONTRACTS, which holds contracts themselves, and further folders in it."""
    given = os.environ.get("GRIDLAKE_CONTRACTS")
    return [Path(given) if kind == "contracts" else Path(given) / kind] if given else []


def _awaited(document: Mapping[str, Any]) -> set[str]:
    """The entities that the contract's gates wait for."""
    columns = [_own(column) for column in document["schema"][0]["properties"]]
    return {column["localIdOf"] for column in columns if column.get("gate") and "localIdOf" in column}


def _every(document: Mapping[str, Any]) -> str:
    for promise in document.get("slaProperties") or ():
        if promise["property"] == "frequency":
            units = {"d": "日", "w": "周", "m": "月", "y": "年"}
            unit = units.get(promise["unit"], promise["unit"])
            return f"每{unit}" if promise["value"] == 1 else f"每 {promise['value']} {unit}"
    return "未约定"


def _own(entry: Mapping[str, Any]) -> dict[str, Any]:
    """What gridlake adds to ODCS, by name."""
    return {str(p["property"]).removeprefix(_PREFIX): p["value"] for p in entry.get("customProperties") or ()}


def _read(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)  # noqa: S506 - a safe one
    return document
