"""Whether machine, lake and declarations are fit to run; every finding says what to do."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from gridlake import contracts, senders, vocabularies
from gridlake.engine import Engine, require_usable
from gridlake.settings import Settings
from gridlake.tables import Tables

# A default province takes about 1 GB with its inbox; below three times that a run may end on a full disk.
_FREE_GB = 3


def examine(settings: Settings) -> list[dict[str, Any]]:
    """Findings {what, ok, found, do}; none of them changes anything."""
    checks: list[tuple[str, Callable[[Settings], str], str]] = [
        ("Python", _python, "use Python 3.11: pysail and dbt-spark of this lock were tried together on it"),
        ("packages", _packages, "run `make env`"),
        ("contracts", _contracts, "mend the file named; `gridlake feed check` says more"),
        ("senders and vocabularies", _declarations, "mend the file named"),
        ("lake", _lake, "choose another --home, or free disk space"),
        ("keys", _keys, "chmod 600 the key file, and keep a copy of it: without it sealed values are lost"),
        ("tables", _tables, "restore the table from a backup, or remove its folder and land again"),
        ("inbox", _inbox, "lay files as <inbox>/<source>/<feed>/<sender>/<file>"),
        ("engine", _engine, "for sc:// start the server; for the embedded engine run `make env`"),
    ]
    findings = []
    for what, look, remedy in checks:
        try:
            found, ok = look(settings), True
        except Exception as error:  # noqa: BLE001 - a diagnosis reports whatever is wrong
            found, ok = f"{type(error).__name__}: {error}", False
        findings.append({"what": what, "ok": ok, "found": found, "do": remedy})
    return findings


def _python(_: Settings) -> str:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] != (3, 11):
        raise RuntimeError(f"expected 3.11, this is {found}")
    return found


def _packages(_: Settings) -> str:
    names = ("pysail", "pyspark", "deltalake", "dbt-core", "dbt-spark", "duckdb", "great-expectations")
    return ", ".join(f"{name} {distribution(name).version}" for name in names)


def _contracts(settings: Settings) -> str:
    return ", ".join(f"{c.id} {c.version}" for c in contracts.load_all(settings).values())


def _declarations(settings: Settings) -> str:
    return f"{len(senders.load_all(settings))} senders, {len(vocabularies.load_all(settings))} vocabularies"


def _lake(settings: Settings) -> str:
    existing = next(p for p in (settings.home.absolute(), *settings.home.absolute().parents) if p.exists())
    if not os.access(existing, os.W_OK):
        raise PermissionError(f"{existing} is not writable")
    require_usable(settings.engine, settings.tables)
    free = shutil.disk_usage(existing).free / 1e9
    if free < _FREE_GB:
        raise OSError(f"{free:.1f} GB free at {existing}, at least {_FREE_GB} GB expected")
    return f"{settings.home} ({free:.0f} GB free)"


def _keys(settings: Settings) -> str:
    if not settings.keys.exists():
        return f"{settings.keys} will be made by the first landing"
    mode = stat.S_IMODE(settings.keys.stat().st_mode)
    if mode & 0o077:
        raise PermissionError(f"{settings.keys} has mode {mode:o}, expected 600")
    if settings.home.absolute() in settings.keys.absolute().parents:
        raise PermissionError(f"{settings.keys} lies inside the lake: whoever copies the lake copies the keys")
    return str(settings.keys)


def _tables(settings: Settings) -> str:
    tables = Tables(settings.tables)
    names = tables.names()
    for name in names:
        missing = [f for f in tables.files(name) if not Path(f).exists()]
        if missing:
            raise FileNotFoundError(f"{name}: {len(missing)} data files of the newest version are missing")
    torn = len(list(settings.tables.glob("*/*/_delta_log/*.torn-*")))
    aside = f"; {torn} torn files of logs were set aside (infra/runbooks/torn-table.md)" if torn else ""
    return f"{len(names)} tables, every file of their newest versions is there{aside}"


def _inbox(settings: Settings) -> str:
    if not settings.inbox.exists():
        return f"{settings.inbox} is not there yet; `gridlake simulate` fills it"
    strays = [p for p in settings.inbox.glob("**/*") if p.is_file() and len(p.relative_to(settings.inbox).parts) != 4 and p.parts[-2][:1] != "_"]
    if strays:
        raise RuntimeError(f"{len(strays)} files are not at <source>/<feed>/<sender>/<file>, the first is {strays[0]}")
    return str(settings.inbox)


def _engine(settings: Settings) -> str:
    engine = Engine(settings.engine, Tables(settings.tables))
    try:
        version = engine.spark.sql("SELECT version() AS v").toPandas()["v"][0]
    finally:
        engine.stop()
    return f"{settings.engine}: {version}"
