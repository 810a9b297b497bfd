"""A lake whose declarations are its own copy, with an errand that waits for the visit it names, so that a test may change a contract."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from gridlake.regions import RegionTree
from gridlake.runs import Run
from gridlake.settings import Settings
from streaming.feed_lander import FeedLander, prepare
from streaming.held import HeldRows, Wanted
from streaming.replay import Outcome, Replay
from streaming.waiting import WaitingRoom
from tests.streaming.conftest import DECLARATIONS, NOW, Lake

ERRAND = """
apiVersion: v3.1.0
kind: DataContract
id: office.errand
name: 跑腿
version: 1.0.0
status: active
description: {purpose: 测试用，等待来访。, usage: 落地测试。}
schema:
  - name: errand
    physicalType: file
    businessName: 跑腿
    properties:
      - {name: errand_id, logicalType: string, required: true, primaryKey: true, primaryKeyPosition: 1, classification: L1}
      - name: visit_id
        logicalType: string
        classification: L1
        customProperties: [{property: gridlake.localIdOf, value: visit}, {property: gridlake.gate, value: true}]
      - {name: runner_name, logicalType: string, classification: L4}
      - {name: source_version, logicalType: integer, required: true, classification: L1,
         customProperties: [{property: gridlake.versionOrder, value: 1}]}
customProperties:
  - {property: gridlake.defines, value: errand}
"""


class Office(Lake):
    """Such a lake."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.declared = folder / "declared"
        shutil.copytree(DECLARATIONS, self.declared)
        expectations = self.declared / "expectations"
        (expectations / "contracts" / "office" / "errand.odcs.yaml").write_text(ERRAND, encoding="utf-8")
        for sender in ("north", "south"):
            path = expectations / "senders" / f"{sender}.yml"
            path.write_text(path.read_text().replace('office.tally: ">=1,<2"', 'office.tally: ">=1,<2", office.errand: ">=1,<2"'))

    @property
    def settings(self) -> Settings:
        return Settings(project=self.declared, home=self.home, inbox=self.inbox)

    def change(self, was: str, becomes: str, feed: str = "visit") -> None:
        """Change a contract."""
        path = self.declared / "expectations" / "contracts" / "office" / f"{feed}.odcs.yaml"
        text = path.read_text(encoding="utf-8")
        assert text.count(was) == 1, was
        path.write_text(text.replace(was, becomes), encoding="utf-8")

    def run(self, received_at: datetime = NOW) -> Run:
        run = Run.start(self.settings, quiet=True)
        run.received_at = received_at
        return run

    def replay(self, wanted: Wanted | None = None, *, feed: str = "office__visit", at: datetime = NOW, dry_run: bool = False) -> Outcome:
        run = self.run(at)
        prepare(run)
        lander = FeedLander(run, run.contracts[feed], RegionTree(run.vocabularies.regions))
        return Replay(run, lander).of(wanted or Wanted(states=("refused",)), dry_run=dry_run)

    def let_go(self, feed: str, at: datetime = NOW) -> int:
        """Open the gates of a feed, as `gridlake replay --waiting` does."""
        run = self.run(at)
        return WaitingRoom(run, run.contracts[feed], RegionTree(run.vocabularies.regions)).let_go()

    def in_a_process(self, what: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """`land` or `replay`, in a process that may be killed."""
        program = (
            "import sys; from pathlib import Path\n"
            f"sys.path.insert(0, {str(Path(__file__).parents[2])!r})\n"
            "from tests.streaming.offices import Office\n"
            f"office = Office.__new__(Office); folder = Path({str(self.folder)!r})\n"
            "office.folder, office.inbox, office.home, office.declared = folder, folder / 'inbox', folder / 'lake', folder / 'declared'\n"
            f"office.{what}()"
        )
        return subprocess.run([sys.executable, "-c", program], env={**os.environ, **environment}, capture_output=True, text=True, check=False)

    def states(self, feed: str = "office__visit") -> dict[str, str]:
        """The newest state of every held row, by position."""
        held = HeldRows(self.tables, feed).find(Wanted(states=("refused", "waiting", "released", "duplicate")))
        return dict(zip(held.column("_source_position").to_pylist(), held.column("state").to_pylist(), strict=True))

    def told(self, feed: str = "office__visit") -> dict[str, int]:
        """The counts of all receipts of a feed, added up; each one's own must add up too."""
        rows: list[Mapping[str, Any]] = [r for r in self.receipts() if r["feed"] == feed]
        states = ("received", "accepted", "refused", "duplicate", "waiting")
        assert all(r["received"] == sum(r[s] for s in states[1:]) for r in rows)
        return {s: sum(r[s] for r in rows) for s in states}
