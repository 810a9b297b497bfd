"""The invalid-event model on a small simulated province, straight from the simulator's events: what was injected is found, and little else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gridlake import vocabularies
from gridlake.runs import Run
from gridlake.settings import Settings
from spark_jobs import slices
from spark_jobs.detect import detect
from streaming.simulator.frames import happened, stage
from streaming.simulator.reviews import finding_ids
from tests.models.lake import EVENT, FEED, STEP, STG_GRID, write_frames

DAYS, EVENTS, VILLAGES = 60, 6000, 60


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run over the province's events, with the simulator's truth in the inbox."""
    root = tmp_path_factory.mktemp("province")
    declared, first_day, cities = vocabularies.load_all(Settings()), np.datetime64("2026-01-01"), ["330100000000", "330400000000"]
    scene, plan = stage(declared, seed=7, first_day=first_day, days=DAYS, events=EVENTS, cities=cities, villages=VILLAGES)
    territory = scene.territory
    events, steps = happened(scene, plan)
    grid_ids = "G" + territory.grids.index.astype(str)
    rows = events.assign(
        local_id=events.event_id,
        event_id=events.sender_code + "-" + events.event_id,
        feed=FEED,
        region_system="cn",
        region_code=territory.grids.region_code.to_numpy()[events.grid],
        grid_id=grid_ids.to_numpy()[events.grid],
        closed_at=_utc(steps[steps.action_code == "close"].set_index("event").happened_at.reindex(events.index)),
        business_date=events.reported_at.dt.date,
        reported_at=_utc(events.reported_at),
        reporter_member_id=np.where(events.reporter >= 0, "M" + events.reporter.astype(str), None),
    )
    rows["closing_note"] = rows.closing_note.where(rows.closed_at.notna(), None)
    grids = pd.DataFrame({"grid_id": grid_ids, "feed": "city_platform__grid", "region_system": "cn", "boundary": territory.boundaries})
    taken = steps.assign(
        event_id=rows.event_id.to_numpy()[steps.event],
        step_id=steps.index.astype(str),
        sender_code=rows.sender_code.to_numpy()[steps.event],
        happened_at=_utc(steps.happened_at),
    )
    run = write_frames(root, _arrow(rows, EVENT), _arrow(grids, STG_GRID), _arrow(taken, STEP))
    planted = events[events.kind != ""]
    truth = pa.table({"model": ["invalid_event"] * len(planted), **{c: planted[c].tolist() for c in ("kind", "sender_code", "event_id")}})
    folder = run.settings.inbox / "_truth"
    folder.mkdir(parents=True)
    pq.write_table(truth, folder / "finding_truth.parquet")
    yield run
    run.close()


@pytest.fixture(scope="module")
def found(run: Run) -> dict[str, Any]:
    """What `detect` says of the model."""
    return dict(detect(run)["findings"]["invalid_event"])


def _utc(local: pd.Series) -> pd.Series:
    return local.dt.tz_localize("Asia/Shanghai").dt.tz_convert("UTC")


def _arrow(frame: pd.DataFrame, schema: pa.Schema) -> pa.Table:
    whole = frame.reindex(columns=schema.names)
    return pa.Table.from_pandas(whole.astype({c: object for c in schema.names if whole[c].isna().all()}), schema=schema, preserve_index=False)


def test_in_slices_every_factor_says_what_it_says_of_the_whole(run: Run, found: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = {name: run.tables.version(name) for name in ("factor.event", "finding.finding", "finding.evidence")}
    monkeypatch.setattr(slices, "ROWS", EVENTS // 5)
    assert len(slices.of_days(run, "business.event")) >= 5
    detect(run)
    # A step commits only what differs.
    assert {name: run.tables.version(name) for name in whole} == whole
    assert run.tables.row_count("factor.event") > EVENTS // 20


def test_nine_of_ten_findings_are_injected_ones(found: dict[str, Any]) -> None:
    assert found["precision"] >= 0.9


@pytest.mark.parametrize("kind", ["nil_report", "near_duplicate", "instant_close"])
def test_nine_of_ten_injected_events_of_each_kind_are_found(found: dict[str, Any], kind: str) -> None:
    assert found["by_kind"][kind]["truth_count"] >= 100
    assert found["by_kind"][kind]["recall"] >= 0.9
    assert found["by_kind"][kind]["precision"] >= 0.9


def test_shares_found_are_shares_of_what_was_injected(found: dict[str, Any]) -> None:
    kinds = found["by_kind"].values()
    assert found["recall"] == pytest.approx(sum(k["found_count"] for k in kinds) / sum(k["truth_count"] for k in kinds), abs=1e-6)


def test_cities_answer_findings_by_the_ids_that_the_model_gave_them(found: dict[str, Any], run: Run) -> None:
    findings = run.tables.read("finding.finding").to_pandas()
    assert len(findings) == found["count"] > 300
    assert finding_ids(findings.subject_id.to_numpy(object)).tolist() == findings.finding_id.tolist()
