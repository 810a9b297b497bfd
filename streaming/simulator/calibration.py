"""The simulated province beside the measured figures that it was given, on one page with plots: `python -m streaming.simulator.calibration`."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from gridlake import vocabularies as vocabulary_files
from gridlake.settings import Settings
from streaming.simulator import profiles
from streaming.simulator.frames import happened, stage
from streaming.simulator.province import MODEL
from streaming.simulator.truth import KINDS

_SIZE: Mapping[str, Any] = {"seed": 42, "days": 400, "events": 60_000, "cities": ["330100000000", "330400000000"], "villages": 150}
_LAST_DAY = np.datetime64("2026-10-31")
_REPEAT_WINDOW = pd.Timedelta(days=3)
_BEFORE = 12
_ALIKE = 0.6
_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Figures:
    """What is compared, measured on simulated events."""

    hours: pd.Series  # of everybody but grid members
    weekdays: pd.Series  # outside of public holidays' months
    months: pd.Series  # events a day
    classes: pd.Series
    overdue: pd.Series  # by first-level class
    text_length: pd.Series  # characters by quantile
    exact_repeats: float
    near_repeats: float
    closing_hours: pd.Series  # by quantile
    per_grid_and_day: float
    injected: pd.Series


def measure(events: pd.DataFrame, steps: pd.DataFrame, days: int) -> Figures:
    """The figures of events and steps as `frames.happened` gives them."""
    plain = events[~events.kind.isin(KINDS[MODEL])]
    everybody = plain[plain.channel_code != "grid"]
    closed = steps[steps.to_state == "closed"].groupby("event").happened_at.last()
    closing = closed.reindex(events.index) - events.reported_at
    limit = pd.to_timedelta(events.limit_hours, unit="h")
    # Only what was reported long enough ago to have missed its limit and been closed all the same.
    old = events.reported_at < events.reported_at.max() - pd.Timedelta(days=25)
    first_level = events.class_code.str[:2]
    per_month = events.groupby(events.reported_at.dt.month)
    ordinary = plain[~plain.reported_at.dt.month.isin([1, 2, 5, 10])]
    return Figures(
        hours=everybody.reported_at.dt.hour.value_counts(normalize=True).reindex(range(24), fill_value=0.0),
        weekdays=ordinary.reported_at.dt.weekday.value_counts(normalize=True).reindex(range(7), fill_value=0.0),
        months=per_month.size() / events.reported_at.dt.date.groupby(events.reported_at.dt.month).nunique(),
        classes=first_level.value_counts(normalize=True).sort_index(),
        overdue=(closing > limit)[old & closing.notna()].groupby(first_level).mean(),
        text_length=events.description.str.len().quantile(list(_QUANTILES)),
        exact_repeats=exact_repeats(events),
        near_repeats=near_repeats(events),
        closing_hours=(closing.dropna().dt.total_seconds() / 3600).quantile(list(_QUANTILES)),
        per_grid_and_day=len(events) / events.grid.nunique() / days,
        injected=events.kind[events.kind != ""].value_counts(normalize=False) / len(events),
    )


def exact_repeats(events: pd.DataFrame) -> float:
    """Share of events whose text, digits apart, an earlier one has word for word."""
    return float(events.sort_values("reported_at").description.str.replace(r"\d+", "0", regex=True).duplicated().mean())


def near_repeats(events: pd.DataFrame) -> float:
    """Share of events alike to one of the dozen before them in their grid, within three days."""
    ordered = events.sort_values(["grid", "reported_at"], ignore_index=True)
    found = np.zeros(len(ordered), bool)
    pairs = [_pairs_of(text) for text in ordered.description]
    grid, time = ordered.grid.to_numpy(), ordered.reported_at.to_numpy()
    for back in range(1, _BEFORE + 1):
        near = np.flatnonzero((grid[back:] == grid[:-back]) & (time[back:] - time[:-back] <= _REPEAT_WINDOW.to_timedelta64())) + back
        for row in near[~found[near]]:
            one, other = pairs[row], pairs[row - back]
            found[row] = len(one & other) > _ALIKE * len(one | other)
    return float(found.mean())


def _pairs_of(text: str) -> frozenset[str]:
    return frozenset(text[i : i + 2] for i in range(len(text) - 1))


def rows(figures: Figures) -> list[tuple[str, str, str, str]]:
    """The page's table: figure, measured on real feeds, simulated, where the measured one comes from."""
    found = [
        ("exact repeats of a text, digits apart", "", f"{figures.exact_repeats:.1%}", "texts of a province are set from phrases"),
        (
            "repeats within three days in one grid",
            "{:.0%} to {:.0%}".format(*profiles.REPEATS_RANGE),
            f"{figures.near_repeats:.1%}",
            "real event feeds; Boston 311: 4.3 % marked as duplicates",
        ),
        ("events a grid and day", "0.05", f"{figures.per_grid_and_day:.3f}", "assumed; the page's province is a small one with many events"),
    ]
    found += [
        (f"text length, {q:.0%} quantile (characters)", f"{profiles.TEXT_LENGTH[q]:.0f}", f"{figures.text_length[q]:.0f}", "hotline of a city, 2018")
        for q in _QUANTILES
    ]
    found += [
        (f"hours to close, {q:.0%} quantile", f"{profiles.CLOSING_HOURS[q]:.1f}", f"{figures.closing_hours[q]:.1f}", "Boston 311, 2011")
        for q in _QUANTILES
    ]
    found += [
        (f"overdue, class {code}", f"{profiles.OVERDUE_SHARE[code]:.1%}", f"{figures.overdue.get(code, 0.0):.1%}", "district platform, 2018")
        for code in profiles.OVERDUE_SHARE
    ]
    found += [(f"injected: {kind}", "", f"{share:.2%}", "profiles.py") for kind, share in figures.injected.sort_index().items()]
    return found


def page(figures: Figures, folder: Path) -> str:
    """Markdown, and beside it the plots under `<folder>/calibration/`."""
    plots = {
        "hours": ("Reports by hour, everybody but grid members", profiles.HOURS, figures.hours),
        "weekdays": ("Reports by weekday, Monday first", profiles.WEEKDAYS, figures.weekdays),
        "classes": ("Share by first-level class", list(profiles.CLASS_SHARE.values()), figures.classes),
        "overdue": ("Share handled past its limit, by first-level class", list(profiles.OVERDUE_SHARE.values()), figures.overdue),
        "months": ("Events a day by month (no measured figures: seasons are assumed)", [], figures.months),
    }
    for name, (_, given, simulated) in plots.items():
        path = folder / "calibration" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(_plot(given, simulated.to_numpy(dtype=float), [str(label) for label in simulated.index]))
    lines = [
        "# Simulated beside measured",
        "",
        f"Generated by `python -m streaming.simulator.calibration` from {_SIZE['events']:,} simulated events in {_SIZE['days']} days, two cities of"
        f" {_SIZE['villages']} villages each, seed {_SIZE['seed']}. The measured figures and their origins stand in"
        " [profiles.py](../streaming/simulator/profiles.py).",
        "",
        "What the figures do not bear out: texts are shorter and more even than those of a hotline, because grid members write them;",
        "half of the events close within hours, because members settle two thirds of what they find on the spot; the long tail of Boston's street",
        "works is missing, because limits here are days.",
        "",
        "| figure | measured | simulated | measured where |",
        "|---|---|---|---|",
        *("| " + " | ".join(row) + " |" for row in rows(figures)),
        "",
    ]
    for name, (title, _, _) in plots.items():
        lines += [f"## {title}", "", f"![{title}](calibration/{name}.png)", ""]
    return "\n".join(lines)


def _plot(given: Sequence[float], simulated: NDArray[np.float64], labels: Sequence[str]) -> bytes:
    from matplotlib.figure import Figure
    from PIL import Image

    figure = Figure(figsize=(7, 2.6), dpi=90, layout="constrained")
    axes = figure.subplots()
    place = np.arange(len(labels))
    if len(given):
        axes.bar(place - 0.2, np.array(given) / (sum(given) if abs(sum(given) - 1) < 0.05 else 1), 0.4, label="measured", color="#8fa3b8")
        axes.bar(place + 0.2, simulated, 0.4, label="simulated", color="#1f5fa8")
        axes.legend(frameon=False, fontsize=8)
    else:
        axes.bar(place, simulated, 0.7, color="#1f5fa8")
    axes.set_xticks(place, labels, fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    drawn = BytesIO()
    figure.savefig(drawn, format="png", metadata={"Software": None})
    small = BytesIO()
    # A page of bars needs few colours: a third of the bytes.
    Image.open(drawn).convert("P", palette=Image.Palette.ADAPTIVE, colors=32).save(small, format="PNG", optimize=True)
    return small.getvalue()


def simulated(size: Mapping[str, Any] = _SIZE) -> Figures:
    """The figures of a province of this size that ends on the last day of the default one."""
    first_day = _LAST_DAY - np.timedelta64(size["days"] - 1, "D")
    scene, plan = stage(vocabulary_files.load_all(Settings()), first_day=first_day, **size)
    events, steps = happened(scene, plan)
    return measure(events, steps, size["days"])


def main(arguments: Iterable[str]) -> None:
    """Write the page and its plots into the folder that is named, or docs/."""
    folder = Path(next(iter(arguments), "docs"))
    (folder / "calibration.md").write_text(page(simulated(), folder), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
