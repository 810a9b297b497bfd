"""Delta tables outside dbt and jobs: create, append, overwrite, evolve, read. The one place that writes them.

Data files, the log with all that others have put there, and the folders up to the lake's own are fsynced before a write returns. Torn commits are
set aside when a table is opened or listed, so their writers' app transactions are unknown again and their rows are landed again (gridlake.delta_log).
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
import uuid
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction

from gridlake import delta_log
from gridlake.barriers import barrier
from gridlake.delta_log import fsync as fsync

# 1 M landed rows of 20 fields are ~120 MB: a file of this many rows stays well below the 1 GiB Spark likes at most.
ROWS_PER_FILE = 1_000_000
# A commit of a large batch takes seconds. Who holds a table longer is stopped or lost, and a person has to look.
_LONGEST_HOLD = 300.0
_LOOK_AGAIN = 0.005
# What a commit and its checkpoint take besides the data, roughly.
_COMMIT_BYTES = 64 << 10
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_FEWEST_TO_COMPACT = 4
# Of its lowest level, pyarrow's default: 35 to 40 % smaller files of events and steps than Snappy's, written and read in the same time.
_COMPRESSION = "zstd"
_ROWS_PER_GROUP = 100_000
# Of Delta's writer versions the highest that our tables have; later ones bring features such as deletion vectors.
_HIGHEST_WRITER = 2
# The log is kept: kept manifests name old versions.
_AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


class SchemaConflict(Exception):
    """The table has a column of that name with another type, or the data lack or add a column."""


class StaleTransaction(Exception):
    """An app transaction of the append is already in the table at that version or past it."""


class Fenced(Exception):
    """Another process has taken over what the append believes to be its own."""


class Forgotten(Exception):
    """What an old commit brought can no longer be told from the rest."""


class Held(Exception):
    """A table is held by another writer for too long."""


class DiskFull(OSError):
    """There is no room for what was to be written; nothing of it is to be seen, so once there is room the same is done again."""

    def __init__(self, folder: Path, needed: int) -> None:
        free = _free(folder)
        super().__init__(
            errno.ENOSPC,
            f"{folder}: no room on its disk for about {needed:,} bytes more, {free:,} are free; nothing of them is to be seen. "
            "Make room (gridlake maintain frees what nothing names), then do the same again",
        )

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def room_for(folder: Path, needed: int) -> Iterator[None]:
    """Raise DiskFull where what is written here meets a full disk or a used-up quota; `needed` is about how many bytes."""
    try:
        yield
    except DiskFull:
        raise
    except Exception as error:
        # delta-rs tells of the system's error in words alone.
        if getattr(error, "errno", None) not in _FULL and not any(os.strerror(number) in str(error) for number in _FULL):
            raise
        raise DiskFull(folder, needed) from error


class Unsupported(Exception):
    """A table has a feature that maintenance does not know."""


@dataclass
class Change:
    """What maintenance did to a table."""

    files_removed: int = 0
    files_added: int = 0
    bytes_removed: int = 0
    bytes_added: int = 0
    rows_removed: int = 0
    files_swept: int = 0
    bytes_swept: int = 0
    commits_removed: int = 0
    conflicts: int = 0

    def __add__(self, other: Change) -> Change:
        return Change(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(self)})


def differing_parts(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """The partitions that are not made of the same in two states of a table (`Tables.parts`), in order."""
    return sorted(value for value in one.keys() | other.keys() if one.get(value) != other.get(value))


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _paths_by_part(table: DeltaTable) -> dict[str, list[str]]:
    """By value of the partition column the files, below the table's folder as its log writes them, in order."""
    columns = table.metadata().partition_columns
    if not columns:
        return {}
    actions = pa.table(table.get_add_actions(flatten=True)).select(["path", f"partition.{columns[0]}"])
    paths: dict[str, list[str]] = {}
    for path, value in sorted(zip(*(column.to_pylist() for column in actions.columns), strict=True)):
        paths.setdefault(value, []).append(path)
    return paths


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, for good: their entries are on the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync(folder.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file so that after a power cut either the old or the new content is there."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    with room_for(path.parent, len(content)):
        make_folder(path.parent)
        try:
            temporary.write_bytes(content)
            fsync(temporary)
            barrier("file.before_replace", path.name)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
        barrier("file.after_replace", path.name)
        fsync(path.parent)


class Standing(NamedTuple):
    """What a version of a table is made of: digests of its files, as a whole (with its schema) and by partition; empty without partitions."""

    version: int
    state: str
    parts: dict[str, str]


class Tables:
    """The Delta tables under one folder; a name is `<schema>.<table>`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        # By table the newest commit that was found whole, and the newest that was put on the disk: what other processes have written is not, perhaps.
        self._whole: dict[Path, int] = {}
        self._synced: dict[Path, int] = {}

    def path(self, name: str) -> Path:
        """The folder of a table, there or not."""
        schema, _, table = name.partition(".")
        if not table or "." in table:
            raise ValueError(f"table name {name!r}: expected <schema>.<table>")
        return self.root / schema / table

    def names(self) -> list[str]:
        """Every table that has at least one commit; torn ones are set aside, so any engine may open these."""
        logs = self.root.glob("*/*/_delta_log")
        return sorted(f"{log.parent.parent.name}.{log.parent.name}" for log in logs if self._set_aside_torn(log.parent) >= 0)

    def exists(self, name: str) -> bool:
        """Whether the table has been created, by a commit that survived."""
        return self._set_aside_torn(self.path(name)) >= 0

    def settle(self, name: str) -> None:
        """Put on the disk what other processes have committed to a table and perhaps not synced, before its version is written down somewhere."""
        self._sync_log(self.path(name))

    def reach(self, name: str) -> None:
        """Let every engine read older versions of a table; to be asked before SQL says `version as of`."""
        delta_log.forget_hint(self.path(name) / "_delta_log")

    def version(self, name: str) -> int:
        """The newest version."""
        return int(self._open(name).version())

    def schema(self, name: str) -> pa.Schema:
        """The newest schema, timestamps in UTC microseconds, in column order."""
        return pa.schema(self._open(name).schema().to_arrow())

    def ensure(self, name: str, schema: pa.Schema) -> None:
        """Create the table, or add the columns it lacks at its end.

        Raises SchemaConflict when a column is there with another type.
        """
        with room_for(self.path(name), _COMMIT_BYTES):
            self._ensure(name, schema)

    def _ensure(self, name: str, schema: pa.Schema) -> None:
        path = self.path(name)
        if not self.exists(name):
            make_folder(path)
            barrier("table.before_creation", name)
            DeltaTable.create(str(path), schema=schema, mode="ignore")
            barrier("table.after_creation", name)
            self._sync_log(path)
            return
        table = self._open(name)
        present = pa.schema(table.schema().to_arrow())
        missing = []
        for field in schema:
            index = present.get_field_index(field.name)
            if index < 0:
                missing.append(field)
            elif not present.field(index).type.equals(field.type):
                raise SchemaConflict(
                    f"{name}: column {field.name} is {present.field(index).type}, {field.type} was asked for; "
                    "a change of type needs a new major version of the contract"
                )
        if missing:
            added = Schema.from_arrow(pa.schema([f.with_nullable(True) for f in missing]))
            barrier("table.before_columns", name)
            table.alter.add_columns([Field(f.name, f.type, nullable=True) for f in added.fields], post_commithook_properties=_AFTER_COMMIT)
            barrier("table.after_columns", name)
            self._sync_log(path)

    def resume_point(self, name: str, app_id: str) -> int | None:
        """The version of the app transaction in the newest snapshot, on the disk for good; None where the table or the app is unknown."""
        return self.resume_points(name, [app_id]).get(app_id)

    def resume_points(self, name: str, app_ids: Iterable[str]) -> dict[str, int]:
        """`resume_point` of many apps with one opening of the table; unknown apps are left out."""
        if not self.exists(name):
            return {}
        table = self._open(name)
        # Whoever asks goes on behind what is there and may call it done; a killed process may have committed it and not put it on the disk.
        if self._synced.get(self.path(name), -1) < int(table.version()):
            self._sync_log(self.path(name))
        found = ((app_id, table.transaction_version(app_id)) for app_id in app_ids)
        return {app_id: int(version) for app_id, version in found if version is not None}

    def append(self, name: str, data: pa.Table, transactions: Mapping[str, int] | None = None, epochs: Mapping[str, int] | None = None) -> int:
        """Append rows durably and atomically together with their app transactions; gives the new version.

        `epochs` are those that `claim` gave: nothing is written once another has claimed them. Raises SchemaConflict unless the data's
        columns are the table's, StaleTransaction when an app is already there, and Fenced.
        """
        return self._commit(name, data, dict(transactions or {}), dict(epochs or {}), mode="append")

    def claim(self, name: str, apps: Iterable[str]) -> dict[str, int]:
        """Raise the epoch of each app by one and give them; an append that names an older one is Fenced from now on, one under way among them."""
        while True:
            table = self._open(name)
            epochs = {app: int(table.transaction_version(app) or 0) + 1 for app in apps}
            if not epochs:
                return epochs
            try:
                self._commit(name, pa.schema(table.schema().to_arrow()).empty_table(), epochs, {}, mode="append")
            except (StaleTransaction, CommitFailedError):
                continue  # another claimed one of them at the same time; the later claim is above its
            return epochs

    @contextmanager
    def only_writer(self, name: str) -> Iterator[None]:
        """Be the only process that holds this table so; waits for others, and a killed holder lets go by itself.

        Raises Held, with the holder's process number, when another does not let go.
        """
        path = self.root / ".locks" / name
        with room_for(path.parent, _COMMIT_BYTES):
            make_folder(path.parent)
            path.touch()
        deadline = time.monotonic() + _LONGEST_HOLD
        with path.open("a+b", buffering=0) as handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        handle.seek(0)
                        holder = handle.read().decode().strip() or "unknown"
                        raise Held(
                            f"{name}: process {holder} has held it for {_LONGEST_HOLD:.0f} s; it is stopped or waits for a disk: look, and end it"
                        ) from None
                    time.sleep(_LOOK_AGAIN)
            with room_for(path.parent, _COMMIT_BYTES):
                handle.truncate(0)
                handle.write(str(os.getpid()).encode())
            yield

    def overwrite(self, name: str, data: pa.Table) -> int:
        """Replace all rows (and the schema); creates the table where there is none. Gives the new version."""
        if not self.exists(name):
            self.ensure(name, data.schema)
        return self._commit(name, data, {}, {}, mode="overwrite")

    def overwrite_parts(self, name: str, data: pa.Table, column: str, values: Collection[str]) -> int:
        """Replace the rows of these partitions by the data's, which lie in no others; creates the table, partitioned by `column`.

        Gives the new version. Raises Held where another process has written meanwhile.
        """
        path = self.path(name)
        with room_for(path, data.nbytes + _COMMIT_BYTES):
            if not self.exists(name):
                make_folder(path)
                DeltaTable.create(str(path), schema=data.schema, partition_by=[column], mode="ignore")
                barrier("table.after_creation", name)
                self._sync_log(path)
            new = []
            for value in sorted(values):
                rows = data.filter(pc.equal(data.column(column), value)).drop_columns([column])
                folder = path / f"{column}={value}"
                if rows.num_rows:
                    make_folder(folder)
                for start in range(0, rows.num_rows, ROWS_PER_FILE):
                    made = self._write_file(folder, rows.slice(start, ROWS_PER_FILE))
                    whole = {"path": f"{folder.name}/{made.path}", "partitionValues": {column: value}, "size": made.size}
                    new.append({**whole, "modificationTime": made.modification_time, "stats": made.stats})
                if rows.num_rows:
                    fsync(folder)
            old = [file for file in self._data_files(name) if file["partition"].get(column) in values]
            version = self._replace(name, old, new, "WRITE", data_change=True)
        if version is None:
            raise Held(f"{name}: another process has written it meanwhile; run one at a time on a lake")
        return version

    def read(self, name: str, *, version: int | None = None, columns: list[str] | None = None, where: ds.Expression | None = None) -> pa.Table:
        """Rows of one version as Arrow; `where` is a pyarrow dataset expression, pushed down to the files."""
        table = self._open(name, version)
        dataset = table.to_pyarrow_dataset()
        return dataset.to_table(columns=columns, filter=where)

    def appended(self, name: str, after: int) -> Iterator[tuple[int, pa.Table]]:
        """(version, the rows that were appended with it) of each version later than `after`, in order.

        Raises Forgotten where a commit or a file of them is no longer kept.
        """
        for version, files in self.appended_files(name, after, self.version(name)):
            yield version, ds.dataset(files, schema=self.schema(name), format="parquet").to_table()

    def appended_files(self, name: str, after: int, newest: int) -> Iterator[tuple[int, list[str]]]:
        """(version, the files that were appended with it) of each version later than `after` up to `newest`, in order; compacted or not since.

        Raises Forgotten where a commit or a file of them is no longer kept.
        """
        path = self.path(name)
        for version in range(after + 1, newest + 1):
            files = delta_log.appended(path / "_delta_log", version)
            if files is None or not all((path / file).exists() for file in files):
                raise Forgotten(f"{name}: version {version} is no longer kept, {newest} is the newest")
            if files:
                yield version, [str(path / file) for file in files]

    def files(self, name: str, version: int | None = None) -> list[str]:
        """The Parquet files that make up one version, for readers that know no Delta. Tables of ours have no deletion vectors."""
        return [str(uri) for uri in self._open(name, version).file_uris()]

    def standing(self, name: str, version: int | None = None) -> Standing:
        """What one version of a table, the newest by default, is made of.

        Our tables are partitioned by one text column at most.
        """
        table = self._open(name, version)
        uris = [str(uri).removeprefix(str(self.path(name))) for uri in table.file_uris()]
        parts = {value: _digest(paths) for value, paths in _paths_by_part(table).items()}
        return Standing(int(table.version()), _digest([table.schema().to_json(), *sorted(uris)]), parts)

    def files_by_part(self, name: str, version: int | None = None) -> dict[str, list[str]]:
        """The Parquet files of each partition, in order."""
        folder = f"{self.path(name)}/"
        return {value: [f"{folder}{unquote(path)}" for path in paths] for value, paths in _paths_by_part(self._open(name, version)).items()}

    def state(self, name: str, version: int | None = None) -> str:
        """What one version is made of, as a digest: versions that have it in common hold the same rows, as files are never rewritten."""
        return self.standing(name, version).state

    def parts(self, name: str, version: int | None = None) -> dict[str, str]:
        """By value of the partition column what that partition is made of; empty for a table without partitions."""
        return self.standing(name, version).parts

    def row_count(self, name: str, version: int | None = None) -> int:
        """Rows in one version, from the log's statistics alone."""
        actions = pa.table(self._open(name, version).get_add_actions(flatten=True))
        if actions.num_rows == 0:
            return 0
        counts = actions.column("num_records").to_pylist()
        if any(c is None for c in counts):
            return int(self._open(name, version).count())
        return int(sum(counts))

    def compact(self, name: str, *, dry_run: bool = False) -> Change:
        """Rewrite runs of small files into large ones; rows, their order and the app transactions stay. Landers beside it need not wait.

        Gives what was done, or would be. Raises Unsupported for a table that another engine has given features that this does not know.
        """
        done = Change()
        for group in self._small_files(name):
            done += Change(files_removed=len(group), files_added=1, bytes_removed=sum(f["size"] for f in group))
            if not dry_run:
                made = self._rewrite(name, group, None)
                if self._replace(name, group, made, "OPTIMIZE", data_change=False) is None:
                    return Change(conflicts=1)
                done.bytes_added += sum(int(add["size"]) for add in made)
        return done

    def forget(self, name: str, column: str, before: datetime, *, dry_run: bool = False) -> Change:
        """Delete the rows whose timestamp `column` is earlier. The app transactions stay, so nothing is landed again. Gives what was done."""
        done, old = Change(), ds.field(column) < pa.scalar(before)
        for file in self._data_files(name):
            content = ds.dataset(self.path(name) / file["path"], schema=self.schema(name))
            rows = content.count_rows(filter=old)
            if not rows:
                continue
            is_whole = rows == content.count_rows()
            done += Change(rows_removed=rows, files_removed=1, files_added=int(not is_whole), bytes_removed=file["size"])
            if not dry_run:
                made = [] if is_whole else self._rewrite(name, [file], ~old)
                if self._replace(name, [file], made, "DELETE", data_change=True) is None:
                    return Change(conflicts=1)
                done.bytes_added += sum(int(add["size"]) for add in made)
        return done

    def checkpoint(self, name: str, commits: int, *, dry_run: bool = False) -> bool:
        """Write a checkpoint where so many commits were made since the last; gives whether."""
        log = self.path(name) / "_delta_log"
        since = self._open(name).version() - max(delta_log.newest_checkpoint(log), 0)
        if since >= commits and not dry_run:
            self._open(name).create_checkpoint()
            self._sync_log(self.path(name))
        return bool(since >= commits)

    def sweep(self, name: str, kept: Collection[int], grace: timedelta, *, dry_run: bool = False) -> Change:
        """Remove data files that neither the newest nor a kept version is made of, and that no version was made of for so long; then old commits.

        Files that no commit names (a killed writer left them) go when they are as old as that.
        """
        path, limit, done = self.path(name), time.time() - grace.total_seconds(), Change()
        log = path / "_delta_log"
        newest = self.version(name)
        begin = next((v for v in delta_log.checkpoints(log)), 0) if delta_log.versions(log)[0] else 0
        needed, current = {newest, *kept}, {f["path"] for f in self._data_files(name)}
        named = delta_log.lifetimes(log, begin, [str(f["path"]) for f in self._data_files(name, begin)])
        for file in path.rglob("*.parquet"):
            inside = file.relative_to(path).as_posix()
            if inside.startswith("_") or inside in current:
                continue
            state, life = file.stat(), named.get(inside)
            if state.st_mtime > limit or (life and ((life.removed_at or limit) > limit or life.is_in(needed))):
                continue
            done += Change(files_swept=1, bytes_swept=state.st_size)
            if not dry_run:
                file.unlink()
        for file in delta_log.unfinished(log):
            if file.stat().st_mtime < limit:
                done += Change(files_swept=1, bytes_swept=file.stat().st_size)
                if not dry_run:
                    file.unlink()
        recent = [v for v in delta_log.versions(log) if (log / f"{v:020}.json").stat().st_mtime > limit]
        return done + Change(commits_removed=delta_log.trim(log, min([*needed, *recent]), dry_run=dry_run))

    def paths_up_to(self, name: str, version: int) -> list[Path]:
        """Every file that the versions up to one are made of and that is still there: commits, checkpoints, data. They never change."""
        path = self.path(name)
        log = path / "_delta_log"
        found = [log / f"{v:020}.json" for v in delta_log.versions(log) if v <= version]
        checkpoints = [v for v in delta_log.checkpoints(log) if v <= version]
        found += [log / f"{v:020}.checkpoint.parquet" for v in checkpoints]
        begin = checkpoints[0] if checkpoints and not (log / f"{0:020}.json").exists() else 0
        named = delta_log.lifetimes(log, begin, [str(f["path"]) for f in self._data_files(name, begin)])
        data = [path / inside for inside, life in sorted(named.items()) if life.added <= version]
        return found + [file for file in data if file.exists()]

    def _data_files(self, name: str, version: int | None = None) -> list[dict[str, Any]]:
        """path, size, num_records of each file of a version, oldest first."""
        return _files_of(self._open(name, version))

    def _small_files(self, name: str) -> Iterator[list[dict[str, Any]]]:
        table = self._open(name)
        if table.metadata().partition_columns or table.protocol().min_writer_version > _HIGHEST_WRITER:
            raise Unsupported(f"{name}: {table.protocol()}, expected a table without partitions and features, as gridlake makes them; left as it is")
        group: list[dict[str, Any]] = []
        rows = 0
        for file in [f for f in self._data_files(name) if f["rows"] is not None and f["rows"] < ROWS_PER_FILE // 2]:
            if rows + file["rows"] > ROWS_PER_FILE:
                yield group
                group, rows = [], 0
            group.append(file)
            rows += file["rows"]
        # Few small files are left alone, or each call would rewrite the same rows.
        if len(group) >= _FEWEST_TO_COMPACT:
            yield group

    def _rewrite(self, name: str, files: Sequence[Mapping[str, Any]], where: ds.Expression | None) -> list[dict[str, Any]]:
        """Write the rows of some files, in their order, into a new one that is on the disk; gives the `add` of it."""
        folder, schema = self.path(name), self.schema(name)
        path = folder / f"part-{uuid.uuid4()}.zstd.parquet"
        rows = 0
        held: list[pa.Table] = []
        with room_for(folder, sum(f["size"] for f in files)), pq.ParquetWriter(path, schema, compression=_COMPRESSION) as writer:
            for file in files:
                table = ds.dataset(folder / file["path"], schema=schema).to_table(filter=where)
                rows += table.num_rows
                held.append(table)
                # A group of rows for each small file would be read no faster than the files.
                if sum(t.num_rows for t in held) >= _ROWS_PER_GROUP or file is files[-1]:
                    writer.write_table(pa.concat_tables(held))
                    held = []
        fsync(path)
        fsync(folder)
        status = path.stat()
        stats = json.dumps({"numRecords": rows})
        return [{"path": path.name, "partitionValues": {}, "size": status.st_size, "modificationTime": int(status.st_mtime * 1000), "stats": stats}]

    def _replace(
        self, name: str, old: Sequence[Mapping[str, Any]], new: Sequence[Mapping[str, Any]], operation: str, *, data_change: bool
    ) -> int | None:
        """Commit that files take the place of others; gives the version, None where another writer has replaced one of the others meanwhile.

        delta-rs syncs neither the files that it compacts into nor the commit, so a power cut could leave a commit that names torn files in the
        place of good ones. Here both are on the disk before the commit has its name.
        """
        at = int(time.time() * 1000)
        info = {"timestamp": at, "operation": operation, "operationParameters": {}, "engineInfo": "gridlake"}
        told = info | delta_log.counts(len(new), 0, len(old))
        gone = [
            {
                "remove": {
                    "path": f["path"],
                    "deletionTimestamp": at,
                    "dataChange": data_change,
                    "extendedFileMetadata": True,
                    "partitionValues": f["partition"],
                    "size": f["size"],
                }
            }
            for f in old
        ]
        come = [{"add": {**add, "dataChange": data_change}} for add in new]
        barrier("table.before_replacing", name)
        while True:
            # Both of one look at the table: a commit in between would take files away unseen.
            table = self._open(name)
            version = int(table.version()) + 1
            if not {f["path"] for f in old} <= {f["path"] for f in _files_of(table)}:
                for add in new:
                    (self.path(name) / str(add["path"])).unlink()
                return None
            if delta_log.publish(self.path(name) / "_delta_log", version, [{"commitInfo": told}, *gone, *come]):
                break
        barrier("table.after_replacing", name)
        self._sync_log(self.path(name))
        return version

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        path = self.path(name)
        self._set_aside_torn(path)
        try:
            return DeltaTable(str(path), version=version)
        except TableNotFoundError:
            raise KeyError(f"no table {name} under {self.root}; there are {', '.join(self.names()) or 'none'}") from None

    def _commit(self, name: str, data: pa.Table, transactions: dict[str, int], epochs: dict[str, int], *, mode: str) -> int:
        with room_for(self.path(name), data.nbytes + _COMMIT_BYTES):
            return self._commit_where_there_is_room(name, data, transactions, epochs, mode=mode)

    def _commit_where_there_is_room(self, name: str, data: pa.Table, transactions: dict[str, int], epochs: dict[str, int], *, mode: str) -> int:
        path = self.path(name)
        table = self._open(name)
        _see_unfenced(name, table, epochs)
        for app_id, version in transactions.items():
            present = table.transaction_version(app_id)
            if present is not None and int(present) >= version:
                raise StaleTransaction(f"{name}: {app_id} is already at {present}, {version} was to be written")
        if mode == "append":
            data = _in_order_of(name, pa.schema(table.schema().to_arrow()), data)
        actions = [self._write_file(path, data.slice(start, ROWS_PER_FILE)) for start in range(0, data.num_rows, ROWS_PER_FILE)]
        if actions:
            fsync(path)
        barrier("table.between_files_and_commit", name)
        try:
            table.create_write_transaction(
                actions=actions,
                mode=mode,
                schema=Schema.from_arrow(data.schema) if mode == "overwrite" else table.schema(),
                commit_properties=CommitProperties(
                    custom_metadata=delta_log.counts(len(actions), len(transactions | epochs)),
                    app_transactions=[Transaction(a, v) for a, v in (transactions | epochs).items()],
                ),
                post_commithook_properties=_AFTER_COMMIT,
            )
        except CommitFailedError:
            # Delta lets no two concurrent commits name one app.
            _see_unfenced(name, self._open(name), epochs)
            raise
        barrier("table.after_commit", name)
        self._sync_log(path)
        barrier("table.after_sync", name)
        table.update_incremental()
        return int(table.version())

    @staticmethod
    def _write_file(folder: Path, data: pa.Table) -> AddAction:
        name = f"part-{uuid.uuid4()}.zstd.parquet"
        try:
            pq.write_table(data, folder / name, compression=_COMPRESSION)
            fsync(folder / name)
        except OSError:
            # Half a file takes the room that is lacking.
            (folder / name).unlink(missing_ok=True)
            raise
        status = (folder / name).stat()
        return AddAction(
            path=name,
            size=status.st_size,
            partition_values={},
            modification_time=int(status.st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": data.num_rows}),
        )

    def _sync_log(self, path: Path) -> None:
        """Everything that is in the log, also by others: a later commit is worth nothing without those before it."""
        log = path / "_delta_log"
        if path not in self._synced:
            # Whoever made these folders may have been killed before they were synced.
            for folder in (path, *path.parents[: len(path.relative_to(self.root).parts) + 2]):
                if os.access(folder, os.R_OK):
                    fsync(folder)
        newest = delta_log.sync(log, self._synced.get(path, -1))
        if newest < 0:
            raise FileNotFoundError(f"{log}: expected the commit just written, found none; something else removes files there")
        self._synced[path] = newest

    def _set_aside_torn(self, path: Path) -> int:
        newest = delta_log.set_aside_torn(path / "_delta_log", self._whole.get(path, -1))
        self._whole[path] = newest
        return newest


def _files_of(table: DeltaTable) -> list[dict[str, Any]]:
    columns = table.metadata().partition_columns
    shown = ["path", "size_bytes", "num_records", "modification_time", *(f"partition.{column}" for column in columns)]
    actions = pa.table(table.get_add_actions(flatten=True)).select(shown)
    found = [
        {
            "path": unquote(row["path"]),
            "size": row["size_bytes"],
            "rows": row["num_records"],
            "at": row["modification_time"],
            "partition": {column: row[f"partition.{column}"] for column in columns},
        }
        for row in actions.to_pylist()
    ]
    return sorted(found, key=lambda f: (f["at"], f["path"]))


def _free(folder: Path) -> int:
    there = next(p for p in (folder, *folder.parents) if p.exists())
    state = os.statvfs(there)
    return state.f_bavail * state.f_frsize


def _see_unfenced(name: str, table: DeltaTable, epochs: Mapping[str, int]) -> None:
    for app, epoch in epochs.items():
        present = table.transaction_version(app)
        if present is None or int(present) != epoch:
            raise Fenced(
                f"{name}: {app} is at {present}, this process took it over at {epoch}; another process lands it now, so leave it to that one"
            )


def _in_order_of(name: str, schema: pa.Schema, data: pa.Table) -> pa.Table:
    missing = [f.name for f in schema if f.name not in data.column_names]
    unknown = [c for c in data.column_names if c not in schema.names]
    if missing or unknown:
        raise SchemaConflict(f"{name}: append lacks columns {missing} and adds {unknown}; call ensure() with the new schema first")
    ordered = data.select(schema.names)
    for field in schema:
        if not ordered.schema.field(field.name).type.equals(field.type):
            raise SchemaConflict(f"{name}: column {field.name} is {field.type}, the data bring {ordered.schema.field(field.name).type}")
    return ordered
