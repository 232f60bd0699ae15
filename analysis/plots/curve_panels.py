"""Curves with many points, mean over seeds, in panels that share their axes: lines of a frame, and their drawing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.figure_layout import new_figure
from analysis.plots.figure_text import shorten
from analysis.plots.points import INTERVAL, interval_columns, run_columns
from analysis.plots.series_panels import BANDS, Series, draw_interval, interval_sentence, panels_of
from analysis.plots.style import DOUBLE_IN, INK, MOST_HEIGHT_IN, SINGLE_IN

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.plots.rows import Row

CURVE = ("value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs", "missing")
"""Columns of a point."""
LISTED = 8
"""Series of a panel up to which their numbers are written into it."""
PANEL_IN = 1.75


def curve_lines(
    row: Row, x_name: str, x: Sequence[float], values: Mapping[int, Any], **same: object
) -> list[dict[str, Any]]:
    """Return the lines of one curve of a row: mean and interval over seeds at each x.

    Args:
        row: of the figure.
        x_name: column of x.
        x: (T,) places.
        values: {seed: (T,) in the shown unit}; NaN where a seed has no value.
        same: columns that all lines have.

    Returns:
        T lines; one without a value where no seed has one.
    """
    seeds = [seed for seed in sorted(values) if np.isfinite(values[seed]).any()]
    if not seeds:
        none = {**interval_columns([]), **run_columns(row.group, [], "detections")}
        return [{**row.columns, **same, x_name: math.nan, **none}]
    table = np.array([values[seed] for seed in seeds], float)
    behind = run_columns(row.group, seeds, "detections")
    lines = []
    for at, place in enumerate(x):
        there = table[:, at][np.isfinite(table[:, at])]
        lines.append({**row.columns, **same, x_name: float(place), **interval_columns(list(there)), **behind})
    return lines


def panel_grid(
    names: Sequence[str], series: Sequence[Series]
) -> tuple[Figure, list[tuple[Axes, str, list[Series]]], list[tuple[str, list[Series]]]]:
    """Create the axes of panels that share both scales: few series in lines of at most four, else a line a student.

    Args:
        names: of the panels.
        series: all series.

    Returns:
        The figure; (axes, name, series) of each panel; the students as of `panels_of`.
    """
    students = panels_of(series)
    if len(students) > 1:
        figure, grid = new_figure(DOUBLE_IN, 1.55 * len(students) + 0.35, len(students), len(names), sharex=True,
                                  sharey=True, squeeze=False)  # fmt: skip
        places = []
        for at, (student, mine) in enumerate(students):
            for axes, name in zip(grid[at], names, strict=True):
                places.append((axes, name, mine))
                if at == 0:
                    axes.set_title(name, pad=3)
            grid[at, 0].set_ylabel(shorten(student, 20))
        return figure, places, students
    across, down = shape_of(len(names))
    width = {1: SINGLE_IN, 2: 5.2}.get(across, DOUBLE_IN)
    height = 2.2 if down == 1 and across < 3 else PANEL_IN * down + 0.2
    figure, grid = new_figure(width, height, down, across, sharex=True, sharey=True, squeeze=False)
    for spare in grid.flat[len(names) :]:
        spare.set_axis_off()
    for axes in grid.flat[max(0, len(names) - across) : len(names)]:
        axes.tick_params(labelbottom=True)
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_title(name, pad=3)
    return figure, [(axes, name, list(series)) for axes, name in zip(grid.flat, names, strict=False)], students


def shape_of(panels: int) -> tuple[int, int]:
    """Return (across, down) of some panels."""
    across = panels if panels <= 4 else 3 if panels <= 6 else 4
    return across, math.ceil(panels / across)


def label_axes(figure: Figure, places: Sequence[tuple[Axes, str, list[Series]]], x: str, y: str) -> None:
    """Write x below the lowest panel of each column, y left of each line, before the student where there is one."""
    shown = [axes for axes, _, _ in places]
    lefts = {round(axes.get_subplotspec().colspan.start) for axes in shown}  # type: ignore[union-attr]
    for column in lefts:
        mine = [axes for axes in shown if axes.get_subplotspec().colspan.start == column]  # type: ignore[union-attr]
        mine[-1].set_xlabel(x)
    for axes in shown:
        if axes.get_subplotspec().is_first_col():  # type: ignore[union-attr]
            student = axes.get_ylabel()
            axes.set_ylabel(f"{student}\n{y}" if student else y)


def draw_curves(axes: Axes, lines: pd.DataFrame, x_name: str, series: Sequence[Series], band: bool = True) -> None:
    """Draw a line a series, with few markers, and its interval.

    Args:
        axes: of matplotlib.
        lines: of one panel.
        x_name: column of x.
        series: those of the panel.
        band: whether intervals are drawn.
    """
    for place, one in enumerate(series):
        mine = lines[(lines["row"] == one.name) & lines["value"].notna()]
        if mine.empty:
            continue
        mine = mine[_bends(mine)]
        every = max(len(mine) // 5, 1)
        first = (place * every) // max(len(series), 1)
        axes.plot(mine[x_name], mine["value"], **{**one.line(), "linewidth": 1.0, "markeredgewidth": 0.6},
                  markersize=2.6, markevery=(first, every), zorder=3)  # fmt: skip
        known = mine[mine["low"].notna()] if band and len(series) <= BANDS else mine[:0]
        if len(known) > 1:
            draw_interval(axes, known[x_name], known["low"], known["high"], one, place, 1, 0.01)
    axes.grid()


def _bends(lines: pd.DataFrame) -> Any:
    """(n,) bool: points that differ from one of their neighbours; a line through the others looks the same."""
    table = lines[["value", "low", "high"]].to_numpy(float)
    differs = np.append(True, (np.nan_to_num(table[1:]) != np.nan_to_num(table[:-1])).any(axis=1))
    return differs | np.append(differs[1:], True)


def band_sentence(lines: pd.DataFrame, series: Sequence[Series]) -> str:
    """Return "; band: ... (n = 3 seeds)" where the fullest panel has bands, else ""."""
    fullest = max(len(mine) for _, mine in panels_of(series))
    return interval_sentence(lines, INTERVAL, fullest) if fullest <= BANDS else ""


def list_numbers(axes: Axes, texts: Sequence[tuple[Series, str]], corner: Any, title: str = "") -> None:
    """Write texts under each other into a corner of a panel, each behind the mark of its series.

    Args:
        axes: of matplotlib.
        texts: at most `LISTED`.
        corner: as of a legend, e.g. "upper right".
        title: above the texts.
    """
    handles: list[Any] = []
    for one, _ in texts:
        handles += axes.plot([], [], **{**one.line(), "marker": ""}, linewidth=1.0)
    small = {
        "fontsize": 5.5,
        "handlelength": 1.8,
        "labelspacing": 0.25,
        "borderaxespad": 0.2,
        "labelcolor": INK,
        "title_fontsize": 5.5,
    }
    ground = {"frameon": True, "framealpha": 0.75, "edgecolor": "none"}
    legend = axes.legend(handles, ["x"] * len(texts), loc=corner, title=title or None, **small, **ground)
    for shown, (_, text) in zip(legend.get_texts(), texts, strict=True):
        shown.set_text(text)  # a legend leaves out labels that begin with an underscore
    legend.set_in_layout(False)
    legend.set_zorder(5)


def most_students(panels: int) -> int:
    """Return the largest number of students of one figure; 1 where a line of panels would be too narrow."""
    return int((MOST_HEIGHT_IN - 1.6) // 1.55) if panels <= 6 else 1
