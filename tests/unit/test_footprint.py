"""What a step takes is counted by the kernel, step by step."""

from __future__ import annotations

import os
from pathlib import Path

from gridlake.footprint import Footprint

MB = 1024 * 1024


def test_memory_that_a_step_gave_back_is_not_charged_to_the_next() -> None:
    first = Footprint()
    held = bytearray(300 * MB)
    peak = first.taken()["peak_rss_mb"]
    assert peak >= 300
    del held
    assert Footprint().taken()["peak_rss_mb"] <= peak - 250


def test_processor_time_and_bytes_written_are_counted(tmp_path: Path) -> None:
    footprint = Footprint()
    with (tmp_path / "file").open("wb") as file:
        file.write(os.urandom(20 * MB))
        os.fsync(file.fileno())
    assert sum(i * i for i in range(2_000_000)) > 0
    taken = footprint.taken()
    assert taken["written_mb"] >= 20
    assert 0 < taken["cpu_seconds"] <= taken["seconds"] * (os.cpu_count() or 1)
