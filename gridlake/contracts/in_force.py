"""The contracts that a running lander goes by: files are looked at between batches, and what has changed takes effect only when it may.

An additive change with its version number is in force from the next batch on. What breaks senders without a new major version, or cannot be
read, or fails `feed check`, is not: the contract before stays in force, and the reason is told until the file is mended.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from gridlake import senders, vocabularies
from gridlake.contracts.check import check, schema_problems
from gridlake.contracts.diff import diff, diff_vocabulary, judge
from gridlake.contracts.load import SUFFIX, load
from gridlake.contracts.model import Contract, ContractError, Contracts
from gridlake.senders import SenderError, Senders
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies, VocabularyError

# Files are looked at at most this often; a look at the built-in ones, some 180 files, takes a few milliseconds.
LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Taken:
    """A declaration that took effect: the feeds whose rows are judged otherwise from now on, and what changed in words."""

    feeds: tuple[str, ...]
    what: str


@dataclass(frozen=True)
class Withheld:
    """A changed file that did not take effect, and why."""

    path: Path
    why: str

    def __str__(self) -> str:
        return f"{self.path}: {self.why}; the one before stays in force"


@dataclass(frozen=True)
class _State:
    modified: int
    size: int
    inode: int


class InForce:
    """Contracts, senders and vocabularies as they hold now; `look` brings them up to date.

    One thread looks. What it replaces are whole values, so other threads may read them at any time. A file that was written after `read_at`
    (nanoseconds since 1970), when the declarations were read, is looked at anew.
    """

    def __init__(
        self,
        settings: Settings,
        contracts: Contracts,
        rights: Senders,
        words: Vocabularies,
        read_at: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._clock = settings, clock
        self.contracts, self.senders, self.vocabularies = contracts, rights, words
        self._seen = {path: state for path, state in self._files() if state.modified < read_at}
        self._looked_at = clock()
        self.withheld: dict[Path, Withheld] = {}

    def look(self) -> tuple[list[Taken], list[Withheld]]:
        """(what took effect since the last look, what was withheld for the first time); nothing sooner than a second after the last."""
        now = self._clock()
        if now - self._looked_at < LOOK_EVERY_S:
            return [], []
        self._looked_at = now
        found = dict(self._files())
        changed = {path for path in {*found, *self._seen} if found.get(path) != self._seen.get(path)}
        self._seen = found
        if not changed:
            return [], []
        before = dict(self.withheld)
        taken = [*self._take_lists(changed), *self._take_senders(changed), *self._take_contracts(changed)]
        return taken, [w for path, w in self.withheld.items() if before.get(path) != w]

    def _folders(self) -> list[Path]:
        given = self._settings.contracts
        return [self._settings.expectations / "contracts", *([given] if given else [])]

    def _files(self) -> Iterator[tuple[Path, _State]]:
        for folder in self._folders():
            beside = folder.parent if folder.name == "contracts" and folder.parent == self._settings.expectations else folder
            patterns = ((folder, f"*/*{SUFFIX}"), (folder, "*/*.sql"), (beside, "vocabularies/*.csv"), (beside, "senders/*.yml"))
            for place, pattern in patterns:
                for path in place.glob(pattern):
                    try:
                        status = path.stat()
                    except FileNotFoundError:
                        continue  # replaced at this moment; the next look sees it
                    yield path, _State(status.st_mtime_ns, status.st_size, status.st_ino)

    def _withhold(self, path: Path, why: str) -> None:
        self.withheld[path] = Withheld(path, why)

    def _take_lists(self, changed: set[Path]) -> Iterator[Taken]:
        paths = sorted(p for p in changed if p.suffix == ".csv")
        if not paths:
            return
        try:
            words = vocabularies.load_all(self._settings)
        except VocabularyError as error:
            for path in paths:
                self._withhold(path, str(error))
            return
        held = False
        for path in paths:
            name = path.stem
            feeds = [c.id for c in self.contracts.values() if any(column.code_list == name for column in c.columns)]
            if name not in words and feeds:
                self._withhold(path, f"the list is gone, and {', '.join(feeds)} go by it: change those contracts first")
                held = True
            elif name in words and name in self.vocabularies and feeds:
                breaking = [c for c in diff_vocabulary(name, self.vocabularies[name].rows, words[name].rows) if c.level == "major"]
                if breaking:
                    self._withhold(
                        path, f"{breaking[0].what}: codes that were right are no longer, which asks for a new major version of {', '.join(feeds)}"
                    )
                    held = True
        if held:
            return
        self.vocabularies = words
        for path in paths:
            self.withheld.pop(path, None)
        names = {p.stem for p in paths}
        regions = any(n.startswith("regions_") for n in names)
        touched = [c.id for c in self.contracts.values() if regions or any(column.code_list in names for column in c.columns)]
        yield Taken(tuple(touched), f"lists {', '.join(sorted(names))}")

    def _take_senders(self, changed: set[Path]) -> Iterator[Taken]:
        paths = sorted(p for p in changed if p.suffix == ".yml")
        if not paths:
            return
        try:
            self.senders = senders.load_all(self._settings)
        except SenderError as error:
            for path in paths:
                self._withhold(path, str(error))
            return
        for path in paths:
            self.withheld.pop(path, None)
        yield Taken(tuple(self.contracts), f"senders {', '.join(p.stem for p in paths)}")

    def _take_contracts(self, changed: set[Path]) -> Iterator[Taken]:
        # A staging map beside a contract is part of it.
        paths = {
            p if p.name.endswith(SUFFIX) else p.with_name(p.name.removesuffix(".sql") + SUFFIX) for p in changed if p.suffix in {".yaml", ".sql"}
        }
        for path in sorted(paths):
            present = next((c for c in self.contracts.values() if c.path == path), None)
            try:
                new = self._readable(path, present)
            except ContractError as error:
                self._withhold(path, str(error).removeprefix(f"{path}: "))
                continue
            self.withheld.pop(path, None)
            if new is None:
                if present is not None:
                    self.contracts = Contracts([c for c in self.contracts.values() if c.path != path])
                    yield Taken((present.id,), f"{present.id} {present.version} is gone")
            elif new != present:
                self.contracts = Contracts([*(c for c in self.contracts.values() if c.path != path), new])
                told = f"{new.id} {present.version} → {new.version}" if present else f"{new.id} {new.version} is new"
                changes = [f"{c.place}: {c.what}" for c in diff(present, new)] if present else []
                yield Taken((new.id,), f"{told}{': ' if changes else ''}{'; '.join(changes)}")

    def _readable(self, path: Path, present: Contract | None) -> Contract | None:
        """The contract of a file as it may take effect; None where it may go. Raises ContractError."""
        if not path.exists():
            if present is not None and present.status not in {"deprecated", "retired"}:
                raise ContractError(f"{path}: the contract is gone; a feed leaves in two steps: set status: deprecated first, remove the file later")
            return None
        new = load(path)
        others = [c for c in self.contracts.values() if c.path != path]
        if any(c.id == new.id for c in others):
            raise ContractError(f"{path}: {new.id} is already defined elsewhere; rename one")
        found = [*schema_problems(path), *check(new, Contracts([*others, new]), self.vocabularies)]
        # A contract that was taken at the start with its faults is not stopped by them now.
        known = {(p.place, p.expected) for p in check(present, self.contracts, self.vocabularies)} if present else set()
        problems = [p for p in found if (p.place, p.expected) not in known]
        if problems:
            raise ContractError(
                f"{path}: {len(problems)} problems, the first: {problems[0].place}: expected {problems[0].expected}, came {problems[0].came}"
            )
        if present is None:
            return new
        changes = diff(present, new)
        verdict = judge(new.id, present.version, new.version, changes)
        if not verdict.suffices:
            raise ContractError(f"{path}: {changes[0]}; version {new.version} came, at least {verdict.needed_version} expected")
        if any(c.level == "major" for c in changes):
            family = f"{new.family}.v{verdict.needed_version.partition('.')[0] if verdict.needed_version else ''}"
            raise ContractError(
                f"{path}: {changes[0]}; senders of {present.version} are still there: put the new major version beside it as {family}{SUFFIX}, "
                "and retire this one when all have changed"
            )
        return new
