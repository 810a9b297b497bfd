"""The Spark session: Sail in this process, or Apache Spark at sc://; shows the lake's tables, bronze at the cut's versions.

Nothing else in the code knows which of the two it is.
"""

from __future__ import annotations

import fcntl
import os
import re
import tempfile
import uuid
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import MappingProxyType
from typing import IO, TYPE_CHECKING

from gridlake.settings import Settings
from gridlake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EMBEDDED = "embedded"
DEFAULT_MEMORY_MB: int = Settings.model_fields["memory_mb"].default
# Schemas whose tables go on growing while a run reads them: seen through a view at the cut's version.
_MOVING = {"bronze": "landed", "quarantine": "landed_quarantine", "ops": "landed_ops"}
MODEL_SCHEMAS = ("staging", "resolved", "theme", "item", "business", "sharing", "factor", "finding", "evaluation", "mart")
# Sail 0.7.2 percent-encodes any other character twice and writes beside the folder that it was given.
_WRITABLE_PATH = re.compile(r"[A-Za-z0-9/_.:;,+=@()&!$-]*")
# What makes a Spark session write as the embedded engine does: its default are timestamps of 96 bits, without statistics.
_AS_EMBEDDED = {"spark.sql.parquet.outputTimestampType": "TIMESTAMP_MICROS"}
# The database whose comment says which lake a Spark server's catalog shows.
_MARK = "gridlake"
# Scratch tables of dbt (macro scratch_table): made anew for each model, never read again.
_SCRATCH = "changes"
# A Spark server is given so many statements at a time.
AT_A_TIME = 4


class EngineError(Exception):
    """The engine could not be started or reached."""


def require_usable(kind: str, root: Path) -> None:
    """Raise EngineError when the engine cannot write below this folder: to be asked before anything lands there."""
    if kind == EMBEDDED and not _WRITABLE_PATH.fullmatch(str(root)):
        raise EngineError(
            f"{root}: the embedded engine needs a path of letters, digits and / . _ - + without blanks, Chinese or quotes; "
            "give such a folder by --home"
        )


def _embedded_settings(memory_mb: int) -> dict[str, str]:
    """Sail reads its settings from the environment when it starts."""
    return {
        # It logs through env_logger; INFO lines are for its developers.
        "RUST_LOG": "error",
        # A sort or aggregate that reaches its share goes on on disk. A hash join cannot, so SQL names the smaller side of a join first.
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": '"fair"',
        "SAIL_RUNTIME__MEMORY_POOL__FAIR__MAX_SIZE": str(memory_mb * 1024 * 1024),
        # Freed memory goes back to the system after 1 s. On 1 M events, from staging to the report: at once takes twice the system time, after
        # 20 s a third more memory (3.9 GB instead of 2.8) for a sixteenth less processor time.
        "MIMALLOC_PURGE_DELAY": "1000",
    }


class Engine:
    """A running engine with one session that dbt, jobs and this process share by `url`."""

    def __init__(self, kind: str, tables: Tables, memory_mb: int = DEFAULT_MEMORY_MB) -> None:
        self._tables = tables
        self._remote = None if kind == EMBEDDED else kind.removeprefix("sc://").rstrip("/")
        self._server: object | None = None
        self._hold: IO[str] | None = None
        self._shows_nothing = kind == EMBEDDED
        session = f"session_id={uuid.uuid4()};user_id=gridlake"
        if kind == EMBEDDED:
            require_usable(kind, tables.root)
            for name, value in _embedded_settings(memory_mb).items():
                os.environ.setdefault(name, value)
            from pysail.spark import SparkConnectServer

            server = SparkConnectServer("127.0.0.1", 0)
            server.start(background=True)
            self._server = server
            host, port = server.listening_address
            self.url = f"sc://{host}:{port}/;{session}"
        elif kind.startswith("sc://"):
            self.url = f"{kind.rstrip('/')}/;{session}"
        else:
            raise EngineError(f"GRIDLAKE_ENGINE={kind!r}: expected 'embedded' or 'sc://host:port'")
        os.environ["SPARK_REMOTE"] = self.url
        from pyspark.sql import SparkSession

        try:
            self.spark: SparkSession = SparkSession.builder.remote(self.url).create()
            self.spark.conf.set("spark.sql.session.timeZone", "UTC")
            for name, value in _AS_EMBEDDED.items() if self._remote else ():
                self.spark.conf.set(name, value)
        except Exception as error:
            raise EngineError(f"{kind}: no Spark Connect session: {error}; is the server up? see `gridlake doctor`") from error

    def register(self, cut: dict[str, int], views: Mapping[str, str] = MappingProxyType({})) -> None:
        """Show every table of the lake in the catalog, those of the cut at its versions; and the views, SQL by name.

        The sessions of a Spark server share its catalog, which therefore shows one lake at a time: raises EngineError while another one is run on it.
        """
        names = [name for name in self._tables.names() if name not in views]
        present = self._take_catalog([*names, *views]) if self._remote else frozenset()
        # An embedded engine that has just started shows nothing yet.
        anew, self._shows_nothing = self._shows_nothing, False
        # A model of --contracts may have made a schema of its own.
        for schema in dict.fromkeys((*MODEL_SCHEMAS, *_MOVING, *_MOVING.values(), *(name.partition(".")[0] for name in names))):
            self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {schema}")

        def show(name: str) -> None:
            if _shown_as(name) == name:
                if anew:
                    self._create(name, name)
                elif name not in present:
                    self.register_table(name)
            elif name in cut:
                self._create(_shown_as(name), name)
                self._tables.reach(name)
                if not anew:
                    self.spark.sql(f"DROP VIEW IF EXISTS {name}")
                self.spark.sql(f"CREATE VIEW {name} AS SELECT * FROM {_shown_as(name)} VERSION AS OF {cut[name]}")

        with ThreadPoolExecutor(AT_A_TIME if self._remote else 1) as pool:
            list(pool.map(show, names))
        for name, sql in views.items():
            self.spark.sql(f"CREATE OR REPLACE VIEW {name} AS {sql}")

    def register_table(self, name: str) -> None:
        """Show one table that something else than the engine has written, with the schema it has now."""
        self._shows_nothing = False
        if not self._remote:
            # Sail keeps the schema of the day; Spark looks into the table's log.
            self.spark.sql(f"DROP TABLE IF EXISTS {name}")
        self._create(name, name)

    def stop(self) -> None:
        """End the session, and the embedded server with it."""
        self.spark.stop()
        if self._server is not None:
            self._server.stop()  # type: ignore[attr-defined]
        if self._hold is not None:
            self._hold.close()
        os.environ.pop("SPARK_REMOTE", None)

    def _take_catalog(self, names: list[str]) -> frozenset[str]:
        """Hold the server for this lake and forget what its catalog shows of another one, or of files that are gone; gives what it shows already."""
        assert self._remote is not None
        if self._hold is None:
            self._hold = _hold_of(self._remote, self._tables.root)
        databases = [row[0] for row in self.spark.sql("SHOW DATABASES").collect() if row[0] != "default"]
        if databases and _MARK not in databases:
            raise EngineError(
                f"sc://{self._remote}: its catalog holds databases that gridlake has not made ({', '.join(databases[:5])}) and would drop; "
                "give it a server of its own (make spark)"
            )
        if databases:
            said = {row[0]: row[1] for row in self.spark.sql(f"DESCRIBE DATABASE {_MARK}").collect()}
            if said.get("Comment") == str(self._tables.root):
                # Temporary views are shown in every database.
                own = [d for d in databases if d not in {*_MOVING, _SCRATCH}]
                shown = {f"{d}.{row[1]}" for d in own for row in self.spark.sql(f"SHOW TABLES IN {d}").collect() if not row[2]}
                for name in shown - {_shown_as(name) for name in names}:
                    self._forget(name)
                return frozenset(shown & set(names))
        # The tables are external: their files stay. The mark goes last, so that a killed run leaves a catalog that the next one knows for its own.
        for database in sorted(databases, key=_MARK.__eq__):
            self.spark.sql(f"DROP DATABASE {database} CASCADE")
        self.spark.sql(f"CREATE DATABASE {_MARK} COMMENT '{self._tables.root}'")
        return frozenset()

    def _forget(self, name: str) -> None:
        database, _, table = name.partition(".")
        views = {row[1] for row in self.spark.sql(f"SHOW VIEWS IN {database}").collect()}
        self.spark.sql(f"DROP {'VIEW' if table in views else 'TABLE'} IF EXISTS {name}")

    def _create(self, catalog_name: str, name: str) -> None:
        self.spark.sql(f"CREATE TABLE IF NOT EXISTS {catalog_name} USING delta LOCATION '{self._tables.path(name)}'")


def _shown_as(name: str) -> str:
    """The name in the catalog under which the whole, moving table is seen."""
    schema, _, table = name.partition(".")
    return f"{_MOVING.get(schema, schema)}.{table}"


def _hold_of(server: str, root: Path) -> IO[str]:
    """Hold a Spark server for one process of this machine and lake; who is killed lets go by itself."""
    path = Path(tempfile.gettempdir()) / f"gridlake-{os.getuid()}-{re.sub(r'[^A-Za-z0-9.]', '_', server)}.lock"
    hold = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(hold, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        hold.seek(0)
        holder = hold.read().strip() or "another process"
        hold.close()
        raise EngineError(
            f"sc://{server} is held by {holder}: a Spark server shows one lake at a time; wait for it, or start a second server"
        ) from None
    hold.truncate(0)
    hold.write(f"the run of {root} (process {os.getpid()})")
    hold.flush()
    return hold
