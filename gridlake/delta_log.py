"""The log of a Delta table as files: what of it is on the disk for good, what a power cut has torn, and a commit that cannot be torn.

delta-rs writes a commit whole and links it to its name, but syncs nothing; so a power cut may leave a name without its content, a content cut
short at a line, or a later commit without the one before it. Such commits were never acknowledged: whoever acknowledges has synced all before.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

COMMIT = re.compile(r"(\d{20})\.json")
_CHECKPOINT = re.compile(r"(\d{20})\.checkpoint\.parquet")
HINT = "_last_checkpoint"
# How many of an action a commit says that it has, by the names that its writer gives to the counts: ours, delta-rs when it writes, when it compacts.
_COUNTS = {
    "add": ("gridlake.adds", "num_added_files", "numFilesAdded"),
    "remove": ("gridlake.removes", "num_removed_files", "numFilesRemoved"),
    "txn": ("gridlake.transactions",),
}
_WITH_SCHEMA = {"CREATE TABLE", "ADD COLUMN", "SET TBLPROPERTIES"}


def fsync(path: Path) -> None:
    """Put a file's or a folder's content on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def counts(adds: int, transactions: int, removes: int | None = None) -> dict[str, str]:
    """What a commit says of itself, so that one cut short at a line is known for torn."""
    said = {"gridlake.adds": str(adds), "gridlake.transactions": str(transactions)}
    return said if removes is None else said | {"gridlake.removes": str(removes)}


def versions(log: Path) -> list[int]:
    """The versions that have a commit, in order; none where there is no log."""
    try:
        names = [path.name for path in log.iterdir()]
    except FileNotFoundError:
        return []
    return sorted(int(found[1]) for name in names if (found := COMMIT.fullmatch(name)))


def set_aside_torn(log: Path, after: int = -1) -> int:
    """Set aside what a power cut has torn: a checkpoint, a hint to one that is not there, and the first torn or missing commit with all after it.

    Commits up to version `after` are known to be whole and not looked at again. Gives the newest version that is left, -1 where there is none.
    """
    later = _later(log, after)
    if later is not None and all(_is_whole_commit(_commit(log, version)) for version in later):
        return later[-1] if later else after
    found = versions(log)
    if not found and not log.is_dir():
        return -1
    if _first_torn(log, found, after) is None:
        return found[-1] if found else -1
    # Another process may do the same, and land the lost rows again before this one renames.
    with _held(log):
        found = versions(log)
        torn = _first_torn(log, found, after)
        if torn is not None:
            # A hint to a checkpoint that is gone stops every reader; without the hint they look for themselves. So the hint goes first.
            (log / HINT).unlink(missing_ok=True)
            for checkpoint in {*_torn_checkpoints(log), *(c for c in _checkpoints(log) if int(c.name[:20]) >= torn)}:
                _set_aside(checkpoint)
            for version in reversed([v for v in found if v >= torn]):
                _set_aside(_commit(log, version))
            fsync(log)
        found = versions(log)
    return found[-1] if found else -1


def sync(log: Path, after: int = -1) -> int:
    """Put every commit later than version `after`, their checkpoints and the folder's names on the disk; gives the newest, -1 where there is none.

    Without `after`, of the older commits those since the newest checkpoint.
    """
    later = _later(log, after)
    if later is None:
        newest = newest_checkpoint(log)
        later = [v for v in versions(log) if v >= newest]
    for version in later:
        fsync(_commit(log, version))
    for checkpoint in (path for v in later if (path := log / f"{v:020}.checkpoint.parquet").exists()):
        fsync(checkpoint)
    # Others may be reading the table at a version of before.
    forget_hint(log)
    fsync(log)
    return later[-1] if later else after


def forget_hint(log: Path) -> None:
    """Remove the hint to the newest checkpoint, so that a version of before it can be read.

    Sail 0.7 takes the log to begin there and then misses the commits before ("Missing commit file"); without a hint every engine looks for itself.
    """
    (log / HINT).unlink(missing_ok=True)


def newest_checkpoint(log: Path) -> int:
    """The version of the newest checkpoint, -1 where there is none."""
    found = _checkpoints(log)
    return int(found[-1].name[:20]) if found else -1


def appended(log: Path, version: int) -> list[str] | None:
    """The data files that a commit brought, none where it only rearranged or deleted rows; None where there is no such commit any more."""
    try:
        content = _commit(log, version).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    actions = [json.loads(line) for line in content.splitlines() if line]
    if any("remove" in action for action in actions):
        return []
    return [unquote(action["add"]["path"]) for action in actions if action.get("add", {}).get("dataChange")]


def publish(log: Path, version: int, actions: Iterable[Mapping[str, Any]]) -> bool:
    """Write a commit that is on the disk before it has its name; gives False where that version has been taken."""
    waiting = log / f".{version:020}.{uuid.uuid4().hex}"
    waiting.write_text("\n".join(json.dumps(action, separators=(",", ":")) for action in actions), encoding="utf-8")
    try:
        fsync(waiting)
        os.link(waiting, _commit(log, version))
    except FileExistsError:
        return False
    finally:
        waiting.unlink()
    fsync(log)
    return True


@dataclass
class Lifetime:
    """A data file: the versions from `added` on and before `removed` are made of it."""

    added: int
    removed: int | None = None
    removed_at: float | None = None

    def is_in(self, kept: Iterable[int]) -> bool:
        """Whether one of these versions is made of it."""
        return any(self.added <= version and (self.removed is None or version < self.removed) for version in kept)


def lifetimes(log: Path, begin: int, files: Iterable[str]) -> dict[str, Lifetime]:
    """Every data file that a version from `begin` on is made of, by its path in the table; `files` are those of version `begin`. Times in seconds."""
    found = {path: Lifetime(begin) for path in files}
    for version in (v for v in versions(log) if v > begin):
        for line in _commit(log, version).read_bytes().splitlines():
            # Only these two are looked for; a commit of many transactions is long.
            if line.startswith(b'{"add"'):
                found[unquote(json.loads(line)["add"]["path"])] = Lifetime(version)
            elif line.startswith(b'{"remove"'):
                action = json.loads(line)["remove"]
                gone = found.setdefault(unquote(action["path"]), Lifetime(begin))
                gone.removed, gone.removed_at = version, (action.get("deletionTimestamp") or 0) / 1000
    return found


def unfinished(log: Path) -> list[Path]:
    """What writers that were killed have left of commits that they had not given a name yet; ours and those of delta-rs."""
    return [path for path in log.iterdir() if path.name.startswith(".") or "#" in path.name or path.name.endswith(".tmp")]


def checkpoints(log: Path) -> list[int]:
    """The versions that have a checkpoint in one file, in order."""
    return [int(path.name[:20]) for path in _checkpoints(log)]


def trim(log: Path, oldest: int, *, dry_run: bool) -> int:
    """Remove the commits that no version from `oldest` on needs: those before the newest checkpoint that is no later. Gives how many."""
    begin = max((c for c in _checkpoints(log) if int(c.name[:20]) <= oldest and _is_whole_checkpoint(c)), default=None)
    if begin is None:
        return 0
    old = [_commit(log, v) for v in versions(log) if v < int(begin.name[:20])]
    if old and not dry_run:
        # Until here a checkpoint that a power cut tears costs nothing; from here on it stands for the commits.
        fsync(begin)
        fsync(log)
        # Oldest first: what is left after a power cut is still without a gap.
        for path in [*old, *(c for c in _checkpoints(log) if c < begin)]:
            path.unlink()
        fsync(log)
    return len(old)


def _later(log: Path, after: int) -> list[int] | None:
    """The versions later than a known one, asked for one by one: a log that takes commits all day is long to list. None where that one is gone."""
    if after < 0 or not _commit(log, after).exists():
        return None
    found = []
    while _commit(log, after + 1).exists():
        after += 1
        found.append(after)
    return found


def _first_torn(log: Path, found: list[int], after: int) -> int | None:
    """The first version that is torn or follows upon a missing one, of those since the newest checkpoint; the next one where only a checkpoint is."""
    past = found[-1] + 1 if found else 0
    # A checkpoint may survive without the name of its commit, which was not acknowledged then: delta-rs opens such a table and cannot append to it.
    newest = newest_checkpoint(log)
    is_ahead = bool(found) and newest > found[-1] and not _commit(log, newest).exists()
    torn = past if is_ahead or _torn_checkpoints(log) or _is_lost(log / HINT, log) else None
    whole = [c for c in _checkpoints(log) if not (is_ahead and int(c.name[:20]) >= past) and _is_whole_checkpoint(c)]
    begin = int(whole[-1].name[:20]) if whole else 0
    if not whole and found and (any(log.glob("*.checkpoint.*.parquet")) or any(log.glob("*.checkpoint.*.json"))):
        # Of several files, or named by a uuid: another engine made it and may have cleaned the log before it.
        begin = found[0]
    # A cleaned log begins with a checkpoint that has no commit beside it.
    begin += bool(whole) and begin not in found
    for expected, version in enumerate((v for v in found if v >= begin), begin):
        # Names are listed in no order: one that was given meanwhile may have been passed over.
        if version != expected and not _commit(log, expected).exists():
            return version
        if version > after and not _is_whole_commit(_commit(log, version)):
            return version
    return torn


def _is_whole_commit(commit: Path) -> bool:
    try:
        actions = [json.loads(line) for line in commit.read_bytes().splitlines()]
    except FileNotFoundError:
        return True  # set aside by another process meanwhile
    except ValueError:
        return False
    if not actions or not all(isinstance(a, dict) for a in actions):
        return False
    have = Counter(kind for action in actions for kind in action)
    info = next((a["commitInfo"] for a in actions if "commitInfo" in a), None) or {}
    # Other engines give these names to counts of other things.
    metrics = info.get("operationMetrics") if str(info.get("engineInfo", "")).startswith("delta-rs:py") else None
    said = {**(metrics or {}), **info}
    for kind, names in _COUNTS.items():
        if any(str(said[name]) != str(have[kind]) for name in names if name in said):
            return False
    if info.get("operation") in _WITH_SCHEMA and not have["metaData"]:
        return False
    return not (COMMIT.fullmatch(commit.name) and int(commit.stem) == 0) or bool(have["protocol"] and have["metaData"])


def _is_whole_checkpoint(checkpoint: Path) -> bool:
    state = checkpoint.stat()
    seen = (str(checkpoint), state.st_size, state.st_mtime_ns)
    if seen not in _whole_checkpoints:
        try:
            pq.read_table(checkpoint)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return False
        except OSError as error:
            # A torn one has no number; a disk or a process that fails to read a good one has.
            if error.errno is not None:
                raise
            return False
        _whole_checkpoints.add(seen)
    return True


# Checkpoints that this process has read to their end.
_whole_checkpoints: set[tuple[str, int, int]] = set()


def _checkpoints(log: Path) -> list[Path]:
    try:
        return sorted(path for path in log.iterdir() if _CHECKPOINT.fullmatch(path.name))
    except FileNotFoundError:
        return []


def _torn_checkpoints(log: Path) -> list[Path]:
    return [c for c in _checkpoints(log)[-1:] if not _is_whole_checkpoint(c)]


def _is_lost(hint: Path, log: Path) -> bool:
    """Whether the hint is torn, or points to a checkpoint that is not there."""
    try:
        version = json.loads(hint.read_bytes())["version"]
    except FileNotFoundError:
        return False
    except (ValueError, KeyError, TypeError):
        return True
    return not any(log.glob(f"{version:020}.checkpoint*"))


def _commit(log: Path, version: int) -> Path:
    return log / f"{version:020}.json"


def _set_aside(path: Path) -> None:
    path.rename(path.with_name(f"{path.name}.torn-{uuid.uuid4().hex[:8]}"))


@contextlib.contextmanager
def _held(log: Path) -> Iterator[None]:
    handle = os.open(log, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
