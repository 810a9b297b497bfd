"""Numbers as an official report writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date

NONE = "—"
# What is said where there is no difference to tell: nothing to compare with, or the same number.
_NO_CHANGE: dict[float | None, str] = {None: "无可比数", 0: "持平"}
_FULL_WIDTH = re.compile(r"\s*([，。；：、（）])\s*")


def sentence(text: str) -> str:
    """One line; folded lines of a YAML file leave spaces that Chinese punctuation does not take."""
    return _FULL_WIDTH.sub(r"\1", " ".join(text.split()))


def number(value: float | None, decimals: int = 0) -> str:
    """1,234 or 1,234.5; a dash where there is none."""
    return NONE if value is None else f"{value:,.{decimals}f}"


def pct(value: float | None, decimals: int = 1) -> str:
    """12.3%; a dash where there is none."""
    return NONE if value is None else f"{value:.{decimals}f}%"


@dataclass(frozen=True)
class Comparison:
    """A number against the one of another period, which `than` names."""

    value: float | None
    previous: float | None
    unit: str = ""
    decimals: int = 0
    in_points: bool = False
    than: str = "上期"

    @property
    def in_table(self) -> str:
        """+35（+5.3%）, -1.2 个百分点, 持平."""
        difference = self._difference
        if not difference:
            return _NO_CHANGE[difference]
        if self.in_points:
            return f"{difference:+.{self.decimals}f} 个百分点"
        share = f"（{100 * difference / self.previous:+.1f}%）" if self.previous else f"（{self.than}为零）"
        return f"{difference:+,.{self.decimals}f}{share}"

    @property
    def in_sentence(self) -> str:
        """After 较上周 or 较上年同周: 增加 35 件（5.3%）, 下降 1.2 个百分点, 持平."""
        difference = self._difference
        if not difference:
            return _NO_CHANGE[difference]
        if self.in_points:
            return f"{'上升' if difference > 0 else '下降'} {abs(difference):.{self.decimals}f} 个百分点"
        share = f"（{abs(100 * difference / self.previous):.1f}%）" if self.previous else f"（{self.than}为零）"
        return f"{'增加' if difference > 0 else '减少'} {abs(difference):,.{self.decimals}f} {self.unit}{share}"

    @property
    def _difference(self) -> float | None:
        if self.value is None or self.previous is None:
            return None
        return round(self.value - self.previous, self.decimals)


def day(value: str | None) -> str:
    """10月3日, of an ISO date."""
    if value is None:
        return NONE
    found = date.fromisoformat(value[:10])
    return f"{found.month}月{found.day}日"


def compared(value: float | None, previous: float | None) -> str:
    """The change of a count in a table of places or classes."""
    return Comparison(value, previous).in_table
