"""Bars of the dAP of each TIDE error at IoU 0.5: a group of bars an error type, a bar a row.

The main types have one panel; FalsePos and FalseNeg have another, because they are sums of effects and usually several
times as large. A bar is the mean over seeds, every seed is a dot, the whisker is the 95 % interval over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.loading.columns import TIDE, quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.points import (
    INTERVAL,
    axis_limits,
    interval_columns,
    marker_notes,
    no_data_message,
    run_columns,
    seed_values,
)
from analysis.plots.rows import LOOK_COLUMNS, rows_of
from analysis.plots.series_panels import Series, legend_of, panels_of, series_of
from analysis.plots.style import DOUBLE_IN, GREY, INK, paper_style
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

MAIN, SPECIAL = TIDE[:6], TIDE[6:]
COLUMNS = ("row", "baseline", "error", "point", "value", "sd", "low", "high", "interval", "n", "promised", "seeds",
           "runs", "missing", *LOOK_COLUMNS)  # fmt: skip
NO_SUM = (
    "The parts do not sum, neither to 100 − AP nor to FalsePos + FalseNeg: each type is fixed alone, and fixing one "
    "changes what the others cost."
)


class Spec(SeriesFigureSpec):
    """dAP of the main error types, with error bars over seeds."""

    kind: Literal["tide"]


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: bars of a point's width, five lines of panels."""
    return Limits(rows=60, students=5)


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, error): dAP in percent, one of `point` "mean" and one of `point` "seed" a finished seed."""
    import pandas as pd

    lines: list[dict[str, Any]] = []
    for row in rows_of(study, spec, sweep):
        for error in TIDE:
            found = seed_values(row.group, quantity(f"tide.{error}"))
            same = {**row.columns, "error": error}
            lines.append({**same, "point": "mean", **interval_columns(list(found.values())),
                          **run_columns(row.group, list(found), "TIDE")})  # fmt: skip
            alone = {"sd": np.nan, "low": np.nan, "high": np.nan, "interval": "", "promised": 1, "missing": ""}
            lines += [
                {**same, "point": "seed", "value": value, **run_columns(row.group, [seed]), **alone}
                for seed, value in found.items()
            ]
    return pd.DataFrame(lines, columns=list(COLUMNS))


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw two panels side by side, the bars of a row in the same place of every group."""
    means = data[data["point"] == "mean"]
    if not (means["n"] > 0).any():
        return message_figure(no_data_message(means), DOUBLE_IN)
    there = means[means["n"] > 0]
    series = series_of(there)
    panels = panels_of(series)
    several = len(panels) > 1
    with paper_style():
        height = 1.45 * len(panels) + 0.1 if several else 1.9
        figure, grid = new_figure(DOUBLE_IN, height, len(panels), 2, squeeze=False, sharey="col",
                                  width_ratios=[len(MAIN), len(SPECIAL) + 0.3])  # fmt: skip
        for (student, mine), pair in zip(panels, grid, strict=True):
            for axes, errors in zip(pair, (MAIN, SPECIAL), strict=True):
                _panel(axes, data[data["error"].isin(errors)], errors, mine)
            pair[0].set_title(student, pad=3)
            pair[0].set_ylabel("ΔAP (%)")
        marks = "Bar: AP at IoU 0.5 that fixing all errors of a type would gain, mean over seeds; lower is better. "
        marks += "Dot: one seed."
        marks += f" Whisker: {INTERVAL}." if there["low"].notna().any() else ""
        legend = legend_of(series, "bar", titled=several)
        add_legend_and_notes(figure, [marks, NO_SUM, *marker_notes(means)], legend, math=math_of(spec))
        return figure


def _panel(axes: Axes, lines: pd.DataFrame, errors: Sequence[str], series: Sequence[Series]) -> None:
    width = min(0.84 / len(series), 0.28)
    for slot, one in enumerate(series):
        mine = lines[(lines["row"] == one.name) & lines["value"].notna()]
        at = {error: k + width * (slot + 0.5 - len(series) / 2) for k, error in enumerate(errors)}
        means, seeds = mine[mine["point"] == "mean"], mine[mine["point"] == "seed"]
        x = np.array([at[error] for error in means["error"]])
        y = means["value"].to_numpy(float)
        axes.bar(x, y, 0.92 * width, **one.bar())
        for error, group in seeds.groupby("error", sort=False):
            spread = width * 0.25 * (np.linspace(-1, 1, len(group)) if len(group) > 1 else np.zeros(1))
            axes.plot(at[str(error)] + spread, group["value"], linestyle="", marker="o", markersize=_dot(width, errors),
                      markerfacecolor="white", markeredgecolor=INK, markeredgewidth=0.4, zorder=3)  # fmt: skip
        known = means["low"].notna().to_numpy()
        if known.any():
            ends = np.abs(means[["low", "high"]].to_numpy(float).T - y)[:, known]
            axes.errorbar(x[known], y[known], yerr=ends, fmt="none", ecolor=INK, elinewidth=0.7,
                          capsize=min(1.5, 12 * width), zorder=4)  # fmt: skip
    for between in np.arange(len(errors) - 1) + 0.5:
        axes.axvline(between, color="#E2E2E2", linewidth=0.5, zorder=0)
    axes.axhline(0, color=GREY, linewidth=0.5, zorder=1)
    axes.set_xticks(range(len(errors)), errors)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.5, len(errors) - 0.5)
    low, high = axis_limits(lines)
    lowest = lines["value"].min()
    axes.set_ylim(low if lowest < 0 else 0.0, max(high, 0.5))
    axes.grid(axis="y")


def _dot(width: float, errors: Sequence[str]) -> float:
    """Diameter in points of the dots on bars that are `width` of a group."""
    return float(np.clip(14 * width * 6 / max(len(errors), 5), 1.2, 2.4))
