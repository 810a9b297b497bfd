"""Charts with Chinese type as PNG, the same bytes for the same rows; a character the font lacks is an error, not a box."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from math import nan
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ft2font import FT2Font

from serving.reports.declaration import Chart, ReportStopped

# The wheel of Noto Sans CJK holds the pan-Chinese font; it has every simplified character too.
_PACKAGE, _FILE = "cvttf_NotoSansCJK_Regular", "NotoSansCJKtc-Regular.otf"
_COLOURS = ("#1a5fb4", "#c9d2dc", "#e66100")
_WIDTH_INCHES, _DPI = 6.4, 150
# More bars than this cannot be told apart on a page; the table beside the chart has them all.
_BARS = 15
# Half a Chinese character of nine points.
_CHARACTER_INCHES = 9 / 72 / 2


def font_path() -> Path:
    """The font file in the environment."""
    return Path(str(files(_PACKAGE) / _FILE))


def draw(chart: Chart, title: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """The chart as PNG; raises ReportStopped for a character that the font lacks."""
    shown = rows[:_BARS] if chart.kind == "bar" else rows
    labels = [str(row[chart.x]) for row in shown]
    refuse_missing_glyphs([title, *chart.y.values(), *labels])
    height = 2.6 if chart.kind == "line" else max(1.6, 0.34 * len(shown) + 1.0)
    figure = Figure(figsize=(_WIDTH_INCHES, height), dpi=_DPI)
    # Margins by rule: matplotlib's own layout draws everything twice to find them.
    beside = 0.55 if chart.kind == "line" else 0.2 + _CHARACTER_INCHES * max((_half_widths(label) for label in labels), default=0)
    below = 0.3 + 0.16 * max((label.count("\n") for label in labels), default=0) if chart.kind == "line" else 0.3
    figure.subplots_adjust(left=min(beside / _WIDTH_INCHES, 0.6), right=0.97, top=1 - 0.35 / height, bottom=below / height)
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    (_lines if chart.kind == "line" else _bars)(axes, chart, shown, labels)
    axes.set_title(title, fontproperties=_font(11))
    axes.legend(prop=_font(9), frameon=False)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for label in (*axes.get_xticklabels(), *axes.get_yticklabels()):
        label.set_fontproperties(_font(9))
    picture = io.BytesIO()
    # Without the library's version in it, the same rows give the same bytes.
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _lines(axes: Any, chart: Chart, rows: Sequence[Mapping[str, Any]], labels: list[str]) -> None:
    for colour, (column, label) in zip(_COLOURS[::2], _series(chart, rows), strict=False):
        axes.plot(
            range(len(rows)), [nan if row[column] is None else row[column] for row in rows], marker="o", markersize=3.5, color=colour, label=label
        )
    axes.set_xticks(range(len(rows)), labels)
    axes.set_ylim(0, 1.12 * max((row[column] or 0 for row in rows for column in chart.y), default=1) or 1)
    axes.grid(axis="y", color="#e5e8eb", linewidth=0.8)


def _bars(axes: Any, chart: Chart, rows: Sequence[Mapping[str, Any]], labels: list[str]) -> None:
    series = _series(chart, rows)
    thickness = 0.8 / max(len(series), 1)
    for number, (colour, (column, label)) in enumerate(zip(_COLOURS, series, strict=False)):
        axes.barh([i + number * thickness for i in range(len(rows))], [row[column] or 0 for row in rows], thickness, color=colour, label=label)
    axes.set_yticks([i + 0.4 - thickness / 2 for i in range(len(rows))], labels)
    axes.invert_yaxis()
    axes.grid(axis="x", color="#e5e8eb", linewidth=0.8)
    axes.set_axisbelow(True)


def _half_widths(label: str) -> int:
    return max(sum(1 if sign.isascii() else 2 for sign in line) for line in label.split("\n"))


def _series(chart: Chart, rows: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """The columns with a number anywhere: of a period that is not compared there is none."""
    return [(column, label) for column, label in chart.y.items() if any(row[column] is not None for row in rows)]


def refuse_missing_glyphs(texts: Iterable[str]) -> None:
    """Raises ReportStopped where a text has a character that the font lacks."""
    known = _characters()
    missing = sorted({c for text in texts for c in text if ord(c) not in known and not c.isspace()})
    if missing:
        raise ReportStopped(f"font {_FILE}: expected a glyph for every character, it lacks {' '.join(missing)}; choose another font or wording")


def _font(size: int) -> FontProperties:
    return FontProperties(fname=str(font_path()), size=size)


@lru_cache(maxsize=1)
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(str(font_path())).get_charmap())
