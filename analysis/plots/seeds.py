"""Every seed of every row as a dot, with the mean and its interval.

Data: rows with point "mean" (one a row of the figure) and with point "seed" (one a planned seed; `value` is missing
where the run is not finished).
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.loading.columns import quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import axis_label, shorten_distinct
from analysis.plots.points import (
    INTERVAL,
    axis_limits,
    is_incomplete,
    marker_notes,
    no_data_message,
    point_columns,
    row_tuples,
    run_columns,
    run_quantity,
    seed_values,
)  # fmt: skip
from analysis.plots.rows import LOOK_COLUMNS, rows_of
from analysis.plots.style import GREY, INK, SINGLE_IN, paper_style, series_style
from analysis.spec.labels import label_of_column, math_of
from analysis.spec.report_item import Key, SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

COLUMNS = ("row", "point", "seed", "state", "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs",
           "missing", "baseline", *LOOK_COLUMNS)  # fmt: skip


class Spec(SeriesFigureSpec):
    """Every seed as a dot, the mean as a line.

    Attributes:
        y: key of the number.
    """

    kind: Literal["seeds"]
    y: Key = "AP"


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show; names are on the axis, so colours may repeat."""
    return Limits(rows=36, colors=False)


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return one mean and all seeds of each row in shown units, rows in the sweep's order."""
    import pandas as pd

    metric = run_quantity(spec.y, "seeds")
    out = []
    for row in rows_of(study, spec, sweep):
        same = row.columns
        out.append({**same, "point": "mean", "seed": "", "state": "", **point_columns(row.group, metric)})
        values = seed_values(row.group, metric)
        for seed, state in zip(row.group.rows["seed"], row.group.rows["state"], strict=True):
            value = values.get(int(seed), np.nan)
            alone = {"value": value, "sd": np.nan, "low": np.nan, "high": np.nan, "interval": ""}
            behind = run_columns(row.group, [int(seed)] if int(seed) in values else [])
            behind |= {"promised": 1, "missing": "" if behind["n"] else f"1 {state}"}
            out.append({**same, "point": "seed", "seed": str(int(seed)), "state": str(state), **alone, **behind})
    return pd.DataFrame(out, columns=list(COLUMNS))


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw a strip a row, the first on top."""
    means = data[data["point"] == "mean"]
    if not (means["n"] > 0).any():
        return message_figure(no_data_message(means))
    seeds = data[data["point"] == "seed"]
    metric = quantity(spec.y)
    with paper_style():
        figure, axes = new_figure(SINGLE_IN, 0.45 + 0.2 * max(len(means), 2))
        for place, mean in enumerate(row_tuples(means)):
            style = series_style(int(mean.color), int(mean.marker))
            if mean.n == 0:
                axes.text(0.01, place, str(mean.missing), transform=axes.get_yaxis_transform(), va="center",
                          color=GREY, fontsize=6, style="italic")  # fmt: skip
                continue
            hollow = is_incomplete(int(mean.n), int(mean.promised))
            if np.isfinite(mean.low):
                axes.plot([mean.low, mean.high], [place, place], color=style.color, linewidth=5, alpha=0.22,
                          solid_capstyle="butt", zorder=1)  # fmt: skip
            axes.plot([mean.value] * 2, [place - 0.32, place + 0.32], color=INK, linewidth=1.1, zorder=3)
            x = seeds.loc[seeds["row"] == mean.row, "value"].dropna().to_numpy()
            axes.plot(x, place + _spread(x, axis_limits(means)), linestyle="", marker=style.marker, markersize=3.6,
                      markerfacecolor="white" if hollow else style.color, markeredgecolor=style.color,
                      markeredgewidth=0.8, zorder=2.5)  # fmt: skip
        every = {name: list(means[name]) + list(seeds[name]) for name in ("value", "low", "high", "n")}
        axes.set_xlim(*axis_limits(every))
        axes.set_ylim(len(means) - 0.5, -0.5)
        axes.set_yticks(range(len(means)), _ticks(means))
        axes.tick_params(axis="y", length=0)
        axes.grid(axis="x")
        axes.set_xlabel(axis_label(label_of_column(spec, spec.y), metric.unit))
        sentence = "Dots: seeds; line: their mean"
        sentence += f"; bar: {INTERVAL}." if means["low"].notna().any() else "."
        add_legend_and_notes(figure, notes=[sentence, *marker_notes(means[means["n"] > 0])], math=math_of(spec))
    return figure


def _ticks(means: pd.DataFrame) -> list[str]:
    names = shorten_distinct(list(means["row"]), 26)
    return [
        f"{name} ({n}/{promised})" if n < promised else name
        for name, n, promised in zip(names, means["n"], means["promised"], strict=True)
    ]


def _spread(x: np.ndarray, limits: tuple[float, float]) -> np.ndarray:
    """Vertical shifts that keep dots at nearly the same place apart: by turns above and below, never at random."""
    near = (limits[1] - limits[0]) / 60
    shifts = np.zeros(len(x))
    order = np.argsort(x, kind="stable")
    run = 0
    for before, this in pairwise(order):
        run = run + 1 if x[this] - x[before] < near else 0
        shifts[this] = (0, 0.17, -0.17)[run % 3]
    return shifts
