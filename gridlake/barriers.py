"""Named points where a test may kill this process as a power cut would (-9)."""

from __future__ import annotations

import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def barrier(name: str) -> None:
    """Kill this process at the n-th passing of `name` when GRIDLAKE_KILL_AT is `name` or `name:n`."""
    wanted = os.environ.get("GRIDLAKE_KILL_AT")
    if not wanted:
        return
    target, _, nth = wanted.partition(":")
    if target == name:
        _passed[name] += 1
        if _passed[name] == int(nth or 1):
            os.kill(os.getpid(), signal.SIGKILL)
