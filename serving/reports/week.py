"""ISO weeks as reports name them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta


@dataclass(frozen=True)
class Week:
    """One ISO week, Monday to Sunday."""

    monday: date

    @classmethod
    def last_complete(cls, open_date: date) -> Week:
        """The newest week that ended before `open_date`, the first day that is not complete."""
        return cls(open_date - timedelta(days=open_date.weekday() + 7))

    @property
    def sunday(self) -> date:
        """The last day."""
        return self.monday + timedelta(days=6)

    @property
    def previous(self) -> Week:
        """The week before."""
        return Week(self.monday - timedelta(days=7))

    def is_complete(self, open_date: date) -> bool:
        """Whether every day of it lies before the first day that is not complete."""
        return self.sunday < open_date

    def __str__(self) -> str:
        """2026-W09."""
        year, number, _ = self.monday.isocalendar()
        return f"{year}-W{number:02}"

    @property
    def text(self) -> str:
        """2026年第9周（2月23日至3月1日）; the years of its days where they differ from the week's."""
        year, number, _ = self.monday.isocalendar()
        days = [f"{day.year}年{day.month}月{day.day}日" if day.year != year else f"{day.month}月{day.day}日" for day in (self.monday, self.sunday)]
        return f"{year}年第{number}周（{days[0]}至{days[1]}）"
