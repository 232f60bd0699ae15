"""Drawing of the training curves; `analysis.plots.training` computes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_text import shorten, shorten_distinct
from analysis.plots.points import no_data_message
from analysis.plots.rows import row_notes, unique_values
from analysis.plots.style import DOUBLE_IN, GREY, INK, LINES, PALETTE, paper_style, series_style

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LOG_FROM = 30
"""Scales become logarithmic where the largest value is this many times the smallest."""
PANEL_IN = 1.15
"""Height of the two panels of a row."""


def draw_training_curves(data: pd.DataFrame, math: Mapping[str, str]) -> Figure:
    """Draw the training curves.

    Args:
        data: frame of `analysis.plots.training.data`.
        math: of `analysis.spec.labels.math_of`.
    """
    heads, curves = data[data["part"] == "row"], data[data["part"] != "row"]
    notes = row_notes(heads)
    if not curves["value"].notna().any():
        return message_figure(" ".join(["No training curves.", no_data_message(heads), *notes]), DOUBLE_IN)
    names = [name for name in unique_values(heads) if (curves["row"] == name).any()]
    styles = _styles(curves)
    losses, ratios = curves[curves["part"].isin(("total", "task", "kd"))], curves[curves["part"] == "ratio"]
    validated = bool((curves["part"] == "validation").any())
    lines_of = len(names) + validated
    end = float(curves["iteration"].max())
    with paper_style():
        figure, grid = new_figure(DOUBLE_IN, lines_of * PANEL_IN + 0.35 * (1 + validated), lines_of, 2, squeeze=False,
                                  width_ratios=[1.25, 1])  # fmt: skip
        for k, name in enumerate(names):
            for axes, lines in zip(grid[k], (losses, ratios), strict=True):
                _panel(axes, lines[lines["row"] == name], styles, axis_scale([*lines["low"], *lines["high"]]))
                axes.set_xlim(0, end)
                axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
                axes.tick_params(labelbottom=k == len(names) - 1)
                axes.set_xlabel("iteration" if k == len(names) - 1 else "")
            grid[k, 0].set_title(_title(heads[heads["row"] == name].iloc[0]), pad=3)
            grid[k, 0].set_ylabel("loss")
            grid[k, 1].set_ylabel("KD / task")
            if not (ratios["row"] == name).any():
                grid[k, 1].text(0.5, 0.5, "no distillation term", transform=grid[k, 1].transAxes, ha="center",
                                va="center", color=GREY, fontsize=6.5)  # fmt: skip
        legend = [(Line2D([], [], **style), term) for term, style in styles.items()]
        if validated:
            _validation(grid[-1, 0], grid[-1, 1], curves, end)
        add_legend_and_notes(
            figure, [_mark_sentence(curves, validated), *_missing_rows(heads), *notes], legend, math=math
        )
        return figure


def _styles(curves: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """{term: keywords of plot}: the sum black, task losses grey, distillation terms in colours; no line style twice in
    a kind before the colours have gone round."""
    styles: dict[str, dict[str, Any]] = {"loss": {"color": INK, "linestyle": "-", "linewidth": 1.3}}
    greys = ("#767676", "#A0A0A0", "#4D4D4D")
    for k, term in enumerate(unique_values(curves[curves["part"] == "task"], "term")):
        styles[term] = {"color": greys[k % 3], "linestyle": LINES[(k + 1) % len(LINES)], "linewidth": 1.1}
    for k, term in enumerate(unique_values(curves[curves["part"] == "kd"], "term")):
        turn = k // (len(PALETTE) - 1)
        colours = [colour for colour in PALETTE if colour != "#000000"]
        styles[term] = {"color": colours[k % len(colours)], "linestyle": LINES[(k + turn) % len(LINES)],
                        "linewidth": 1.1}  # fmt: skip
    return styles


@dataclass(frozen=True)
class AxisScale:
    """A vertical axis that all rows share.

    Attributes:
        log: whether it is logarithmic.
        low, high: its limits, in the unit of the values.
    """

    log: bool
    low: float
    high: float

    def set(self, axes: Axes) -> None:
        """Set scale and limits of y."""
        if self.log:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
            axes.yaxis.set_minor_formatter(lambda value, _: "")
        axes.set_ylim(self.low, self.high)


def axis_scale(values: Sequence[float]) -> AxisScale:
    """Return a logarithmic scale where all values are positive and far apart, else a linear one from 0 or below."""
    x = np.asarray(values, float)
    x = x[np.isfinite(x)]
    if not len(x):
        return AxisScale(False, 0.0, 1.0)
    low, high = float(x.min()), float(x.max())
    if low > 0 and high / low >= LOG_FROM:
        return AxisScale(True, low / 1.25, high * 1.25)
    room = 0.06 * (high - min(low, 0.0)) or 0.5
    return AxisScale(False, 0.0 if low >= 0 else low - room, high + room)


def _panel(axes: Axes, lines: pd.DataFrame, styles: Mapping[str, dict[str, Any]], scale: AxisScale) -> None:
    for term in unique_values(lines, "term"):
        mine = lines[(lines["term"] == term) & lines["value"].notna()]
        x = mine["iteration"].to_numpy(float)
        axes.plot(x, mine["value"], zorder=3, marker="o" if len(mine) == 1 else "", markersize=2.5, **styles[term])
        if (mine["high"] > mine["low"]).any():
            axes.fill_between(x, mine["low"], mine["high"], color=styles[term]["color"], alpha=0.18, linewidth=0)
    scale.set(axes)
    axes.grid()


def _validation(axes: Axes, beside: Axes, curves: pd.DataFrame, end: float) -> None:
    """AP during training on the left, a line a row; their names on the right."""
    lines = curves[curves["part"] == "validation"]
    entries: list[tuple[Any, str]] = []
    for name in unique_values(lines):
        mine = lines[(lines["row"] == name) & lines["value"].notna()]
        style = series_style(int(mine["color"].iloc[0]), int(mine["marker"].iloc[0]))
        x = mine["iteration"].to_numpy(float)
        (handle,) = axes.plot(x, mine["value"], color=style.color, linestyle=style.line, marker=style.marker,
                              markersize=3, linewidth=1.1, zorder=3)  # fmt: skip
        axes.fill_between(x, mine["low"], mine["high"], color=style.color, alpha=0.18, linewidth=0)
        entries.append((handle, name))
    high = float(lines["high"].max()) if lines["high"].notna().any() else 1.0
    axes.set_ylim(0, max(1.08 * high, 0.5))
    axes.set_xlim(0, end)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.set_title("validation during training", pad=3)
    axes.set_ylabel("AP (%)")
    axes.set_xlabel("iteration")
    axes.grid()
    beside.set_axis_off()
    columns = 1 if len(entries) <= 6 else 2
    names = shorten_distinct([name for _, name in entries], 44 // columns)
    legend = beside.legend([handle for handle, _ in entries], ["x"] * len(entries), loc="center left",
                           ncols=columns)  # fmt: skip
    for text, label in zip(legend.get_texts(), names, strict=True):  # a legend drops labels that begin with "_"
        text.set_text(label)
    legend.set_in_layout(False)


def _mark_sentence(curves: pd.DataFrame, validated: bool) -> str:
    windows = sorted(set(curves.loc[curves["part"] != "validation", "window"].astype(int)))
    spans = f"{windows[0]}" if len(windows) == 1 else f"{windows[0]} to {windows[-1]}"
    averaged = f"Moving average over {spans} iterations" if windows[-1:] > [1] else "No average over iterations"
    several = bool((curves["high"] > curves["low"]).any())
    return (
        "Left: the losses as trained (weighted); right: each distillation term over the sum of the task losses. "
        f"{averaged}{'; line: mean of the seeds, band: lowest to highest seed' if several else ''}. "
        f"All rows share their scales.{' Validation is shown as measured.' if validated else ''}"
    )


def _missing_rows(heads: pd.DataFrame) -> list[str]:
    """Which rows are unfinished, and which have no curve. Nothing is hollow here: a curve has no marker."""
    named = list(zip(heads["row"], heads["n"], heads["promised"], heads["missing"], strict=True))
    lost = [f"{name} ({missing})" for name, n, _, missing in named if not n]
    return [f"Not drawn: {', '.join(lost)}."] if lost else []


def _title(head: Any) -> str:
    """The row's name with its number of seeds, and the planned number where some are missing."""
    n, promised = int(head["n"]), int(head["promised"])
    seeds = f"{n}/{promised} seeds" if n < promised else f"{n} seed{'s' * (n > 1)}"
    return f"{shorten(head['row'])} ({seeds})"
