"""A city's day is compared with days of its own kind: a Sunday is no alarm beside a Friday, half a Friday is one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest

from gridlake import quality, reference, suites, vocabularies
from gridlake.runs import Run
from gridlake.settings import Settings

HANGZHOU, NINGBO = "330100000000", "330200000000"
FRIDAY, SUNDAY = date(2026, 4, 24), date(2026, 4, 26)
# A Saturday on which people worked for the holiday of May, and the holiday's first day.
MAKEUP, HOLIDAY = date(2026, 5, 9), date(2026, 5, 1)
USUAL = {"workday": 200, "makeup_workday": 200, "weekend": 80, "holiday": 60}

Found = Callable[..., list[str]]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run.start(Settings(home=tmp_path_factory.mktemp("days") / "lake", contracts=None), quiet=True)
    run.tables.overwrite(
        "staging.work_calendar", vocabularies.load_all(run.settings).work_calendar.select(reference.CALENDAR.names).cast(reference.CALENDAR)
    )
    yield run
    run.close()


@pytest.fixture
def unusual(run: Run) -> Found:
    """The cities that are unusual on a day, given counts that are not as on any day of its kind."""
    kinds = {row["date"]: row["day_type"] for row in run.tables.read("staging.work_calendar").to_pylist()}

    def found(day: date, changed: Mapping[tuple[str, date], int | None]) -> list[str]:
        rows: list[dict[str, Any]] = []
        for back in range(70):
            for city in (HANGZHOU, NINGBO):
                at = day - timedelta(days=back)
                count = changed.get((city, at), USUAL[kinds[at]])
                told = {"event_count": count or 0, "has_reported": count is not None}
                rows.append({"business_date": at, "region_system": "cn", "region_code": city, **told})
        run.tables.overwrite("mart.region_reporting", pa.Table.from_pylist(rows))
        run.engine.register_table("mart.region_reporting")
        midnight = datetime(day.year, day.month, day.day, 16, tzinfo=UTC)  # of the next day in Shanghai
        (suite,) = [s for s in suites.by_hand(run.settings, {}, ["mart.region_reporting"], midnight) if s.name == "set.cities_report_as_usual"]
        (result,) = quality._validated(run, [suite])
        cities = [r["city_code"] for r in run.spark.sql(suite.query).toArrow().to_pylist() if r["beyond_tolerance"] > 0]
        assert result.success == (not cities)
        assert (result.unexpected_count or 0) == len(cities)
        return sorted(cities)

    return found


@pytest.mark.parametrize("day", [FRIDAY, SUNDAY, MAKEUP, HOLIDAY])
def test_a_day_as_any_of_its_kind_is_no_alarm(unusual: Found, day: date) -> None:
    assert unusual(day, {}) == []


def test_half_of_a_citys_events_are_missed(unusual: Found) -> None:
    assert unusual(FRIDAY, {(HANGZHOU, FRIDAY): 100}) == [HANGZHOU]


def test_a_city_that_sends_nothing_any_more_is_missed(unusual: Found) -> None:
    assert unusual(FRIDAY, {(NINGBO, FRIDAY): None}) == [NINGBO]


def test_what_is_usual_on_a_sunday_is_an_alarm_on_a_friday_and_on_a_saturday_that_people_worked(unusual: Found) -> None:
    assert unusual(FRIDAY, {(HANGZHOU, FRIDAY): 80}) == [HANGZHOU]
    assert unusual(MAKEUP, {(HANGZHOU, MAKEUP): 80}) == [HANGZHOU]


def test_of_a_small_city_chance_is_no_alarm(unusual: Found) -> None:
    days = {(NINGBO, FRIDAY - timedelta(days=n)): 4 for n in range(70)}
    assert unusual(FRIDAY, {**days, (NINGBO, FRIDAY): 2}) == []
