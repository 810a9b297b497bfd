"""Named points beside every write, where a test may kill this process (-9).

GRIDLAKE_BARRIERS=<file> gets a line `<name> <what is written>` for every passing. GRIDLAKE_KILL_AT=<name>[:n] kills at the n-th passing of that name,
GRIDLAKE_KILL_AT=<line>[:n] at that of the line. Without both a barrier does nothing.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_passed = 0


def barrier(name: str, written: str = "") -> None:
    """Pass the point `name` beside the write of `written`: be entered in the list of passings, and die here where that is asked for."""
    global _passed
    record, wanted = os.environ.get("GRIDLAKE_BARRIERS"), os.environ.get("GRIDLAKE_KILL_AT")
    line = f"{name} {written}".rstrip()
    if record:
        with Path(record).open("a", encoding="utf-8") as passings:
            passings.write(line + "\n")
    if wanted:
        target, _, nth = wanted.rpartition(":") if wanted.rpartition(":")[2].isdigit() else (wanted, "", "1")
        _passed += target in (name, line)
        if _passed == int(nth):
            os.kill(os.getpid(), signal.SIGKILL)
