"""Delta tables outside dbt and jobs: create, append, overwrite, evolve, read. The one place that writes them.

Data files, the log entry and both folders are fsynced before a write returns; a torn newest commit is set aside when a
table is opened, so its writer's app transaction is unknown again and its rows are landed again. A torn checkpoint is set
aside too: the log before it is kept, so nothing is lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, Field, PostCommitHookProperties, Schema, Transaction
from deltalake.exceptions import CommitFailedError, TableNotFoundError
from deltalake.transaction import AddAction

from gridlake.barriers import barrier

# 1 M landed rows of 20 fields are ~120 MB: a file of this many rows stays well below the 1 GiB Spark likes at most.
ROWS_PER_FILE = 1_000_000
_COMMIT = re.compile(r"\d{20}\.json")
_CHECKPOINT = re.compile(r"\d{20}\.checkpoint\.parquet")
_PARQUET_END = b"PAR1"
# A commit of a large batch takes seconds. Who holds a table longer is stopped or lost, and a person has to look.
_LONGEST_HOLD = 300.0
_LOOK_AGAIN = 0.005
# The log is kept: kept manifests name old versions.
_AFTER_COMMIT = PostCommitHookProperties(create_checkpoint=True, cleanup_expired_logs=False)


class SchemaConflict(Exception):
    """The table has a column of that name with another type, or the data lack or add a column."""


class StaleTransaction(Exception):
    """An app transaction of the append is already in the table at that version or past it."""


class Fenced(Exception):
    """Another process has taken over what the append believes to be its own."""


class Held(Exception):
    """A table is held by another writer for too long."""


def fsync(path: Path) -> None:
    """Put a file's or a folder's content on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(path: Path) -> None:
    """Create a folder, and those above it, for good: their entries are on the disk."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing:
        fsync(folder.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file so that after a power cut either the old or the new content is there."""
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    temporary.write_bytes(content)
    fsync(temporary)
    barrier("file.before_replace", path.name)
    temporary.replace(path)
    barrier("file.after_replace", path.name)
    fsync(path.parent)


class Tables:
    """The Delta tables under one folder; a name is `<schema>.<table>`."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()

    def path(self, name: str) -> Path:
        """The folder of a table, there or not."""
        schema, _, table = name.partition(".")
        if not table or "." in table:
            raise ValueError(f"table name {name!r}: expected <schema>.<table>")
        return self.root / schema / table

    def names(self) -> list[str]:
        """Every table that has at least one commit."""
        logs = self.root.glob("*/*/_delta_log")
        return sorted(f"{log.parent.parent.name}.{log.parent.name}" for log in logs if any(_COMMIT.fullmatch(p.name) for p in log.iterdir()))

    def exists(self, name: str) -> bool:
        """Whether the table has been created, by a commit that survived."""
        path = self.path(name)
        self._set_aside_torn(path)
        return any(_COMMIT.fullmatch(p.name) for p in (path / "_delta_log").glob("*.json"))

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
            before = int(table.version())
            barrier("table.before_columns", name)
            table.alter.add_columns([Field(f.name, f.type, nullable=True) for f in added.fields], post_commithook_properties=_AFTER_COMMIT)
            barrier("table.after_columns", name)
            self._sync_log(path, before)

    def resume_point(self, name: str, app_id: str) -> int | None:
        """The version of the app transaction in the newest snapshot; None where the table or the app is unknown."""
        return self.resume_points(name, [app_id]).get(app_id)

    def resume_points(self, name: str, app_ids: Iterable[str]) -> dict[str, int]:
        """`resume_point` of many apps with one opening of the table; unknown apps are left out."""
        if not self.exists(name):
            return {}
        table = self._open(name)
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
        path.parent.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _LONGEST_HOLD
        with path.open("a+") as handle:
            while True:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > deadline:
                        handle.seek(0)
                        holder = handle.read().strip() or "unknown"
                        raise Held(
                            f"{name}: process {holder} has held it for {_LONGEST_HOLD:.0f} s; it is stopped or waits for a disk: look, and end it"
                        ) from None
                    time.sleep(_LOOK_AGAIN)
            handle.truncate(0)
            handle.write(str(os.getpid()))
            handle.flush()
            yield

    def overwrite(self, name: str, data: pa.Table) -> int:
        """Replace all rows (and the schema); creates the table where there is none. Gives the new version."""
        if not self.exists(name):
            self.ensure(name, data.schema)
        return self._commit(name, data, {}, {}, mode="overwrite")

    def read(self, name: str, *, version: int | None = None, columns: list[str] | None = None, where: ds.Expression | None = None) -> pa.Table:
        """Rows of one version as Arrow; `where` is a pyarrow dataset expression, pushed down to the files."""
        table = self._open(name, version)
        dataset = table.to_pyarrow_dataset()
        return dataset.to_table(columns=columns, filter=where)

    def files(self, name: str, version: int | None = None) -> list[str]:
        """The Parquet files that make up one version, for readers that know no Delta. Tables of ours have no deletion vectors."""
        return [str(uri) for uri in self._open(name, version).file_uris()]

    def state(self, name: str, version: int | None = None) -> str:
        """What one version is made of, as a digest: versions that have it in common hold the same rows, as files are never rewritten."""
        table = self._open(name, version)
        said = "\n".join([table.schema().to_json(), *sorted(str(uri).removeprefix(str(self.path(name))) for uri in table.file_uris())])
        return hashlib.sha256(said.encode()).hexdigest()

    def row_count(self, name: str, version: int | None = None) -> int:
        """Rows in one version, from the log's statistics alone."""
        actions = pa.table(self._open(name, version).get_add_actions(flatten=True))
        if actions.num_rows == 0:
            return 0
        counts = actions.column("num_records").to_pylist()
        if any(c is None for c in counts):
            return int(self._open(name, version).count())
        return int(sum(counts))

    def _open(self, name: str, version: int | None = None) -> DeltaTable:
        path = self.path(name)
        self._set_aside_torn(path)
        try:
            return DeltaTable(str(path), version=version)
        except TableNotFoundError:
            raise KeyError(f"no table {name} under {self.root}; there are {', '.join(self.names()) or 'none'}") from None

    def _commit(self, name: str, data: pa.Table, transactions: dict[str, int], epochs: dict[str, int], *, mode: str) -> int:
        path = self.path(name)
        table = self._open(name)
        before = int(table.version())
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
                commit_properties=CommitProperties(app_transactions=[Transaction(a, v) for a, v in (transactions | epochs).items()]),
                post_commithook_properties=_AFTER_COMMIT,
            )
        except CommitFailedError:
            # Delta lets no two concurrent commits name one app.
            _see_unfenced(name, self._open(name), epochs)
            raise
        barrier("table.after_commit", name)
        self._sync_log(path, before)
        barrier("table.after_sync", name)
        table.update_incremental()
        return int(table.version())

    @staticmethod
    def _write_file(folder: Path, data: pa.Table) -> AddAction:
        name = f"part-{uuid.uuid4()}.snappy.parquet"
        pq.write_table(data, folder / name, compression="snappy", use_dictionary=True)
        fsync(folder / name)
        status = (folder / name).stat()
        return AddAction(
            path=name,
            size=status.st_size,
            partition_values={},
            modification_time=int(status.st_mtime * 1000),
            data_change=True,
            stats=json.dumps({"numRecords": data.num_rows}),
        )

    @staticmethod
    def _sync_log(path: Path, since: int = -1) -> None:
        """Put on the disk what was committed after the version `since`: of several writers' commits ours need not be the newest."""
        log = path / "_delta_log"
        newest = _newest(log, _COMMIT)
        if newest is None:
            raise FileNotFoundError(f"{log}: expected the commit just written, found none; something else removes files there")
        for commit in log.glob("*.json"):
            if _COMMIT.fullmatch(commit.name) and (int(commit.stem) > since or commit == newest):
                fsync(commit)
        checkpoint = log / f"{newest.stem}.checkpoint.parquet"
        if checkpoint.exists():
            fsync(checkpoint)
        fsync(log)
        fsync(path)

    @staticmethod
    def _set_aside_torn(path: Path) -> None:
        log = path / "_delta_log"
        if not log.is_dir():
            return
        for newest, is_whole in ((_newest(log, _COMMIT), _is_whole_commit), (_newest(log, _CHECKPOINT), _is_whole_checkpoint)):
            if newest is not None and not is_whole(newest):
                # A hint to a checkpoint that is gone stops every reader; without the hint they look for themselves. So the hint goes first.
                (log / "_last_checkpoint").unlink(missing_ok=True)
                newest.rename(newest.with_name(f"{newest.name}.torn-{uuid.uuid4().hex[:8]}"))
                fsync(log)


def _see_unfenced(name: str, table: DeltaTable, epochs: Mapping[str, int]) -> None:
    for app, epoch in epochs.items():
        present = table.transaction_version(app)
        if present is None or int(present) != epoch:
            raise Fenced(
                f"{name}: {app} is at {present}, this process took it over at {epoch}; another process lands it now, so leave it to that one"
            )


def _newest(log: Path, pattern: re.Pattern[str]) -> Path | None:
    return max((p for p in log.iterdir() if pattern.fullmatch(p.name)), default=None)


def _is_whole_checkpoint(checkpoint: Path) -> bool:
    with checkpoint.open("rb") as content:
        size = content.seek(0, os.SEEK_END)
        content.seek(max(size - len(_PARQUET_END), 0))
        return content.read() == _PARQUET_END


def _is_whole_commit(commit: Path) -> bool:
    content = commit.read_bytes()
    if not content.strip():
        return False
    try:
        for line in content.splitlines():
            json.loads(line)
    except ValueError:
        return False
    return True


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
