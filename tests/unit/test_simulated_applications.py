"""Simulated applications and the pilot: what grows grows, what belongs together holds together, and a day is enough to have every feed."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from gridlake import vocabularies
from gridlake.settings import Settings
from gridlake.vocabularies import Vocabularies
from streaming.simulator import deliveries
from streaming.simulator.beside_events import of_applications
from streaming.simulator.deliveries import Period

YEAR = Period(np.datetime64("2025-11-01"), 365)


@pytest.fixture(scope="module")
def declared() -> Vocabularies:
    return vocabularies.load_all(Settings())


@pytest.fixture(scope="module")
def sent(declared: Vocabularies) -> dict[str, pd.DataFrame]:
    """The newest good version of each record of each feed."""
    keys = {
        "application_activity": ["application_code", "region_code", "activity_month"],
        "application_connection": ["application_code", "region_code", "stage_code"],
        "platform_upgrade": ["region_code", "component_code"],
        "scenario_project": ["project_id"],
        "project_report": ["project_id", "week_start_date"],
        "application_test": ["test_id"],
        "application_runtime": ["project_id", "measured_date"],
        "application_rating": ["rating_id"],
        "application_issue": ["issue_id"],
        "self_assessment": ["indicator_code", "region_code", "quarter_start_date"],
        "acceptance": ["acceptance_id"],
        "negative_item": ["negative_item_id"],
        "evidence_file": ["evidence_id"],
    }
    made = {feed.name: feed.rows for feed in of_applications(42, declared, YEAR)}
    assert made.keys() == keys.keys()
    good = {name: rows[rows._state.isna() | (rows._state == "accepted")] for name, rows in made.items()}
    return {name: rows.sort_values("source_version").groupby(keys[name], as_index=False).last() for name, rows in good.items()}


def test_the_same_seed_gives_the_same_rows_and_another_others(declared: Vocabularies) -> None:
    short = Period(np.datetime64("2026-09-01"), 30)
    first, again, other = ({f.name: f.rows for f in of_applications(seed, declared, short)} for seed in (1, 1, 2))
    for name, rows in first.items():
        pd.testing.assert_frame_equal(rows, again[name])
        assert not rows.equals(other[name]), name


def test_one_day_has_rows_of_every_feed_and_none_of_tomorrow(declared: Vocabularies) -> None:
    day = Period(np.datetime64("2026-10-31"), 1)
    for feed in of_applications(42, declared, day):
        good = feed.rows[feed.rows._state.isna()]
        assert len(good), feed.name
        assert (pd.to_datetime(good.changed_at) < pd.Timestamp("2026-11-01")).all(), feed.name


def test_business_grows_over_the_months_and_is_unequal_between_cities(sent: dict[str, pd.DataFrame]) -> None:
    activity = sent["application_activity"]
    by_month = activity.pivot_table(index="activity_month", columns="application_code", values="received_count", aggfunc="sum").astype(float)
    assert by_month.dispute_code.iloc[-1] > 2 * by_month.dispute_code.iloc[0]
    assert by_month.dispute_code["2026-02-01"] < by_month.dispute_code["2026-01-01"], "the Spring Festival"
    last = activity[activity.activity_month == activity.activity_month.max()]
    # Where residents were not counted, counties are taken for equal.
    by_city = last.groupby(last.region_code.str[:4]).received_count.sum() / last.groupby(last.region_code.str[:4]).region_code.nunique()
    assert len(by_city) == 11
    assert by_city.max() > 2 * by_city.min()


def test_an_application_does_business_where_it_is_connected(sent: dict[str, pd.DataFrame]) -> None:
    stages = sent["application_connection"].pivot_table(
        index=["application_code", "region_code"], columns="stage_code", values="state_code", aggfunc="first"
    )
    live = stages[stages.live == "done"]
    assert (live == "done").all(axis=None)
    assert 0 < len(live) < len(stages)
    activity = sent["application_activity"]
    last = activity[activity.activity_month == activity.activity_month.max()]
    pairs = set(zip(last.application_code, last.region_code.str[:4] + "00000000", strict=True))
    # A stage takes now longer, now shorter than the zeal of the city would have it.
    assert len(pairs & set(live.index)) / len(pairs) > 0.9
    assert len(pairs & set(live.index)) / len(live) > 0.8


def test_what_users_say_is_of_projects_that_are_known_and_the_better_ones_are_rated_better(sent: dict[str, pd.DataFrame]) -> None:
    projects = set(sent["scenario_project"].project_id)
    for name in ("project_report", "application_test", "application_runtime", "application_rating", "application_issue"):
        assert set(sent[name].project_id) <= projects, name
    stages = sent["scenario_project"].set_index("project_id").stage_code
    assert set(stages) >= {"construction", "promotion", "operation"}
    assert set(stages[sent["application_rating"].project_id.unique()]) == {"operation"}
    runs = sent["application_runtime"].groupby("project_id").available_pct.mean()
    score = sent["application_rating"].groupby("project_id").score.mean()
    both = pd.concat([runs, score], axis=1).dropna().astype(float)
    assert both.corr().iloc[0, 1] > 0.1


def test_a_self_assessment_has_as_many_files_as_it_says_and_stands_above_the_provinces_marks(sent: dict[str, pd.DataFrame]) -> None:
    assessed = sent["self_assessment"]
    assessed["subject_id"] = (
        assessed.indicator_code + "/" + assessed.region_code + "/" + pd.to_datetime(assessed.quarter_start_date).dt.strftime("%Y-%m-%d")
    )
    reviewed = assessed[assessed.state_code == "reviewed"].set_index("subject_id")
    files = sent["evidence_file"].groupby("subject_id").size().reindex(reviewed.index).fillna(0)
    assert (files == reviewed.evidence_count).all()
    accepted = sent["acceptance"].merge(assessed, on=["indicator_code", "region_code", "quarter_start_date"], suffixes=("", "_self"))
    by_province = accepted[(accepted.level_code == "province") & (accepted.round_no == 1)]
    assert len(by_province) > 50
    assert (by_province.score <= by_province.self_score).all()
    assert by_province.score.astype(float).mean() < 0.97 * by_province.self_score.astype(float).mean()


def test_of_what_was_before_the_period_only_the_last_state_is_sent() -> None:
    never = "NaT"
    times = np.array(
        [
            ["2025-10-01", "2025-10-05", "2025-11-03"],  # two states before, one within
            ["2025-10-01", never, "2025-10-20"],  # all before, one left out
            ["2025-11-05", "2025-12-01", "2027-01-01"],  # the last one lies after the period
        ],
        "datetime64[s]",
    )
    found = deliveries.histories(times, YEAR)
    assert found[["record", "state", "version"]].to_numpy().tolist() == [[0, 1, 2], [0, 2, 3], [1, 2, 2], [2, 0, 1], [2, 1, 2]]
