"""What changed between two states of a contract or of a folder of them, how grave it is, and the version number it asks for.

Semantic versions are read from the sender's side. Major: a sender must change what it sends, or stored values mean
something else. Minor: whatever was right stays right, and more is allowed or read another way. Patch: words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from packaging.version import Version

from gridlake import vocabularies
from gridlake.contracts.load import SUFFIX, load
from gridlake.contracts.model import Column, Contract, ContractError, Rule
from gridlake.vocabularies import Vocabulary

Kind = Literal["breaking", "additive", "meaning-changing", "wording"]
Level = Literal["major", "minor", "patch"]
_LEVELS: tuple[Level, ...] = ("patch", "minor", "major")
_UNIT = re.compile(r"(?:单位|\bunit\b)\s*[：:=]\s*([^\s，。；,;]+)")
# More codes than this of one list are counted, not listed: a new year's divisions change thousands.
_CODES_LISTED = 10
# A feed may be taken out after it has been announced as leaving.
_LEAVING = frozenset({"deprecated", "retired"})


@dataclass(frozen=True)
class Change:
    """One difference, with what the sender does about it."""

    place: str
    kind: Kind
    level: Level
    what: str
    sender: str

    def __str__(self) -> str:
        return f"{self.kind} ({self.level}) {self.place}: {self.what}; {self.sender}"

    def as_json(self) -> dict[str, str]:
        """The change for --json."""
        return {"place": self.place, "kind": self.kind, "level": self.level, "what": self.what, "sender": self.sender}


@dataclass(frozen=True)
class Verdict:
    """The changes of one feed and whether its new version number says so; `old_version` or `new_version` is None where it is not there."""

    feed: str
    old_version: str | None
    new_version: str | None
    changes: tuple[Change, ...]
    needed_version: str | None
    suffices: bool

    def as_json(self) -> dict[str, Any]:
        """The verdict for --json."""
        return {
            "feed": self.feed,
            "old_version": self.old_version,
            "new_version": self.new_version,
            "needed_version": self.needed_version,
            "suffices": self.suffices,
            "changes": [c.as_json() for c in self.changes],
        }


def diff(old: Contract, new: Contract) -> list[Change]:
    """Every change from one contract to another, gravest first."""
    changes = [*_columns(old, new), *_key(old, new), *_rules(old, new), *_header(old, new)]
    return sorted(changes, key=lambda c: -_LEVELS.index(c.level))


def diff_vocabulary(name: str, old: pa.Table, new: pa.Table) -> list[Change]:
    """Every change of a code list: codes gone, new, renamed, or with other attributes."""
    place = f"vocabulary {name}"
    before, after = _by_code(old), _by_code(new)
    gone, come = [c for c in before if c not in after], [c for c in after if c not in before]
    changes = []
    if gone:
        changes.append(Change(place, "meaning-changing", "major", f"codes gone: {_listed(gone)}", "stop sending them; recode what is still open"))
    if come:
        changes.append(Change(place, "meaning-changing", "minor", f"codes new: {_listed(come)}", "nothing to do until you use them"))
    kept = [c for c in before if c in after]
    renamed = [c for c in kept if before[c].get("name_zh") != after[c].get("name_zh")]
    if renamed:
        words = _listed([f"{c} {before[c].get('name_zh')} → {after[c].get('name_zh')}" for c in renamed])
        changes.append(Change(place, "meaning-changing", "minor", f"names changed: {words}", "see whether the code still means the same to you"))
    other = [c for c in kept if c not in renamed and before[c] != after[c]]
    if other:
        changes.append(Change(place, "meaning-changing", "minor", f"attributes changed of {_listed(other)}", "nothing to send otherwise"))
    return changes


def judge(feed: str, old: str, new: str, changes: Iterable[Change]) -> Verdict:
    """Whether the step from one version number to the other says what the changes are."""
    found = tuple(changes)
    needed = next_version(old, max((c.level for c in found), key=_LEVELS.index) if found else None)
    return Verdict(feed, old, new, found, needed, Version(new) >= Version(needed))


def next_version(version: str, level: Level | None) -> str:
    """The smallest version that says a change of this level; before 1.0.0 a minor step may break."""
    major, minor, patch = (*Version(version).release, 0, 0)[:3]
    if level is None:
        return version
    if level == "major" and major > 0:
        return f"{major + 1}.0.0"
    if level in {"major", "minor"}:
        return f"{major}.{minor + 1}.0"
    return f"{major}.{minor}.{patch + 1}"


def compare(old: Path, new: Path) -> list[Verdict]:
    """Verdicts on two contract files, or feed by feed on two folders with the vocabularies below them.

    Changes of a code list count for every contract that uses it in both states; those of no contract's list stand alone.
    """
    for path in (old, new):
        if not path.exists():
            raise ContractError(f"{path}: expected a contract file or a folder of contracts, found nothing; check the path")
    if old.is_file() and new.is_file():
        before, after = load(old), load(new)
        return [judge(after.id, before.version, after.version, diff(before, after))]
    if old.is_file() or new.is_file():
        raise ContractError(f"{old} and {new}: expected two files or two folders, came one of each; name the same sort twice")
    return _compare_folders(old, new)


def _compare_folders(old: Path, new: Path) -> list[Verdict]:
    before, after = _contracts_below(old), _contracts_below(new)
    lists = _vocabulary_changes(_vocabularies_below(old), _vocabularies_below(new))
    verdicts, used = [], set()
    for feed in sorted({*before, *after}):
        if feed not in after:
            leaving = before[feed].status in _LEAVING
            gone = Change("contract", "breaking", "major", "the contract is gone", "stop sending this feed; further files are refused whole")
            verdicts.append(Verdict(feed, before[feed].version, None, (gone,), None, leaving))
        elif feed not in before:
            come = Change("contract", "additive", "minor", "the contract is new", "agree on access, then send a first file")
            verdicts.append(Verdict(feed, None, after[feed].version, (come,), None, True))
        else:
            names = {c.code_list for c in after[feed].columns if c.code_list} & {c.code_list for c in before[feed].columns}
            used |= names
            of_lists = [change for name in sorted(filter(None, names)) for change in lists.get(name, ())]
            changes = [*diff(before[feed], after[feed]), *of_lists]
            if changes or before[feed].version != after[feed].version:
                verdicts.append(judge(feed, before[feed].version, after[feed].version, changes))
    for name in sorted(set(lists) - used):
        verdicts.append(Verdict(f"vocabulary {name}", None, None, tuple(lists[name]), None, True))
    return verdicts


def _contracts_below(folder: Path) -> dict[str, Contract]:
    return {contract.id: contract for contract in (load(path) for path in sorted(folder.rglob(f"*{SUFFIX}")))}


def _vocabularies_below(folder: Path) -> dict[str, Vocabulary]:
    return {path.stem: vocabularies.load(path) for path in sorted(folder.rglob("*.csv")) if path.parent.name == "vocabularies"}


def _vocabulary_changes(old: Mapping[str, Vocabulary], new: Mapping[str, Vocabulary]) -> dict[str, list[Change]]:
    changes: dict[str, list[Change]] = {}
    for name in {*old, *new}:
        if name in old and name in new:
            found = diff_vocabulary(name, old[name].rows, new[name].rows)
        elif name in new:
            found = [Change(f"vocabulary {name}", "additive", "minor", "the list is new", "nothing to do until a contract uses it")]
        else:
            found = [Change(f"vocabulary {name}", "breaking", "major", "the list is gone", "ask which list replaces it")]
        if found:
            changes[name] = found
    return changes


def _by_code(rows: pa.Table) -> dict[str, dict[str, Any]]:
    names = [n for n in ("region_system", "region_code", "code", "date") if n in rows.column_names]
    return {" ".join(str(row[n]) for n in names): row for row in rows.to_pylist()}


def _listed(words: list[Any]) -> str:
    shown = ", ".join(str(w) for w in words[:_CODES_LISTED])
    return shown if len(words) <= _CODES_LISTED else f"{shown} and {len(words) - _CODES_LISTED} more"


def _columns(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = {c.name: c for c in old.columns}, {c.name: c for c in new.columns}
    for name, column in before.items():
        if name not in after:
            sender = "drop the column from what you send" if name not in new.ignored_columns else "you may go on sending it; it is not kept"
            yield Change(f"column {name}", "breaking", "major", f"{column.title} is removed", sender)
    for name, column in after.items():
        if name not in before:
            if column.required:
                yield Change(f"column {name}", "breaking", "major", f"{column.title} is new and required", "fill it in every row")
            else:
                yield Change(f"column {name}", "additive", "minor", f"{column.title} is new", "send it where you have it")
        else:
            yield from _column(before[name], column)


def _column(old: Column, new: Column) -> Iterator[Change]:
    place = f"column {new.name}"
    if old.logical_type != new.logical_type:
        yield Change(place, "breaking", "major", f"type {old.logical_type} → {new.logical_type}", "send the new type")
    if new.required and not old.required:
        yield Change(place, "breaking", "major", "is now required", "fill it in every row")
    if old.required and not new.required:
        yield Change(place, "additive", "minor", "is no longer required", "nothing; it may be empty now")
    yield from _limit(place, "minLength", old.min_length, new.min_length, lambda o, n: n < o)
    yield from _limit(place, "maxLength", old.max_length, new.max_length, lambda o, n: n > o)
    yield from _limit(place, "minimum", old.minimum, new.minimum, lambda o, n: n < o)
    yield from _limit(place, "maximum", old.maximum, new.maximum, lambda o, n: n > o)
    # Whether one pattern allows all that another does cannot be seen from the two texts.
    yield from _limit(place, "pattern", old.pattern, new.pattern, lambda _o, _n: False)
    if old.format != new.format:
        yield Change(place, "breaking", "major", f"format {old.format} → {new.format}", "write it in the new format")
    yield from _values(place, old.values, new.values)
    old_unit, new_unit = _unit(old), _unit(new)
    if old_unit != new_unit:
        yield Change(place, "meaning-changing", "major", f"unit {old_unit} → {new_unit}", "convert the numbers")
    if old.classification != new.classification:
        level: Level = "major" if "L4" in {old.classification, new.classification} else "minor"
        what = f"classification {old.classification} → {new.classification}"
        yield Change(place, "meaning-changing", level, what, "send it as before; it is kept otherwise")
    yield from _meaning(place, old, new)
    if (old.title, old.description, old.examples) != (new.title, new.description, new.examples) and old_unit == new_unit:
        yield Change(place, "wording", "patch", "title, description or examples reworded", "read them once")


def _limit(place: str, name: str, old: Any, new: Any, is_wider: Callable[[Any, Any], bool]) -> Iterator[Change]:
    if old == new:
        return
    if new is None:
        yield Change(place, "additive", "minor", f"{name} {old} is lifted", "nothing; more is allowed")
    elif old is None:
        yield Change(place, "breaking", "major", f"{name} {new} is new", "keep to it; other rows are refused")
    elif is_wider(old, new):
        yield Change(place, "additive", "minor", f"{name} {old} → {new}", "nothing; more is allowed")
    else:
        yield Change(place, "breaking", "major", f"{name} {old} → {new}", "keep to the new limit; other rows are refused")


def _values(place: str, old: tuple[Any, ...], new: tuple[Any, ...]) -> Iterator[Change]:
    gone, come = [v for v in old if v not in new], [v for v in new if v not in old]
    if not old and new:
        yield Change(place, "meaning-changing", "major", f"only {_listed(list(new))} are allowed now", "send these values only")
    elif old and not new:
        yield Change(place, "meaning-changing", "minor", "any value is allowed now", "nothing to do")
    else:
        if gone:
            yield Change(place, "meaning-changing", "major", f"values gone: {_listed(gone)}", "stop sending them")
        if come:
            yield Change(place, "meaning-changing", "minor", f"values new: {_listed(come)}", "nothing to do until you use them")


def _meaning(place: str, old: Column, new: Column) -> Iterator[Change]:
    for name, before, after, sender in (
        ("code list", old.code_list, new.code_list, "recode by the new list"),
        ("localIdOf", old.local_id_of, new.local_id_of, "send the id of that entity"),
        ("region", old.is_region, new.is_region, "send region codes of your own area, or other text"),
        ("position", old.position, new.position, "see which coordinate belongs here"),
        ("versionOrder", old.version_order, new.version_order, "see what tells newer from older now"),
    ):
        if before != after:
            yield Change(place, "meaning-changing", "major", f"{name} {before or 'none'} → {after or 'none'}", sender)
    if old.is_gate != new.is_gate:
        what = "a row waits until what it names has arrived" if new.is_gate else "a row no longer waits for what it names"
        yield Change(place, "meaning-changing", "minor", what, "send what is named first, or soon after")
    if old.redact != new.redact:
        what = "free text is redacted now" if new.redact else "free text is no longer redacted"
        yield Change(place, "meaning-changing", "minor", what, "send it as before")


def _key(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = [c.name for c in old.key], [c.name for c in new.key]
    if before != after:
        what = f"{', '.join(before)} → {', '.join(after)}"
        yield Change("key", "breaking", "major", what, "see that the new key names one thing; send everything anew")


def _rules(old: Contract, new: Contract) -> Iterator[Change]:
    before, after = {r.name: r for r in old.rules}, {r.name: r for r in new.rules}
    for name, rule in before.items():
        if name not in after:
            yield Change(f"rule {name}", "meaning-changing", "minor", f"is gone: {rule.predicate}", "nothing; more is allowed")
    for name, rule in after.items():
        yield from _rule(before.get(name), rule)


def _rule(old: Rule | None, new: Rule) -> Iterator[Change]:
    place, refuses = f"rule {new.name}", new.severity == "error"
    sender = "keep to it; other rows are refused" if refuses else "nothing is refused; breaches are counted"
    if old is None:
        yield Change(place, "meaning-changing", "major" if refuses else "minor", f"is new: {new.predicate}", sender)
        return
    if old.predicate != new.predicate:
        yield Change(place, "meaning-changing", "major" if refuses else "minor", f"{old.predicate} → {new.predicate}", sender)
    if old.severity != new.severity:
        yield Change(place, "meaning-changing", "major" if refuses else "minor", f"severity {old.severity} → {new.severity}", sender)
    if (old.description, old.dimension) != (new.description, new.dimension):
        yield Change(place, "wording", "patch", "reworded", "read it once")


def _header(old: Contract, new: Contract) -> Iterator[Change]:
    for place, before, after, level, sender in (
        ("timeZone", old.time_zone, new.time_zone, "major", "write clock times of the new zone"),
        ("ambiguousTime", old.ambiguous_time, new.ambiguous_time, "minor", "see what becomes of the repeated hour in autumn"),
        ("coordinateSystem", old.coordinate_system, new.coordinate_system, "major", "send positions of the new system"),
        ("regionSystem", old.region_system, new.region_system, "major", "send regions of the new system"),
        ("repeatWindow", old.repeat_window, new.repeat_window, "minor", "nothing; equal rows within the window count as duplicates"),
        ("retention", dict(old.retention), dict(new.retention), "minor", "nothing; rows are kept for another time"),
        ("defines", old.defines, new.defines, "major", "nothing to send otherwise"),
        ("conformsTo", old.conforms_to, new.conforms_to, "major", "nothing to send otherwise"),
        ("sql", old.sql, new.sql, "minor", "nothing to send otherwise"),
    ):
        if before != after:
            what = "the staging map in SQL is another" if place == "sql" else f"{before} → {after}"
            yield Change(place, "meaning-changing", level, what, sender)  # type: ignore[arg-type]
    for name in sorted({*old.mapping, *new.mapping}):
        if old.mapping.get(name) != new.mapping.get(name):
            what = f"{old.mapping.get(name, 'none')} → {new.mapping.get(name, 'none')}"
            yield Change(f"map.{name}", "meaning-changing", "minor", what, "nothing to send otherwise")
    yield from _limit("volume", "min", old.volume.min, new.volume.min, lambda o, n: n < o)
    if old.volume.max != new.volume.max:
        yield Change("volume", "additive", "minor", f"max {old.volume.max} → {new.volume.max}", "nothing; more than that only warns")
    for name in old.ignored_columns:
        if name not in new.ignored_columns and name not in {c.name for c in new.columns}:
            yield Change("ignoredColumns", "breaking", "major", f"{name} is no longer ignored", "drop it: an unknown column is refused")
    for name in new.ignored_columns:
        if name not in old.ignored_columns:
            yield Change("ignoredColumns", "additive", "minor", f"{name} is ignored now", "nothing; it may come or not")
    if old.sla != new.sla:
        yield Change("slaProperties", "meaning-changing", "minor", "frequency or latency changed", "see when the next delivery is due")
    words = ("title", "status", "domain", "owner", "purpose", "usage", "limitations", "accept", "reject")
    changed = [name for name in words if getattr(old, name) != getattr(new, name)]
    if changed:
        yield Change("contract", "wording", "patch", f"{', '.join(changed)} changed", "read them once")


def _unit(column: Column) -> str | None:
    found = _UNIT.search(f"{column.title} {column.description}")
    return found[1] if found else None
