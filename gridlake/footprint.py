"""What a step takes of the machine, by this process's own counters: seconds, processor seconds, peak memory, bytes written. Linux only."""

from __future__ import annotations

import ctypes
import gc
import resource
import time
from pathlib import Path

import pyarrow as pa

_PROCESS = Path("/proc/self")
# Written to clear_refs it sets the peak of resident memory back to what is resident now (proc(5)).
_RESET_PEAK = "5"
# Collecting looks at every object of Python, a third of a second with dbt and Great Expectations loaded; below this the next step has room anyway.
_WORTH_COLLECTING_KB = 2_000_000


class Footprint:
    """Counts from its making on; one at a time, as the peak of memory is the process's."""

    def __init__(self) -> None:
        self._started, self._processor, self._written = time.monotonic(), _processor_seconds(), _written_bytes()
        try:
            (_PROCESS / "clear_refs").write_text(_RESET_PEAK, encoding="ascii")
        except OSError:
            # A container may forbid it; then the peak is that of the whole process so far.
            return

    def taken(self) -> dict[str, float]:
        """seconds, cpu_seconds, peak_rss_mb, written_mb; processes that the step has started are not in it."""
        return {
            "seconds": round(time.monotonic() - self._started, 2),
            "cpu_seconds": round(_processor_seconds() - self._processor, 2),
            "peak_rss_mb": round(_peak_kb() / 1024),
            "written_mb": round((_written_bytes() - self._written) / 1e6, 1),
        }


def give_memory_back() -> None:
    """What is free in this process goes back to the system once that is much: the next step's peak is its own.

    Resolving 14 million keys leaves gigabytes.
    """
    if _resident_kb() < _WORTH_COLLECTING_KB:
        return
    gc.collect()
    pa.default_memory_pool().release_unused()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _written_bytes() -> int:
    """Bytes that this process caused to be sent to the storage (proc(5), write_bytes)."""
    try:
        lines = (_PROCESS / "io").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("write_bytes:")), 0)


def _peak_kb() -> int:
    return _said("VmHWM:")


def _resident_kb() -> int:
    return _said("VmRSS:")


def _said(name: str) -> int:
    lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)
