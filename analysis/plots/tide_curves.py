"""dAP of each TIDE error at ten IoU thresholds: the error curves of the paper, a small panel an error type.

`analysis.loading.tide_cache` reads the numbers from the result or computes them from the detections. The largest error
changes with the threshold: a detector with inexact boxes loses by Loc at 0.75 what it lost by Cls at 0.5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from analysis.loading.columns import TIDE
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import shorten
from analysis.plots.points import (
    INTERVAL,
    axis_limits,
    interval_columns,
    marker_notes,
    no_data_message,
    run_columns,
)
from analysis.plots.rows import LOOK_COLUMNS, problem_note, row_notes, rows_of
from analysis.plots.series_panels import Series, draw_interval, interval_sentence, legend_of, panels_of, series_of
from analysis.plots.style import DOUBLE_IN, paper_style
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

MAIN = TIDE[:6]
COLUMNS = ("row", "baseline", "error", "iou", "value", "sd", "low", "high", "interval", "n", "promised", "seeds",
           "runs", "missing", "note", *LOOK_COLUMNS)  # fmt: skip


class Spec(SeriesFigureSpec):
    """dAP of each main error type over the IoU threshold; computed from the detections."""

    kind: Literal["tide_curves"]


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: five lines of panels."""
    return Limits(rows=60, students=5)


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, error, iou): `value` is the mean dAP over seeds in percent.

    Only runs with readable detections count; `note` has the problems of the others. A row without any has one line an
    error, without a value.
    """
    import pandas as pd

    from analysis.loading.tide_cache import tide_over_iou

    rows = rows_of(study, spec, sweep)
    found, problems = tide_over_iou(study, [run for row in rows for run in row.group.runs], study.cache)
    found = found[found["error"].isin(MAIN) & found["dAP"].notna()]
    of_run = {str(run): dict(tuple(lines.groupby("error"))) for run, lines in found.groupby("run", sort=False)}
    lines: list[dict[str, Any]] = []
    for row in rows:
        seed_of = {run: seed for seed, run in row.done.items() if run in of_run}
        note = problem_note(problems, row.group.runs)
        for error in MAIN:
            same = {**row.columns, "error": error, "note": note}
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
    """Draw a panel an error type over the threshold; with many series a line of panels a student."""
    notes = row_notes(data)
    if not (data["n"] > 0).any():
        return message_figure(" ".join([no_data_message(data), *notes]), DOUBLE_IN)
    there = data[data["n"] > 0]
    series = series_of(there)
    panels = panels_of(series)
    several = len(panels) > 1
    with paper_style():
        if several:  # the scale of an error type is the same for all students
            figure, grid = new_figure(DOUBLE_IN, 1.3 * len(panels) + 0.3, len(panels), len(MAIN), sharex=True,
                                      sharey="col", squeeze=False)  # fmt: skip
            places = [(grid[k], student, mine) for k, (student, mine) in enumerate(panels)]
        else:
            figure, grid = new_figure(DOUBLE_IN, 2.8, 2, 3, sharex=True)
            places = [(grid.flat, "", series)]
        for axes_of, student, mine in places:
            for axes, error in zip(axes_of, MAIN, strict=True):
                of_error = there[there["error"] == error]
                _panel(axes, of_error, mine, narrow=several)
                axes.set_ylim(*_limits(of_error))
                if not several or student == panels[0][0]:
                    axes.set_title(error, pad=3)
            if several:
                axes_of[0].set_ylabel(f"{shorten(student, 18)}\nΔAP (%)")
        for axes in grid[-1]:
            axes.set_xlabel("IoU threshold")
        for axes in [] if several else grid[:, 0]:
            axes.set_ylabel("ΔAP (%)")
        fullest = max(len(mine) for _, mine in panels)
        sentence = "AP at that threshold that fixing all errors of a type would gain, mean over seeds"
        sentence += interval_sentence(there, INTERVAL, fullest)
        legend = legend_of(series, "line", titled=several)
        scales = "Vertical scales differ between error types." if several else "Vertical scales differ."
        add_legend_and_notes(figure, [f"{sentence}. {scales}", *marker_notes(data), *notes], legend, math=math_of(spec))
        return figure


def _panel(axes: Axes, lines: pd.DataFrame, series: Sequence[Series], narrow: bool) -> None:
    for place, one in enumerate(series):
        mine = lines[lines["row"] == one.name].sort_values("iou")
        style = {**one.line(), "markeredgewidth": 0.6}
        axes.plot(mine["iou"], mine["value"], markersize=1.8 if narrow else 2.4, zorder=3, **style)
        known = mine[mine["low"].notna()]
        draw_interval(axes, known["iou"], known["low"], known["high"], one, place, len(series), 0.05)
    axes.set_xlim(0.48, 0.97)
    axes.set_xticks([0.5, 0.7, 0.9] if narrow else [0.5, 0.6, 0.7, 0.8, 0.9])
    axes.grid()


def _limits(lines: pd.DataFrame) -> tuple[float, float]:
    """Limits of one error type, for all of its panels."""
    low, high = axis_limits(lines)
    return (low if not lines.empty and lines["value"].min() < 0 else 0.0), max(high, 0.5)
