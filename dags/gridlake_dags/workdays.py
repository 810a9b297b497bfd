"""The Chinese work calendar, as `work_calendar.csv` says it: holidays, and the weekend days that make up for them."""

from __future__ import annotations

import csv
from datetime import date, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from gridlake_dags.declarations import PROJECT, Report

ZONE = ZoneInfo("Asia/Shanghai")
_WORKED = {"workday", "makeup_workday"}
# The State Council publishes a year's calendar in the autumn before; beyond what is published Monday to Friday are taken for workdays.
_YEARS_AHEAD = 1


def is_workday(day: date) -> bool:
    """Whether offices work on that day."""
    known = _calendar().get(day)
    return known in _WORKED if known else day.weekday() < 5


def first_workday(day: date) -> date:
    """The day itself where offices work on it, else the next on which they do."""
    while not is_workday(day):
        day += timedelta(days=1)
    return day


def due_moments(report: Report) -> list[datetime]:
    """When the report of each period is due: on the first workday after it. From the calendar's first year to the one after its last, in order."""
    years = [day.year for day in _calendar()]
    first, last = date(min(years), 1, 1), date(max(years) + _YEARS_AHEAD, 12, 31)
    return [due(report, day) for n in range((last - first).days + 1) if begins(report.period, day := first + timedelta(days=n))]


def due(report: Report, first_day_after: date) -> datetime:
    """When the report of the period is due that ended the day before."""
    day = first_workday(first_day_after)
    return datetime(day.year, day.month, day.day, report.hour, report.minute, tzinfo=ZONE)


def last_due(report: Report, now: datetime) -> tuple[date, datetime]:
    """(the first day after the newest period that has ended, when its report is due)."""
    day = now.astimezone(ZONE).date()
    while not begins(report.period, day):
        day -= timedelta(days=1)
    return day, due(report, day)


def begins(period: str, day: date) -> bool:
    """Whether a period begins on that day: a week on Monday (ISO 8601)."""
    return {
        "week": day.weekday() == 0,
        "month": day.day == 1,
        "quarter": day.day == 1 and day.month % 3 == 1,
        "year": (day.month, day.day) == (1, 1),
    }[period]


@cache
def _calendar() -> dict[date, str]:
    path = PROJECT / "expectations" / "vocabularies" / "work_calendar.csv"
    with path.open(encoding="utf-8", newline="") as rows:
        return {date.fromisoformat(row["date"]): row["day_type"] for row in csv.DictReader(rows)}
