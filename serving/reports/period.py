"""The periods that reports are of: ISO weeks, months and years, as officials name them."""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

Kind = Literal["week", "month", "year"]

# this one, the one before, the same one a year earlier; and after 较 in a sentence
_WORDS: dict[Kind, tuple[str, str, str]] = {
    "week": ("本周", "上周", "上年同周"),
    "month": ("本月", "上月", "上年同月"),
    "year": ("本年", "上年", "上年"),
}
# What a trend shows: so many periods up to this one. A year is shown by its months.
_SHOWN = {"week": 8, "month": 13, "year": 12}
_NAME = re.compile(r"(?P<year>\d{4})(?:-W(?P<week>\d{2})|-(?P<month>\d{2}))?")


@dataclass(frozen=True)
class Period:
    """One week, month or year by its first day."""

    kind: Kind
    first: date

    @classmethod
    def named(cls, name: str) -> Period:
        """2026-W09, 2026-02 or 2026; raises ValueError."""
        found = _NAME.fullmatch(name)
        if not found:
            raise ValueError(f"expected a period as 2026-W09, 2026-02 or 2026, came {name!r}")
        year = int(found["year"])
        if found["week"]:
            return cls("week", date.fromisocalendar(year, int(found["week"]), 1))
        return cls("month" if found["month"] else "year", date(year, int(found["month"] or 1), 1))

    @classmethod
    def of(cls, kind: Kind, day: date) -> Period:
        """The period of that kind in which the day lies."""
        if kind == "week":
            return cls(kind, day - timedelta(days=day.weekday()))
        return cls(kind, day.replace(day=1) if kind == "month" else day.replace(month=1, day=1))

    @classmethod
    def last_complete(cls, kind: Kind, open_date: date) -> Period:
        """The newest one that ended before `open_date`, the first day that is not complete."""
        return cls.of(kind, open_date).previous

    @property
    def last(self) -> date:
        """The last day."""
        if self.kind == "week":
            return self.first + timedelta(days=6)
        if self.kind == "month":
            return self.first.replace(day=calendar.monthrange(self.first.year, self.first.month)[1])
        return self.first.replace(month=12, day=31)

    @property
    def previous(self) -> Period:
        """The one before."""
        return Period.of(self.kind, self.first - timedelta(days=1))

    @property
    def year_ago(self) -> Period | None:
        """The same one a year earlier; None for a year, whose previous one it is, and for a 53rd week where that year has none."""
        if self.kind == "year":
            return None
        if self.kind == "month":
            return Period("month", self.first.replace(year=self.first.year - 1))
        year, week, _ = self.first.isocalendar()
        try:
            return Period("week", date.fromisocalendar(year - 1, week, 1))
        except ValueError:
            return None

    def is_complete(self, open_date: date) -> bool:
        """Whether every day of it lies before the first day that is not complete."""
        return self.last < open_date

    def trend(self) -> Iterator[Period]:
        """What a chart of the course of things shows, oldest first: eight weeks, thirteen months, the months of a year."""
        shown = Period.of("month", self.last) if self.kind == "year" else self
        found = [shown]
        while len(found) < _SHOWN[self.kind]:
            found.append(found[-1].previous)
        yield from reversed(found)

    def __str__(self) -> str:
        """2026-W09, 2026-02, 2026."""
        if self.kind == "week":
            year, number, _ = self.first.isocalendar()
            return f"{year}-W{number:02}"
        return f"{self.first:%Y-%m}" if self.kind == "month" else f"{self.first:%Y}"

    @property
    def text(self) -> str:
        """2026年第9周（2月23日至3月1日）, 2026年2月, 2026年; of a week the years of its days where they differ from the week's."""
        if self.kind != "week":
            return f"{self.first.year}年{self.first.month}月" if self.kind == "month" else f"{self.first.year}年"
        year, number, _ = self.first.isocalendar()
        days = [f"{day.year}年{day.month}月{day.day}日" if day.year != year else f"{day.month}月{day.day}日" for day in (self.first, self.last)]
        return f"{year}年第{number}周（{days[0]}至{days[1]}）"

    @property
    def label(self) -> str:
        """As an axis names it: 第9周, 2月."""
        if self.kind == "week":
            return f"第{self.first.isocalendar().week}周"
        return f"{self.first.month}月" if self.kind == "month" else f"{self.first.year}年"

    @property
    def words(self) -> dict[str, str]:
        """`this`, `before` and `year_ago` as texts say them: 本周, 上周, 上年同周."""
        return dict(zip(("this", "before", "year_ago"), _WORDS[self.kind], strict=True))
