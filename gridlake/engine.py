"""The Spark session: Sail in this process, or Apache Spark at sc://; shows the lake's tables, bronze at the cut's versions.

Nothing else in the code knows which of the two it is.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from gridlake.settings import Settings
from gridlake.tables import Tables

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EMBEDDED = "embedded"
DEFAULT_MEMORY_MB: int = Settings.model_fields["memory_mb"].default
# Schemas whose tables go on growing while a run reads them: seen through a view at the cut's version.
_MOVING = {"bronze": "landed", "quarantine": "landed_quarantine", "ops": "landed_ops"}
_MODEL_SCHEMAS = ("staging", "resolved", "theme", "item", "business", "sharing", "factor", "finding", "evaluation", "mart")
# Sail 0.7.2 percent-encodes any other character twice and writes beside the folder that it was given.
_WRITABLE_PATH = re.compile(r"[A-Za-z0-9/_.:;,+=@()&!$-]*")


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
        # Freed memory goes back to the system after 20 s, not at once: measured on 1 M events, half the system time.
        "MIMALLOC_PURGE_DELAY": "20000",
    }


class Engine:
    """A running engine with one session that dbt, jobs and this process share by `url`."""

    def __init__(self, kind: str, tables: Tables, memory_mb: int = DEFAULT_MEMORY_MB) -> None:
        self._tables = tables
        self._server: object | None = None
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
        except Exception as error:
            raise EngineError(f"{kind}: no Spark Connect session: {error}; is the server up? see `gridlake doctor`") from error

    def register(self, cut: dict[str, int], views: Mapping[str, str] = MappingProxyType({})) -> None:
        """Show every table of the lake in the catalog, those of the cut at its versions; and the views, SQL by name."""
        names = [name for name in self._tables.names() if name not in views]
        # A model of --contracts may have made a schema of its own.
        for schema in dict.fromkeys((*_MODEL_SCHEMAS, *_MOVING, *_MOVING.values(), *(name.partition(".")[0] for name in names))):
            self.spark.sql(f"CREATE DATABASE IF NOT EXISTS {schema}")
        for name in names:
            schema, _, table = name.partition(".")
            if schema not in _MOVING:
                self.register_table(name)
            elif name in cut:
                self._create(f"{_MOVING[schema]}.{table}", name)
                self.spark.sql(f"DROP VIEW IF EXISTS {name}")
                self.spark.sql(f"CREATE VIEW {name} AS SELECT * FROM {_MOVING[schema]}.{table} VERSION AS OF {cut[name]}")
        for name, sql in views.items():
            self.spark.sql(f"CREATE OR REPLACE VIEW {name} AS {sql}")

    def register_table(self, name: str) -> None:
        """Show one table that something else than the engine has written, with the schema it has now."""
        self.spark.sql(f"DROP TABLE IF EXISTS {name}")
        self._create(name, name)

    def stop(self) -> None:
        """End the session, and the embedded server with it."""
        self.spark.stop()
        if self._server is not None:
            self._server.stop()  # type: ignore[attr-defined]
        os.environ.pop("SPARK_REMOTE", None)

    def _create(self, catalog_name: str, name: str) -> None:
        self.spark.sql(f"CREATE TABLE IF NOT EXISTS {catalog_name} USING delta LOCATION '{self._tables.path(name)}'")
