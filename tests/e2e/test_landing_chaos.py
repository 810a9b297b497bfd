"""Landers of Kafka topics disturbed while senders go on; every record is exactly once where it belongs (landing_chaos.py)."""

from __future__ import annotations

import os
from pathlib import Path

from tests.conftest import needs_java
from tests.e2e import landing_chaos

POINTS = 300 if os.environ.get("GRIDLAKE_TEST_SIZE") == "full" else 30


def test_no_record_is_lost_or_doubled_whatever_happens_to_landers_and_broker(tmp_path: Path) -> None:
    needs_java()
    told: list[str] = []
    assert landing_chaos.run(POINTS, tmp_path, 20261125, told.append) == (0, 0, 0), "\n".join(told)
