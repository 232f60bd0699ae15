"""dAP of each TIDE error at ten IoU thresholds: the error curves of the paper, a small panel an error type.

`analysis.load.tide_cache` reads the numbers from the result or computes them from the detections. The largest error
changes with the threshold: a detector with inexact boxes loses by Loc at 0.75 what it lost by Cls at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from analysis.load.columns import TIDE
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.points import (
    INTERVAL,
    axis_limits,
    interval_columns,
    is_incomplete,
    marker_notes,
    no_data_message,
    run_columns,
)
from analysis.plots.rows import problem_note, row_notes, rows_of, unique_values
from analysis.plots.style import DOUBLE_IN, line_style, paper_style
from analysis.spec.report_item import SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.load.schema import Study

MAIN = TIDE[:6]
MOST_BANDS = 6
"""With more rows the bands would cover each other; they stay in the CSV."""
COLUMNS = ("row", "baseline", "error", "iou", "value", "sd", "low", "high", "interval", "n", "promised", "seeds",
           "runs", "missing", "note")  # fmt: skip


class Spec(SeriesFigureSpec):
    """dAP of each main error type over the IoU threshold; computed from the detections."""

    kind: Literal["tide_curves"]


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, error, iou): `value` is the mean dAP over seeds in percent.

    Only runs with readable detections count; `note` has the problems of the others. A row without any has one line an
    error, without a value.
    """
    import pandas as pd

    from analysis.load.tide_cache import tide_over_iou

    rows = rows_of(study, spec, sweep)
    found, problems = tide_over_iou(study, [run for row in rows for run in row.group.runs], study.cache)
    found = found[found["error"].isin(MAIN) & found["dAP"].notna()]
    of_run = {str(run): dict(tuple(lines.groupby("error"))) for run, lines in found.groupby("run", sort=False)}
    lines: list[dict[str, Any]] = []
    for row in rows:
        seed_of = {run: seed for seed, run in row.done.items() if run in of_run}
        note = problem_note(problems, row.group.runs)
        for error in MAIN:
            same = {"row": row.name, "baseline": row.is_baseline, "error": error, "note": note}
            mine = [of_run[run][error] for run in seed_of if error in of_run[run]]
            if not mine:
                lines.append(
                    {**same, "iou": math.nan, **interval_columns([]), **run_columns(row.group, [], "detections")}
                )
                continue
            for iou, values in pd.concat(mine).groupby("iou"):
                seeds = [seed_of[str(run)] for run in values["run"]]
                percent = list(100 * values["dAP"].astype(float))
                lines.append({**same, "iou": float(str(iou)), **interval_columns(percent),
                              **run_columns(row.group, seeds, "detections")})  # fmt: skip
    out = pd.DataFrame(lines, columns=list(COLUMNS))
    out.attrs["problems"] = problems
    return out


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw two by three panels over the threshold, each with its own vertical scale."""
    from matplotlib.lines import Line2D

    notes = row_notes(data)
    if not (data["n"] > 0).any():
        return message_figure(" ".join([no_data_message(data), *notes]), DOUBLE_IN)
    there = data[data["n"] > 0]
    places = {name: place for place, name in enumerate(unique_values(data)) if (there["row"] == name).any()}
    weak = {
        name: any(
            is_incomplete(n, promised) for n, promised in there.loc[there["row"] == name, ["n", "promised"]].to_numpy()
        )
        for name in places
    }
    banded = len(places) <= MOST_BANDS and bool(there["low"].notna().any())
    with paper_style():
        figure, grid = new_figure(DOUBLE_IN, 2.8, 2, 3, sharex=True)
        for axes, error in zip(grid.flat, MAIN, strict=True):
            _panel(axes, there[there["error"] == error], places, weak, banded)
            axes.set_title(error, pad=3)
        for axes in grid[:, 0]:
            axes.set_ylabel("ΔAP (%)")
        for axes in grid[1]:
            axes.set_xlabel("IoU threshold")
        sentence = "AP at that threshold that fixing all errors of a type would gain, mean over seeds"
        sentence += f"; band: {INTERVAL}" if banded else ""
        legend = [
            (Line2D([], [], markersize=3, **line_style(place, weak[name])), name) for name, place in places.items()
        ]
        add_legend_and_notes(figure, [f"{sentence}. Vertical scales differ.", *marker_notes(data), *notes], legend)
        return figure


def _panel(axes: Axes, lines: pd.DataFrame, places: Mapping[str, int], weak: Mapping[str, bool], banded: bool) -> None:
    for name, place in places.items():
        mine = lines[lines["row"] == name].sort_values("iou")
        style = {**line_style(place, weak[name]), "markeredgewidth": 0.6}
        axes.plot(mine["iou"], mine["value"], markersize=2.4, zorder=3, **style)
        if banded and mine["low"].notna().any():
            axes.fill_between(mine["iou"], mine["low"], mine["high"], color=style["color"], alpha=0.15, linewidth=0,
                              zorder=2)  # fmt: skip
    low, high = axis_limits(lines if banded else lines.assign(low=math.nan, high=math.nan))
    axes.set_ylim(low if not lines.empty and lines["value"].min() < 0 else 0.0, max(high, 0.5))
    axes.set_xlim(0.48, 0.97)
    axes.set_xticks([0.5, 0.6, 0.7, 0.8, 0.9])
    axes.grid()
