"""The series of a figure, the panels they are drawn in, and the legend; many series have one panel a student.

A frame has the look of each row in its columns (`analysis.plots.rows.Row.columns`), so a figure is drawn from its CSV.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.points import is_incomplete
from analysis.plots.style import GREY, MARKERS, PALETTE, bar_style, line_style, series_style

if TYPE_CHECKING:
    import pandas as pd

PANELS_FROM = 9
"""Series from which on each student has a panel."""
BANDS = 6
"""Series of a panel up to which intervals are bands; more would cover each other and become bars side by side."""


@dataclass(frozen=True)
class Series:
    """One row of a figure.

    Attributes:
        name: of the row.
        method, student: the parts of its name; "" where the figure has one student.
        color, marker: numbers of its look, see `analysis.plots.style.series_style`.
        hollow: whether it is unfinished or has fewer than three seeds.
    """

    name: str
    method: str
    student: str
    color: int
    marker: int
    hollow: bool

    @property
    def hue(self) -> str:
        """Its colour, as matplotlib takes it."""
        return series_style(self.color, self.marker).color

    def line(self) -> dict[str, Any]:
        """Return the keywords of `Axes.plot`."""
        return line_style(self.color, self.marker, self.hollow)

    def bar(self) -> dict[str, Any]:
        """Return the keywords of `Axes.bar`."""
        return bar_style(self.color, self.marker, self.hollow)


def series_of(data: pd.DataFrame) -> list[Series]:
    """Return the rows of a frame that have a value, in the order of the frame.

    Args:
        data: columns row, method, student, color, marker, value, n, promised.
    """
    out = []
    there = data[data["value"].notna()]
    for name, lines in there.groupby(there["row"].astype(str), sort=False):
        first = lines.iloc[0]
        weak = any(is_incomplete(int(n), int(p)) for n, p in zip(lines["n"], lines["promised"], strict=True))
        parts = str(first["method"]), str(first["student"]), int(first["color"]), int(first["marker"])
        out.append(Series(str(name), *parts, weak))
    return out


def panels_of(series: Sequence[Series]) -> list[tuple[str, list[Series]]]:
    """Return (student, its series) of each panel; one panel with the title "" for few series or one student."""
    students = list(dict.fromkeys(one.student for one in series))
    if len(series) < PANELS_FROM or len(students) < 2:
        return [("", list(series))]
    return [(student, [one for one in series if one.student == student]) for student in students]


def legend_of(series: Sequence[Series], kind: str, titled: bool = False) -> list[tuple[Any, str]]:
    """Return (artist, text) of a legend: methods and students apart where that is shorter than a line a series.

    Args:
        kind: "line", "point" or "bar".
        titled: whether the panels have the students' names, so that the legend needs none.
    """
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    methods = {one.method: one for one in reversed(series)}
    students = {one.student: one for one in reversed(series)}
    methods, students = (dict(reversed(list(found.items()))) for found in (methods, students))
    distinct = len({(one.method, one.color % len(PALETTE), one.color // len(PALETTE)) for one in series})
    composed = len(students) > 1 and distinct == len(methods) and len(series) > len(methods) + len(students)
    if not composed and not (titled and distinct == len(methods)):
        if kind == "bar":
            return [(Patch(**one.bar()), one.name) for one in series]
        return [(_handle(one.line(), kind), one.name) for one in series]
    many = len(students) > 1
    if kind == "bar":
        plain: list[tuple[Any, str]] = [
            (Patch(**{**one.bar(), "hatch": "" if many else one.bar()["hatch"]}), name) for name, one in methods.items()
        ]
        hatched = [
            (Patch(facecolor="white", edgecolor=GREY, linewidth=0.6, hatch=one.bar()["hatch"]), name)
            for name, one in students.items()
        ]
        return plain + ([] if titled else hatched)
    marked = {"marker": "o" if kind == "point" else ""} if many else {}
    lines = [(_handle({**one.line(), **marked}, kind), name) for name, one in methods.items()]
    marks = [
        (Line2D([], [], linestyle="", marker=MARKERS[one.marker % len(MARKERS)], color=GREY), name)
        for name, one in students.items()
    ]
    return lines + ([] if titled else marks)


def _handle(style: dict[str, Any], kind: str) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], markersize=3.5, **{**style, "linestyle": "" if kind == "point" else style["linestyle"]})


def draw_interval(axes: Any, x: Any, low: Any, high: Any, one: Series, place: int, count: int, step: float) -> None:
    """Draw the intervals of a series over x as a band, or with many series as bars side by side.

    Args:
        axes: of matplotlib.
        x, low, high: (n,) in data units.
        one: the series.
        place, count: of the series in its panel, from 0, and their number.
        step: distance of two values of x.
    """
    if not len(x):
        return
    if count <= BANDS and len(x) > 1:
        axes.fill_between(x, low, high, color=one.hue, alpha=0.16, linewidth=0, zorder=2)
        return
    shift = step * 0.6 * ((place + 0.5) / count - 0.5) if count > 1 else 0.0
    axes.vlines(np.asarray(x, float) + shift, low, high, color=one.hue, linewidth=0.5, alpha=0.5, zorder=2)


def interval_sentence(data: pd.DataFrame, interval: str, count: int) -> str:
    """Return "; band: 95 % ... (n = 3)": what shows the spread over seeds, and over how many; "" without intervals.

    Args:
        interval: name of the interval.
        count: series of the fullest panel.
    """
    known = data[data["low"].notna()]
    if known.empty:
        return ""
    least, most = int(known["n"].min()), int(known["n"].max())
    n = f"n = {most} seeds" if least == most else f"n = {least} to {most} seeds"
    return f"; {'band' if count <= BANDS else 'bar'}: {interval}, {n}"
