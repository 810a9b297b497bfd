"""Named points beside every write, where a test may kill this process (-9).

GRIDLAKE_KILL_AT=<name>[:n] kills at the n-th passing of that name, `any:n` at the n-th passing of whatever name.
GRIDLAKE_BARRIERS=<file> gets a line `<name> <what was written>` for every passing. Without both a barrier does nothing.
"""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

ANY = "any"
_passed: Counter[str] = Counter()


def barrier(name: str, written: str = "") -> None:
    """Pass the point `name` beside the write of `written`: be entered in the list of passings, and die here where that is asked for."""
    record, wanted = os.environ.get("GRIDLAKE_BARRIERS"), os.environ.get("GRIDLAKE_KILL_AT")
    if record:
        with Path(record).open("a", encoding="utf-8") as passings:
            passings.write(f"{name} {written}\n")
    if not wanted:
        return
    target, _, nth = wanted.partition(":")
    if target in (name, ANY):
        _passed[target] += 1
        if _passed[target] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)
