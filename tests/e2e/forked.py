"""The command `gridlake` as a process of its own, forked from one that has imported everything and started nothing."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.connection import wait
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.e2e.imported"])
# A killed process gives no semaphore back; that it is told of does not belong under the last line of what is printed.
sys.warnoptions.append("ignore::UserWarning:multiprocessing.resource_tracker")


# multiprocessing looks after all children whenever it starts or joins one, and two threads that read one exit code lose it.
_LOCK = threading.Lock()


def run(
    arguments: Sequence[str | Path],
    log: Path,
    env: Mapping[str, str],
    *,
    killed_after: float | None = None,
    before: Callable[[], None] | None = None,
) -> int:
    """The exit code of the command, or -9 where it was killed, here after so many seconds; what it prints is added to `log`.

    `before` is called in the new process: what is to be otherwise there than it is here.
    """
    process = _CONTEXT.Process(target=_become, args=([*map(str, arguments)], log, dict(env), before), daemon=True)
    with _LOCK:
        process.start()
    if not wait([process.sentinel], killed_after):
        process.kill()
    wait([process.sentinel])
    with _LOCK:
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def _become(arguments: list[str], log: Path, env: Mapping[str, str], before: Callable[[], None] | None) -> None:
    for name in [n for n in os.environ if n.startswith("GRIDLAKE_")]:
        del os.environ[name]
    os.environ.update(env)
    printed = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(printed, stream.fileno())
    if before is not None:
        before()
    from gridlake.cli import main

    main(arguments)
