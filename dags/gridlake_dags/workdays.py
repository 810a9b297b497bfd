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
    day = first_workday(first_day_after + timedelta(days=report.days_after))
    return datetime(day.year, day.month, day.day, report.hour, report.minute, tzinfo=ZONE)


def last_due(report: Report, now: datetime) -> tuple[datetime, list[str]]:
    """(when the report was due last, the periods that it was due of, oldest first). A long holiday makes two weeks due at once."""
    day = now.astimezone(ZONE).date()
    while not (begins(report.period, day) and due(report, day) <= now):
        day -= timedelta(days=1)
    moment, periods = due(report, day), [name_before(report.period, day)]
    while (day := day - timedelta(days=1)) and (not begins(report.period, day) or due(report, day) == moment):
        if begins(report.period, day):
            periods.insert(0, name_before(report.period, day))
    return moment, periods


def name_before(period: str, first_day_after: date) -> str:
    """What the period is called that ended the day before: 2026-W09, 2026-02, 2026."""
    last = first_day_after - timedelta(days=1)
    year, week, _ = last.isocalendar()
    return f"{year}-W{week:02}" if period == "week" else f"{last:%Y-%m}" if period == "month" else f"{last:%Y}"


def begins(period: str, day: date) -> bool:
    """Whether a period begins on that day: a week on Monday (ISO 8601)."""
    return {
        "week": day.weekday() == 0,
        "month": day.day == 1,
        "year": (day.month, day.day) == (1, 1),
    }[period]


@cache
def _calendar() -> dict[date, str]:
    path = PROJECT / "expectations" / "vocabularies" / "work_calendar.csv"
    with path.open(encoding="utf-8", newline="") as rows:
        return {date.fromisoformat(row["date"]): row["day_type"] for row in csv.DictReader(rows)}
