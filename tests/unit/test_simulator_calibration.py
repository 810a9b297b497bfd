"""The simulated figures beside the measured ones: repeats within the range of real feeds, and figures that are those of the data."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pandas as pd
import pytest

from streaming.simulator import profiles
from streaming.simulator.calibration import Figures, exact_repeats, near_repeats, page, simulated

REALDATA = Path(os.environ.get("GRIDLAKE_REALDATA", Path(__file__).parents[2].parent / "shared" / "realdata"))
MEASURED = REALDATA / "calibration" / "empirical_distributions.json"


@pytest.fixture(scope="module")
def figures() -> Figures:
    return simulated({"seed": 7, "days": 120, "events": 8000, "cities": ["330100000000", "330400000000"], "villages": 40})


def test_repeats_are_as_many_as_in_real_feeds(figures: Figures) -> None:
    low, high = profiles.REPEATS_RANGE
    assert low <= figures.near_repeats <= high
    assert 0.005 < figures.exact_repeats < figures.near_repeats


def test_hours_classes_and_overdue_shares_are_those_that_were_given(figures: Figures) -> None:
    assert figures.hours.to_list() == pytest.approx([h / sum(profiles.HOURS) for h in profiles.HOURS], abs=0.02)
    assert figures.classes.to_dict() == pytest.approx(profiles.CLASS_SHARE, abs=0.02)
    for code in ("01", "03", "04", "08"):
        assert figures.overdue[code] == pytest.approx(profiles.OVERDUE_SHARE[code], abs=0.05), code


def test_repeats_are_counted_by_wording_and_by_likeness() -> None:
    start = pd.Timestamp("2026-01-01")
    texts = ["楼道堆放纸箱3件，请清理", "楼道堆放纸箱5件，请清理", "路灯不亮", "路灯不亮已三天", "河面漂浮油污"]
    events = pd.DataFrame({"grid": [1, 1, 1, 1, 2], "reported_at": [start + pd.Timedelta(hours=n) for n in (0, 1, 2, 200, 3)], "description": texts})
    assert exact_repeats(events) == pytest.approx(0.2), "the second says what the first says"
    assert near_repeats(events) == pytest.approx(0.2), "the fourth is alike, but a week later"


def test_the_page_has_its_plots_in_few_bytes(figures: Figures, tmp_path: Path) -> None:
    text = page(figures, tmp_path)
    plots = sorted((tmp_path / "calibration").glob("*.png"))
    assert [p for p in plots if f"calibration/{p.name}" not in text] == []
    assert len(plots) == 5
    assert sum(p.stat().st_size for p in plots) < 300_000


def test_the_figures_in_profiles_are_those_of_the_data() -> None:
    if not MEASURED.exists():
        pytest.skip(f"{MEASURED} is not there")
    measured = json.loads(MEASURED.read_text(encoding="utf-8"))
    district, boston = measured["pingshan"], measured["boston311_2011H2"]
    assert list(profiles.HOURS) == [district["hour"][str(hour)] for hour in range(24)]
    assert list(profiles.WEEKDAYS) == [district["weekday"][str(day)] for day in range(7)]
    overdue = district["overtime_rate_by_type"]
    nearest = {
        "01": "社区管理",
        "02": "安全隐患",
        "03": "市容环卫",
        "04": "市政设施",
        "05": "环保水务",
        "06": "治安维稳",
        "07": "交通运输",
        "08": "民政服务",
    }
    assert {code: round(overdue[name], 3) for code, name in nearest.items()} == {code: profiles.OVERDUE_SHARE[code] for code in nearest}
    assert {float(q): n for q, n in measured["haikou12345_2018"]["text_len_quantiles"].items()} == profiles.TEXT_LENGTH
    assert all(boston["closure_hours_quantiles"][str(q)] == hours for q, hours in profiles.CLOSING_HOURS.items())
    assert profiles.REPEATS_RANGE[0] <= boston["duplicate_share"] <= profiles.REPEATS_RANGE[1]
