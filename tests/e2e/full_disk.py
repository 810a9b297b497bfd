"""A landing into a disk that is full at some moment, in a process of its own: how it ends, what is to be seen, and what a repetition makes of it.

`python -m tests.e2e.full_disk FOLDER` has a disk of its own for the lake (a tmpfs mounted on FOLDER/disk, in a mount namespace by `unshare`) and
prints a JSON line for each amount of free space. `--limit` stands in where nothing may be mounted: no file may grow beyond a size.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import pickle
import resource
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from gridlake import cli
from gridlake.privacy import Keys
from gridlake.settings import Settings
from gridlake.tables import Tables
from tests.e2e.power import content, environment, first_files, make_small
from tests.streaming.conftest import DECLARATIONS

NOW = ("--as-of", "2026-06-01T08:00:00Z")
DISK_KB = 16 << 10


def land(home: Path, inbox: Path) -> tuple[int, dict[str, Any]]:
    """(exit code, JSON document) of a landing in this process."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()):
        try:
            cli.main(["land", "--home", str(home), "--inbox", str(inbox), *NOW, "--json"], standalone_mode=False)
            code = 0
        except SystemExit as end:
            code = int(end.code or 0)
    return code, json.loads(said.getvalue())


def prepare(folder: Path) -> tuple[Path, Path]:
    """(an empty disk with the keys of every other, the inbox)."""
    os.environ.update(environment(DECLARATIONS))
    make_small()
    first_files(folder / "inbox")
    empty = folder / "empty"
    empty.mkdir()
    Keys.load(Settings(home=empty / "lake").keys)
    return empty, folder / "inbox"


def see(home: Path) -> dict[str, Any]:
    """The positions in bronze and quarantine, as a reader sees them."""
    tables = Tables(home / "tables")
    return {
        name: sorted(tables.read(name, columns=["_source_position"]).column(0).to_pylist()) for name in tables.names() if not name.startswith("ops.")
    }


def attempts(folder: Path, free_kb: list[int], *, limit: bool) -> None:
    """Land with each amount of free space (or each largest size of a file), make room, land again; print what came of it."""
    empty, inbox = prepare(folder)
    undisturbed = folder / "undisturbed"
    shutil.copytree(empty, undisturbed)
    code, _ = land(undisturbed / "lake", inbox)
    assert code == 0
    expected = pickle.dumps(content(Tables(undisturbed / "lake" / "tables")))
    disk = folder / "disk"
    for kilobytes in free_kb:
        shutil.rmtree(disk, ignore_errors=True)
        disk.mkdir()
        if not limit:
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k", "tmpfs", disk], check=True)
        shutil.copytree(empty, disk, dirs_exist_ok=True)
        _fill(disk, kilobytes, limit=limit)
        code, document = land(disk / "lake", inbox)
        _make_room(disk, limit=limit)
        seen = see(disk / "lake")
        left = [str(p.relative_to(disk)) for p in disk.rglob(".*.sealed.*")]
        again, _ = land(disk / "lake", inbox)
        made = pickle.dumps(content(Tables(disk / "lake" / "tables")))
        print(
            json.dumps(
                {
                    "free_kb": kilobytes,
                    "code": code,
                    "error": document.get("error"),
                    "message": document.get("message"),
                    "seen": {name: len(rows) for name, rows in seen.items()},
                    "doubled": {name: len(rows) - len(set(rows)) for name, rows in seen.items()},
                    "left": left,
                    "again": again,
                    "as_undisturbed": pickle.loads(made) == pickle.loads(expected),
                }
            ),
            flush=True,
        )
        if not limit:
            subprocess.run(["umount", "-l", disk], check=True)


def _fill(disk: Path, kilobytes: int, *, limit: bool) -> None:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (kilobytes << 10, resource.RLIM_INFINITY))
        return
    state = os.statvfs(disk)
    (disk / "filler").write_bytes(bytes(max(state.f_bavail * state.f_frsize - (kilobytes << 10), 0)))


def _make_room(disk: Path, *, limit: bool) -> None:
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        (disk / "filler").unlink()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--free-kb", type=int, nargs="+", required=True)
    parser.add_argument("--limit", action="store_true")
    options = parser.parse_args()
    attempts(options.folder, options.free_kb, limit=options.limit)


if __name__ == "__main__":
    sys.exit(main())
