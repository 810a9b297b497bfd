"""What is injected to be found: one row for each thing that a model should point at, in `_truth/finding_truth.parquet`.

A module that injects something declares its kind here and adds its rows; a test fails for a declared kind without rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd
import pyarrow as pa

COLUMNS = ("model", "kind", "sender_code", "event_id", "pair_event_id")
# Every kind that the simulator injects, by the model that is to find it. Each has its comment where it is made.
KINDS: Mapping[str, tuple[str, ...]] = {
    "invalid_event": ("nil_report", "near_duplicate", "instant_close", "teleport", "out_of_grid", "burst"),
    "wrong_event": ("wrong_class", "wrong_level"),
    "interface_gap": ("lost_call", "no_response"),
    "suspected_fake_visit": (
        "impossible_count",
        "impossible_speed",
        "identical_payload",
        "dead_or_moved_subject",
        "burst_before_deadline",
    ),
}


class Truth:
    """Collects what was injected while the feeds are made."""

    def __init__(self) -> None:
        self._parts: list[pd.DataFrame] = []
        self.kept: dict[str, pa.Table] = {}

    def keep(self, name: str, rows: pa.Table) -> None:
        """A truth of other columns, for `_truth/<name>.parquet`; whoever keeps it says what the columns are."""
        self.kept[name] = rows

    def add(self, model: str, kind: Any, sender_code: Any, subject_id: Any, pair_id: Any = None) -> None:
        """Rows of a model: `subject_id` is the subject's local id at its sender, `pair_id` the id of the other half where it takes two.

        Each may be one value for all rows or a column; ValueError where a kind is not declared.
        """
        rows = pd.DataFrame({"event_id": subject_id}).reset_index(drop=True)
        given = {"model": model, "kind": kind, "sender_code": sender_code, "pair_event_id": pair_id}
        rows = rows.assign(**{name: value.to_numpy() if isinstance(value, pd.Series) else value for name, value in given.items()})
        unknown = sorted(set(rows.kind) - set(KINDS.get(model, ())))
        if unknown:
            raise ValueError(f"{model}: expected kinds that truth.KINDS declares, came {', '.join(unknown)}; declare them there")
        self._parts.append(rows[list(COLUMNS)].astype(object))

    def extend(self, other: Truth) -> None:
        """Take in what another process has collected."""
        self._parts += other._parts
        self.kept |= other.kept

    @property
    def table(self) -> pa.Table:
        """All rows in the order in which they were added."""
        rows = pd.concat(self._parts, ignore_index=True) if self._parts else pd.DataFrame(columns=list(COLUMNS), dtype=object)
        schema = pa.schema([(name, pa.string()) for name in COLUMNS])
        return pa.Table.from_pandas(rows.where(rows.notna(), None), schema, preserve_index=False).replace_schema_metadata(None)
