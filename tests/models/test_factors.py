"""Each built-in factor on crafted rows: what it must notice and what it must leave alone, on the embedded engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from spark_jobs.declarations import load_factors
from spark_jobs.detect import detect, show_inputs, signals
from tests.models.lake import FEED, NOON, event, write_lake

SQUARE = "POLYGON ((120.14 30.26, 120.15 30.26, 120.15 30.27, 120.14 30.27, 120.14 30.26))"
# A ring with a hole, and an L whose notch lies within the bounding box.
RING = (
    "POLYGON((120.14 30.26,120.15 30.26,120.15 30.27,120.14 30.27,120.14 30.26), "
    "(120.143 30.263, 120.147 30.263, 120.147 30.267, 120.143 30.267, 120.143 30.263))"
)
BEND = "POLYGON ((120.14 30.26, 120.15 30.26, 120.15 30.262, 120.142 30.262, 120.142 30.27, 120.14 30.27, 120.14 30.26))"
MINUTE = timedelta(minutes=1)
STALL = "东门口三号楼下有人摆摊占道，影响通行"

Signals = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def signals_of(tmp_path: Path) -> Iterator[Signals]:
    """The rows of one factor over the given lake, by subject; numbers as a dict."""
    runs = []

    def compute(factor: str, events: list[dict[str, Any]], **lake: Any) -> dict[str, dict[str, Any]]:
        run = write_lake(tmp_path, events, **lake)
        runs.append(run)
        show_inputs(run)
        rows = signals(run, load_factors(run.settings)[factor]).to_pylist()
        return {r["subject_id"]: {**r, "numbers": dict(r["numbers"])} for r in rows}

    yield compute
    for run in runs:
        run.close()


def test_a_nil_report_is_one_that_tells_of_nothing_else(signals_of: Signals) -> None:
    nil = [
        "今日巡查未发现矛盾纠纷，一切正常",
        "排查未发现矛盾纠纷",
        "对沿线商铺开展消防安全检查，未发现火灾隐患。",
        "走访12户，暂无不稳定因素",
        "Patrol of the block, nothing found",
    ]
    told = [
        "巡查发现楼道堆放杂物，其余无异常",
        "电动车在门厅飞线充电，现场未发现人员受伤",
        "路灯不亮，未发现明火",
        "居民反映楼上漏水，上门查看一切正常",
        "无障碍设施被占",
        "Street Light Outages",
        "未发现隐患" + "，走访居民并宣传" * 12,
    ]
    found = signals_of(
        "nil_report", [*(event(f"n-{i}", description=t) for i, t in enumerate(nil)), *(event(f"t-{i}", description=t) for i, t in enumerate(told))]
    )
    assert sorted(found) == [f"n-{i}" for i in range(len(nil))]
    assert found["n-0"]["numbers"] == {"nil_count": 2}


def test_the_later_of_two_similar_reports_from_one_grid_is_the_duplicate(signals_of: Signals) -> None:
    later = NOON + 300 * MINUTE
    found = signals_of(
        "near_duplicate",
        [
            event("a-1", grid_id="a-G1", description=STALL),
            event("a-2", grid_id="a-G1", description="东门口三号楼下有人摆摊占道影响了通行！", reported_at=later),
            event("a-other_grid", grid_id="a-G2", description=STALL, reported_at=later),
            event("a-other_text", grid_id="a-G1", description="西门路灯不亮，夜间漆黑一片，老人出行不便", reported_at=later),
            event("a-days_after", grid_id="a-G1", description=STALL, reported_at=NOON + timedelta(days=4)),
        ],
    )
    assert sorted(found) == ["a-2"]
    assert (found["a-2"]["evidence_id"], found["a-2"]["numbers"]["hours"]) == ("a-1", 5)
    assert found["a-2"]["numbers"]["similarity_pct"] == 94


def test_alike_texts_about_places_far_apart_are_two_matters(signals_of: Signals) -> None:
    def at(name: str, longitude: float, minutes: int) -> dict[str, Any]:
        position = {"longitude": longitude, "latitude": 30.265, "grid_id": "a-G1"}
        return event(name, description=STALL, reported_at=NOON + minutes * MINUTE, **position)

    found = signals_of("near_duplicate", [at("a-1", 120.14, 0), at("a-across_town", 120.145, 1), at("a-beside", 120.1405, 2)])
    assert sorted(found) == ["a-beside"]
    assert found["a-beside"]["evidence_id"] == "a-1"


def test_a_report_that_says_it_comes_again_is_compared_without_saying_so(signals_of: Signals) -> None:
    again = [f"再次反映：{STALL}，仍未处理", f"{STALL}（重新上报）"]
    found = signals_of(
        "near_duplicate",
        [
            event("a-1", grid_id="a-G1", description=STALL),
            *(event(f"a-{i}", grid_id="a-G1", description=t, reported_at=NOON + i * MINUTE) for i, t in enumerate(again, 2)),
        ],
    )
    assert sorted(found) == ["a-2", "a-3"]


def test_without_a_grid_the_place_and_class_must_be_the_same(signals_of: Signals) -> None:
    here = {"longitude": 120.1451, "latitude": 30.2651, "description": STALL}
    found = signals_of(
        "near_duplicate",
        [
            event("a-1", **here),
            event("a-2", **{**here, "longitude": 120.1452}, reported_at=NOON + MINUTE),
            event("a-other_class", **here, class_code="0402", reported_at=NOON + MINUTE),
            event("a-elsewhere", **{**here, "longitude": 120.1551}, reported_at=NOON + MINUTE),
        ],
    )
    assert sorted(found) == ["a-2"]


def test_with_neither_grid_nor_place_the_region_and_class_must_be_the_same(signals_of: Signals) -> None:
    found = signals_of(
        "near_duplicate",
        [
            event("a-1", description=STALL),
            event("a-2", description=STALL, reported_at=NOON + MINUTE),
            event("a-other_village", description=STALL, region_code="330106002052", reported_at=NOON + MINUTE),
        ],
    )
    assert sorted(found) == ["a-2"]


def test_a_wording_that_many_share_needs_the_same_spot(signals_of: Signals) -> None:
    # A foreign feed names every event by its class: the same words three blocks on are another bulk item.
    words = {"description": "Schedule a Bulk Item Pickup", "region_system": "us-boston", "region_code": "PWDx/Roslindale"}
    crowd = [event(f"b-{i:02}", **words, longitude=-71.14 + i * 0.001, latitude=42.28, reported_at=NOON + i * MINUTE) for i in range(40)]
    nowhere = [event(f"b-nowhere{i:02}", **words, reported_at=NOON + i * MINUTE) for i in range(40)]
    again = event("b-again", **words, longitude=-71.13001, latitude=42.28, reported_at=NOON + 60 * MINUTE)
    found = signals_of("near_duplicate", [*crowd, *nowhere, again])
    assert sorted(found) == ["b-again"]
    assert found["b-again"]["evidence_id"] == "b-10"


def test_an_office_that_enters_its_own_work_twice_repeats_nothing(signals_of: Signals) -> None:
    words = {"description": "Pothole Repair (Internal)", "longitude": -71.1, "latitude": 42.3, "channel_code": "department"}
    crowd = [event(f"b-{i:02}", **{**words, "longitude": -71.0 + i * 0.01}, reported_at=NOON - MINUTE) for i in range(30)]
    entered = [event("b-first", **words), event("b-second", **words, reported_at=NOON + MINUTE)]
    called = event("b-called", **{**words, "channel_code": "hotline"}, reported_at=NOON + 2 * MINUTE)
    assert sorted(signals_of("near_duplicate", [*crowd, *entered, called])) == ["b-called"]


def test_a_spot_where_everything_is_put_is_no_place(signals_of: Signals) -> None:
    # Where the source does not know the place it puts the town hall.
    words = {"description": "Pothole", "longitude": -71.0578, "latitude": 42.3603, "region_system": "us-boston", "region_code": "PWDx"}
    found = signals_of("near_duplicate", [event(f"b-{i:03}", **words, reported_at=NOON + i * MINUTE) for i in range(200)])
    assert found == {}


def test_each_event_is_compared_with_a_bounded_number_of_predecessors(signals_of: Signals) -> None:
    # The bound shows: with twelve others in between, the first report is out of sight.
    filler = [
        event(f"a-{i:02}", grid_id="a-G1", description=f"{'甲乙丙丁戊己庚辛壬癸子丑寅'[i]}" * 12, reported_at=NOON + (i + 1) * MINUTE)
        for i in range(13)
    ]
    found = signals_of(
        "near_duplicate",
        [
            event("a-first", grid_id="a-G1", description=STALL),
            *filler,
            event("a-last", grid_id="a-G1", description=STALL, reported_at=NOON + 30 * MINUTE),
        ],
    )
    assert found == {}


def test_an_instant_close_has_neither_handling_steps_nor_a_note(signals_of: Signals) -> None:
    def closed(name: str, minutes: int, note: str | None) -> dict[str, Any]:
        return event(name, closed_at=NOON + minutes * MINUTE, closing_note=note, state_code="closed")

    found = signals_of(
        "instant_close",
        [
            closed("a-void", 2, "已办结"),
            closed("a-no_note", 0, None),
            closed("a-noted", 2, "摊贩已劝离，路面已冲洗"),
            closed("a-handled", 2, "已办结"),
            closed("a-both", 2, "摊贩已劝离，路面已冲洗"),
            closed("a-slow", 60, "已办结"),
            event("a-open"),
            closed("b-stepless", 2, "已办结"),
        ],
        steps=[
            ("a-void", "report"),
            ("a-void", "close"),
            ("a-noted", "report"),
            ("a-handled", "report"),
            ("a-handled", "handle"),
            ("a-both", "handle"),
        ],
    )
    assert {name: row["value"] for name, row in found.items()} == {
        "a-void": 1.0,
        "a-no_note": 1.0,
        "a-noted": 0.5,
        "a-handled": 0.5,
        # Sender b never reports steps: only the missing note speaks.
        "b-stepless": 0.5,
    }
    assert found["a-void"]["numbers"] == {"minutes": 2, "seconds": 120}


def test_outside_its_grid_is_outside_the_polygon_and_beyond_the_tolerance(signals_of: Signals) -> None:
    def at(name: str, longitude: float, latitude: float, grid: str = "a-square") -> dict[str, Any]:
        return event(name, longitude=longitude, latitude=latitude, grid_id=grid)

    found = signals_of(
        "outside_grid",
        [
            at("a-inside", 120.145, 30.265),
            at("a-near", 120.1505, 30.265),  # 48 m east of the edge
            at("a-far", 120.16, 30.265),  # 961 m
            at("a-halfway", 120.1526, 30.265),  # 250 m
            at("a-in_hole", 120.145, 30.265, "a-ring"),
            at("a-in_ring", 120.142, 30.265, "a-ring"),
            at("a-in_notch", 120.146, 30.266, "a-bend"),
            at("a-in_bend", 120.141, 30.266, "a-bend"),
            at("a-unknown_grid", 120.16, 30.265, "a-none"),
            event("a-no_position", grid_id="a-square"),
        ],
        grids={"a-square": SQUARE, "a-ring": RING, "a-bend": BEND},
    )
    assert sorted(found) == ["a-far", "a-halfway", "a-in_hole", "a-in_notch"]
    assert found["a-far"]["value"] == 1.0
    assert found["a-far"]["numbers"]["metres"] == pytest.approx(961, abs=2)
    assert found["a-halfway"]["value"] == pytest.approx(0.5, abs=0.01)
    assert (found["a-far"]["evidence_type"], found["a-far"]["evidence_id"]) == ("grid", "a-square")


def test_positions_and_grids_of_different_datums_are_not_compared(signals_of: Signals) -> None:
    # boston311 is not declared here; a feed whose datum nobody knows cannot be judged.
    found = signals_of(
        "outside_grid", [event("a-1", longitude=120.16, latitude=30.265, grid_id="a-square", feed="elsewhere__event")], grids={"a-square": SQUARE}
    )
    assert found == {}


def test_an_impossible_move_is_far_and_fast(signals_of: Signals) -> None:
    def seen(name: str, minutes: int, longitude: float, member: str | None = "a-M1") -> dict[str, Any]:
        return event(name, reported_at=NOON + minutes * MINUTE, longitude=longitude, latitude=30.26, reporter_member_id=member)

    found = signals_of(
        "teleport",
        [
            seen("a-1", 0, 120.0),
            seen("a-2", 10, 121.0),  # 96 km in 10 minutes
            seen("a-3", 11, 121.01),  # 1 km in a minute: filed from the desk
            seen("a-4", 191, 122.0),  # 95 km in three hours
            seen("a-other", 192, 120.0, "a-M2"),
            seen("a-nobody", 193, 120.0, None),
        ],
    )
    assert sorted(found) == ["a-2"]
    assert (found["a-2"]["evidence_id"], found["a-2"]["numbers"]) == ("a-1", {"km": 96, "minutes": 10})


def test_the_fifth_use_of_one_wording_by_one_person_is_template_text(signals_of: Signals) -> None:
    def used(name: str, days: int, text: str, member: str | None = "a-M1") -> dict[str, Any]:
        return event(name, reported_at=NOON + timedelta(days=days), description=text, reporter_member_id=member)

    found = signals_of(
        "template_text",
        [
            *(used(f"a-{i}", i, f"走访{i + 3}户，宣传反诈知识") for i in range(6)),
            *(used(f"a-seldom{i}", i * 20, "检查沿街商铺用电安全") for i in range(6)),
            *(used(f"a-short{i}", i, "路灯不亮") for i in range(6)),
            *(used(f"a-many{i}", 0, "检查沿街商铺消防安全", f"a-N{i}") for i in range(6)),
            *(used(f"a-nobody{i}", 0, "检查出租房消防安全", None) for i in range(6)),
        ],
    )
    assert sorted(found) == ["a-4", "a-5"]
    assert (found["a-4"]["evidence_id"], found["a-5"]["evidence_id"]) == ("a-0", "a-1")


def test_five_reports_within_ten_minutes_are_a_burst(signals_of: Signals) -> None:
    def filed(name: str, minutes: int, member: str | None) -> dict[str, Any]:
        return event(name, reported_at=NOON + minutes * MINUTE, reporter_member_id=member)

    found = signals_of(
        "burst",
        [
            *(filed(f"a-{i}", i, "a-M1") for i in range(6)),
            *(filed(f"a-steady{i}", i * 5, "a-M2") for i in range(6)),
            *(filed(f"a-nobody{i}", i, None) for i in range(6)),
        ],
    )
    assert sorted(found) == ["a-4", "a-5"]
    assert found["a-4"]["evidence_id"] == "a-0"


def test_night_is_night_where_the_feed_comes_from_and_for_grid_members_only(signals_of: Signals) -> None:
    midnight = datetime(2026, 3, 2, 16, 30, tzinfo=UTC)  # 00:30 in Shanghai, 11:30 in New York
    found = signals_of(
        "after_hours",
        [
            event("a-night", channel_code="grid", reported_at=midnight),
            event("a-noon", channel_code="grid"),
            event("a-dawn", channel_code="grid", reported_at=midnight + timedelta(hours=5)),
            event("a-citizen", channel_code="citizen", reported_at=midnight),
            event("b-morning", channel_code="grid", reported_at=midnight, feed="b__event"),
        ],
        feeds={FEED: "Asia/Shanghai", "b__event": "America/New_York"},
    )
    assert sorted(found) == ["a-night"]
    assert found["a-night"]["numbers"] == {"hour": 0}


def test_detect_on_an_empty_library_finds_nothing_and_makes_every_table(tmp_path: Path) -> None:
    run = write_lake(tmp_path, [])
    try:
        done = detect(run)
    finally:
        run.close()
    assert done["findings"]["invalid_event"]["count"] == 0
    assert set(done["tables"].items()) == {
        (name, 0) for name in ("factor.event", "finding.finding", "finding.reason", "finding.evidence", "finding.model_quality")
    }
