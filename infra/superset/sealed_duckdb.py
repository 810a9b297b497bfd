"""Every DuckDB connection of Superset: opened on the snapshot that is current at that moment, read-only, and without files or settings.

Read-only alone is no seal: `copy … to` and `read_csv` would still write and read files of the machine.
"""

from __future__ import annotations

import os
from typing import Any

from sqlalchemy import event
from sqlalchemy.engine import Engine

_SEALS = ("global TimeZone = 'UTC'", "enable_external_access = false", "lock_configuration = true")


@event.listens_for(Engine, "do_connect")
def open_current(dialect: Any, _record: Any, _arguments: list[Any], options: dict[str, Any]) -> None:
    """Resolve `current`: under one name a process keeps the file that it opened first, for as long as any connection is open."""
    if dialect.name == "duckdb":
        options["database"] = os.path.realpath(options["database"])


@event.listens_for(Engine, "connect")
def seal(connection: Any, _record: Any) -> None:
    """Lock the connection up; all connections of a process to one file share what the first one sets."""
    if not type(connection).__module__.startswith("duckdb_engine"):
        return
    if is_sealed(connection):
        return
    try:
        for setting in _SEALS:
            connection.execute(f"set {setting}")
    except Exception:
        # Another thread may have locked it between two of the settings; whatever else it was, an open connection is not given out.
        if not is_sealed(connection):
            raise


def is_sealed(connection: Any) -> bool:
    """Whether neither files nor settings can be reached."""
    asked = "select not current_setting('enable_external_access')::boolean and current_setting('lock_configuration')::boolean"
    return bool(connection.execute(asked).fetchone()[0])
