"""`gridlake backup` and `gridlake restore`: a lake at one moment, in a folder of files that are named by their content.

In a backup's folder `objects/` holds each content once, whatever backup has it, and `backups/<id>.json` says which file of the lake has which; that
file is written last, so a backup that was cut short is none. Left out is what `gridlake run` makes anew: libraries, marts, logs, dbt's project.
Keys are left out unless asked for: with them whoever has the backup reads what is sealed in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import duckdb
from cryptography.exceptions import InvalidTag

from gridlake import __version__
from gridlake.barriers import barrier
from gridlake.engine import MODEL_SCHEMAS
from gridlake.privacy import Keys
from gridlake.progress import ProgressLog, Task
from gridlake.runs import RunError
from gridlake.settings import Settings
from gridlake.tables import Tables, fsync, make_folder, write_file

FORMAT = 1
_OBJECTS, _BACKUPS = "objects", "backups"
# What a run makes anew, and what belongs to processes.
_LEFT_OUT = {"dbt", "logs", "resolve", "scratch", "tables", ".lock"}
# A run names versions of tables, a snapshot too: they are copied before the versions are read, so that none is named that is not there.
_NAME_VERSIONS = ("runs", "snapshots", "reports", "docs")
_STAGED = ".backup-"
_READ = 4 << 20
_SQLITE = b"SQLite format 3\0"


class BackupError(RunError):
    """A backup that cannot be made, is damaged, or does not fit where it is to go; the message says what to do."""


def take(
    settings: Settings, target: Path, progress: ProgressLog, *, with_keys: bool = False, libraries: bool = False, keep: int | None = None
) -> dict[str, Any]:
    """Copy the lake as it is at one moment; only what the folder does not have yet is written. Landers beside it wait for moments.

    Gives {backup_id, path, files, bytes, new_files, new_bytes, tables: {name: {version, rows}}, keys, removed_backups}.
    """
    home = settings.home.absolute()
    if not (home / "tables").is_dir():
        raise BackupError(f"{home}: expected a lake to copy, there is none; give it with --home")
    if target.absolute().is_relative_to(home):
        raise BackupError(f"{target}: lies inside the lake, so it would be lost with it; choose a folder on another disk")
    make_folder(target)
    with _only_one(target):
        _remove_staged(home)
        previous = _newest(target)
        store = _Store(target, previous["files"] if previous else {}, progress)
        tables = Tables(settings.tables)
        with progress.task("备份（文件）") as task:
            for part in _NAME_VERSIONS:
                store.keep_folder(home, part, task)
            versions, staged = _moment(home, tables, libraries=libraries)
            try:
                store.keep_tree(staged, task)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
            # After the tables' versions were read: what they name is there.
            store.keep_folder(home, "quarantine_blobs", task)
            for name, version in versions.items():
                for path in tables.paths_up_to(name, version):
                    store.keep(path, path.relative_to(home).as_posix(), task)
        described = {
            name: {"version": version, "rows": tables.row_count(name, version), "state": tables.state(name, version)}
            for name, version in versions.items()
        }
        private = settings.private_files.items() if with_keys else ()
        keys = {what: path.read_text(encoding="utf-8") for what, path in private if path.exists()}
        store.settle()
        barrier("backup.before_manifest")
        backup_id = f"{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}"
        document = {
            "format": FORMAT,
            "backup_id": backup_id,
            "taken_at": datetime.now(UTC).isoformat(),
            "gridlake": __version__,
            "home": str(home),
            "tables": described,
            "files": store.files,
            "links": store.links,
            "has_keys": bool(keys),
        }
        if keys:
            _write_private(target / _BACKUPS / f"{backup_id}.keys", json.dumps(keys).encode())
        write_file(target / _BACKUPS / f"{backup_id}.json", json.dumps(document, ensure_ascii=False, indent=1).encode())
        removed = _forget_older(target, keep) if keep else []
    return {
        "backup_id": backup_id,
        "path": str(target),
        "files": len(store.files),
        "bytes": sum(int(size) for _, size, _ in store.files.values()),
        "new_files": store.new_files,
        "new_bytes": store.new_bytes,
        "tables": {name: {"version": t["version"], "rows": t["rows"]} for name, t in described.items()},
        "keys": bool(keys),
        "removed_backups": removed,
    }


def restore(
    target: Path, home: Path, keys: Path, progress: ProgressLog, *, backup_id: str | None = None, private: Mapping[str, Path] | None = None
) -> dict[str, Any]:
    """Write a backup's lake into an empty folder, each file compared with its digest, and open every table.

    What the backup has of the keys, and of the other `private` files, is written where there is none.

    Gives {backup_id, taken_at, files, bytes, seconds, tables: {name: {version, rows}}, keys: "open"|"missing"|"wrong"|"nothing sealed"}.
    """
    started = time.monotonic()
    document = _read(target, backup_id)
    home = home.absolute()
    if home.exists() and any(home.iterdir()):
        raise BackupError(
            f"{home}: expected an empty or new folder to restore into, it holds {len(list(home.iterdir()))} entries; choose another --home"
        )
    make_folder(home)
    size = sum(int(size) for _, size, _ in document["files"].values())
    with progress.task("恢复（字节）", total=size) as task:
        for place, (digest, _, _) in document["files"].items():
            path = _inside(home, place)
            path.parent.mkdir(parents=True, exist_ok=True)
            _copy_verified(_object(target, digest), path, digest)
            task.advance(int(document["files"][place][1]))
    for place, link in document["links"].items():
        path = _inside(home, place)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(link)
    if document["has_keys"]:
        kept = json.loads((target / _BACKUPS / f"{document['backup_id']}.keys").read_text(encoding="utf-8"))
        for what, own in ({**(private or {}), "keys": keys}).items():
            if what in kept and not own.exists():
                _write_private(own, kept[what].encode())
    for folder, _, names in os.walk(home, topdown=False):
        for name in names:
            if not Path(folder, name).is_symlink():
                fsync(Path(folder, name))
        fsync(Path(folder))
    compared = _compare(home, document)
    return {
        "backup_id": document["backup_id"],
        "taken_at": document["taken_at"],
        "files": len(document["files"]),
        "bytes": size,
        "seconds": round(time.monotonic() - started, 1),
        "tables": compared,
        "keys": _try_keys(home, keys),
    }


def drill(target: Path, keys: Path, progress: ProgressLog, *, backup_id: str | None = None, within: Path | None = None) -> dict[str, Any]:
    """Restore into a folder that is removed afterwards; gives what `restore` gives, or raises what it raises."""
    with tempfile.TemporaryDirectory(prefix="gridlake-drill-", dir=within) as folder:
        own_keys = keys if keys.exists() else Path(folder) / "keys.json"
        return restore(target, Path(folder) / "lake", own_keys, progress, backup_id=backup_id)


def verify(target: Path, progress: ProgressLog) -> dict[str, Any]:
    """Read every content of every backup; raises BackupError where one is damaged. Gives {backups, objects, bytes}."""
    documents = [_read(target, path.stem) for path in _manifests(target)]
    wanted = {digest: int(size) for document in documents for digest, size, _ in document["files"].values()}
    with progress.task("核验（字节）", total=sum(wanted.values())) as task:
        for digest, size in wanted.items():
            _digest_of(_object(target, digest), digest)
            task.advance(size)
    return {"backups": len(documents), "objects": len(wanted), "bytes": sum(wanted.values())}


class _Store:
    """Writes contents into a backup's folder, each once."""

    def __init__(self, target: Path, known: dict[str, list[Any]], progress: ProgressLog) -> None:
        self.files: dict[str, list[Any]] = {}
        self.links: dict[str, str] = {}
        self.new_files = self.new_bytes = 0
        self._target, self._known, self._progress = target, known, progress
        self._touched: set[Path] = set()

    def keep_folder(self, home: Path, part: str, task: Task) -> None:
        """Keep a folder of the lake, where there is one."""
        for path in sorted((home / part).rglob("*")):
            if not path.name.startswith(".") and ".unfinished" not in path.parts:
                self.keep(path, path.relative_to(home).as_posix(), task)

    def keep_tree(self, folder: Path, task: Task) -> None:
        """Keep everything in a folder, as if it were the home."""
        for path in sorted(folder.rglob("*")):
            self.keep(path, path.relative_to(folder).as_posix(), task)

    def keep(self, path: Path, place: str, task: Task) -> None:
        """Keep one file under its place in the lake."""
        if path.is_symlink():
            self.links[place] = str(path.readlink())
            return
        if not path.is_file():
            return
        task.advance()
        state = path.stat()
        known = self._known.get(place)
        if known and [state.st_size, state.st_mtime_ns] == known[1:] and _object(self._target, known[0]).exists():
            self.files[place] = known
            return
        waiting = self._target / _OBJECTS / f".{uuid.uuid4().hex}"
        make_folder(waiting.parent)
        try:
            with path.open("rb") as source, waiting.open("xb") as sink:
                digest, size = _copied(source, sink)
                os.fsync(sink.fileno())
            final = _object(self._target, digest)
            if not final.exists():
                make_folder(final.parent)
                waiting.rename(final)
                self._touched.add(final.parent)
                self.new_files += 1
                self.new_bytes += size
        finally:
            waiting.unlink(missing_ok=True)
        self.files[place] = [digest, size, state.st_mtime_ns]

    def settle(self) -> None:
        """Put the names of the new contents on the disk."""
        for folder in self._touched:
            fsync(folder)
        self._touched.clear()


def _moment(home: Path, tables: Tables, *, libraries: bool) -> tuple[dict[str, int], Path]:
    """The tables' versions at a moment at which no feed is being committed, and a folder with what else the lake held then."""
    staged = home / f"{_STAGED}{uuid.uuid4().hex}"
    staged.mkdir()
    with contextlib.ExitStack() as held:
        for name in [n for n in tables.names() if n.startswith("bronze.")]:
            held.enter_context(tables.only_writer(name))
        names = [n for n in tables.names() if libraries or n.partition(".")[0] not in MODEL_SCHEMAS]
        # Against the order of commits: what is refused and told is there where bronze says that it is landed.
        order = ["bronze", "ops", "quarantine"]
        names.sort(key=lambda n: (order.index(s) if (s := n.partition(".")[0]) in order else len(order), n))
        versions = {name: tables.version(name) for name in names}
        _stage(home, staged)
    for name in versions:
        tables.settle(name)
    return versions, staged


def _stage(home: Path, staged: Path) -> None:
    """Hard links to the other files of the lake: they stay there for the copying, though a lander releases them."""
    known = {*_LEFT_OUT, *_NAME_VERSIONS, "quarantine_blobs"}
    parts = [p for p in home.iterdir() if p.name not in known and not p.name.startswith(_STAGED)]
    files = [f for part in parts for f in ([part] if part.is_file() else sorted(part.rglob("*"))) if f.is_file() and not f.is_symlink()]
    databases = [f for f in files if _is_sqlite(f)]
    beside = {f.with_name(f.name + suffix) for f in databases for suffix in ("-wal", "-shm", "-journal")}
    # First what answers, then what was answered: a push that an answer tells of is in the journal that is copied after it.
    for path in [*databases, *(f for f in files if f not in databases and f not in beside)]:
        copy = staged / path.relative_to(home)
        copy.parent.mkdir(parents=True, exist_ok=True)
        if path in databases:
            _copy_database(path, copy)
            continue
        with contextlib.suppress(FileNotFoundError):
            try:
                os.link(path, copy)
            except OSError:
                shutil.copy2(path, copy)


def _copy_database(path: Path, copy: Path) -> None:
    source = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    sink = sqlite3.connect(copy)
    try:
        source.backup(sink)
    finally:
        sink.close()
        source.close()


def _is_sqlite(path: Path) -> bool:
    try:
        with path.open("rb") as content:
            return content.read(len(_SQLITE)) == _SQLITE
    except OSError:
        return False


def _remove_staged(home: Path) -> None:
    for left in home.glob(f"{_STAGED}*"):
        shutil.rmtree(left)


def _compare(home: Path, document: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Open every table and read its files' ends; raises BackupError where one is not what was backed up."""
    tables = Tables(home / "tables")
    expected = document["tables"]
    if tables.names() != sorted(expected):
        raise BackupError(f"{home}: expected the tables {', '.join(sorted(expected))}, got {', '.join(tables.names())}; the backup is damaged")
    found: dict[str, dict[str, int]] = {}
    for name, said in expected.items():
        now: dict[str, Any] = {"version": tables.version(name), "rows": tables.row_count(name), "state": tables.state(name)}
        files = tables.files(name)
        counted = duckdb.execute("select count(*) from read_parquet($files, union_by_name = true)", {"files": files}).fetchall()[0][0] if files else 0
        if now != said or counted != now["rows"]:
            raise BackupError(f"{name}: expected {said}, got {now} and {counted} rows in its files; take another backup, and look into this one")
        found[name] = {"version": now["version"], "rows": now["rows"]}
    return found


def _try_keys(home: Path, keys: Path) -> str:
    """Whether the keys open what a refused row keeps: without the right ones nothing sealed is ever read again."""
    if not keys.exists():
        return "missing"
    tables = Tables(home / "tables")
    for name in tables.names():
        if not name.startswith("quarantine."):
            continue
        sealed = [v for v in tables.read(name, columns=["payload_sealed"]).column(0).slice(0, 1000).to_pylist() if v]
        if sealed:
            try:
                Keys.load(keys).open_bytes(sealed[0])
            except (InvalidTag, KeyError):
                return "wrong"
            return "open"
    return "nothing sealed"


def _manifests(target: Path) -> list[Path]:
    return sorted((target / _BACKUPS).glob("*.json"))


def _newest(target: Path) -> dict[str, Any] | None:
    return _read(target, None) if _manifests(target) else None


def _read(target: Path, backup_id: str | None) -> dict[str, Any]:
    found = {path.stem: path for path in _manifests(target)}
    if not found:
        raise BackupError(f"{target}: expected a folder of backups, there is none in it; make one with gridlake backup {target}")
    wanted = backup_id or max(found)
    if wanted not in found:
        raise BackupError(f"{target}: no backup {wanted}; there are {', '.join(found)}")
    document: dict[str, Any] = json.loads(found[wanted].read_text(encoding="utf-8"))
    if document["format"] != FORMAT:
        raise BackupError(f"{found[wanted]}: format {document['format']}, expected {FORMAT}; restore it with gridlake {document['gridlake']}")
    return document


def _forget_older(target: Path, keep: int) -> list[str]:
    """Remove all but the newest backups, and the contents that no other has."""
    old = _manifests(target)[:-keep]
    for path in old:
        path.unlink()
        path.with_suffix(".keys").unlink(missing_ok=True)
    fsync(target / _BACKUPS)
    named = {digest for path in _manifests(target) for digest, _, _ in _read(target, path.stem)["files"].values()}
    for content in (target / _OBJECTS).glob("*/*"):
        if content.name not in named:
            content.unlink()
    return [path.stem for path in old]


def _object(target: Path, digest: str) -> Path:
    return target / _OBJECTS / digest[:2] / digest


def _inside(home: Path, place: str) -> Path:
    path = home / place
    if not Path(os.path.normpath(path)).is_relative_to(home):
        raise BackupError(f"{place}: a file outside the lake; the backup is damaged")
    return path


def _copied(source: IO[bytes], sink: IO[bytes]) -> tuple[str, int]:
    digest, size = hashlib.sha256(), 0
    for block in iter(lambda: source.read(_READ), b""):
        digest.update(block)
        sink.write(block)
        size += len(block)
    sink.flush()
    return digest.hexdigest(), size


def _copy_verified(content: Path, path: Path, digest: str) -> None:
    try:
        with content.open("rb") as source, path.open("xb") as sink:
            found, _ = _copied(source, sink)
    except FileNotFoundError:
        raise _damaged(content, "is missing") from None
    if found != digest:
        raise _damaged(content, f"has the digest {found}")


def _digest_of(content: Path, digest: str) -> None:
    try:
        with content.open("rb") as source:
            found = hashlib.file_digest(source, "sha256").hexdigest()
    except FileNotFoundError:
        raise _damaged(content, "is missing") from None
    if found != digest:
        raise _damaged(content, f"has the digest {found}")


def _damaged(content: Path, what: str) -> BackupError:
    return BackupError(f"{content}: expected the content of that digest, it {what}; restore an older backup, or take one to another disk")


def _write_private(path: Path, content: bytes) -> None:
    previous = os.umask(0o077)
    try:
        write_file(path, content)
    finally:
        os.umask(previous)


@contextlib.contextmanager
def _only_one(target: Path) -> Iterator[None]:
    with (target / ".lock").open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise BackupError(f"{target}: another backup is being written there; wait for it") from None
        yield


def listed(target: Path) -> list[dict[str, Any]]:
    """Every backup in a folder, oldest first: {backup_id, taken_at, files, bytes, has_keys}."""
    documents: Iterable[dict[str, Any]] = (_read(target, path.stem) for path in _manifests(target))
    return [
        {
            "backup_id": d["backup_id"],
            "taken_at": d["taken_at"],
            "files": len(d["files"]),
            "bytes": sum(int(size) for _, size, _ in d["files"].values()),
            "has_keys": d["has_keys"],
        }
        for d in documents
    ]
