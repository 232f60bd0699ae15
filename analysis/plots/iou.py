"""AP over the IoU threshold, and with a baseline the difference to it at each threshold.

It shows whether a method finds more objects, or only places them better. Curves of AP lie close together, so what a
method changes is seen in the differences: of the same seeds, with the interval of a paired comparison.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.loading.columns import IOUS, Quantity, quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.points import (
    INTERVAL,
    axis_limits,
    interval_columns,
    marker_notes,
    no_data_message,
    point_columns,
    run_columns,
    seed_values,
)
from analysis.plots.rows import LOOK_COLUMNS, Row, rows_of
from analysis.plots.series_panels import (
    Series,
    draw_interval,
    interval_sentence,
    legend_of,
    panels_of,
    series_of,
)
from analysis.plots.style import DOUBLE_IN, GREY, SINGLE_IN, paper_style
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec
from analysis.stats.seed_statistics import paired

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

COLUMNS = ("form", "row", "iou", "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs", "missing",
           "baseline", *LOOK_COLUMNS)  # fmt: skip
PAIRED = "95 % interval of the difference, paired by seed"


class Spec(SeriesFigureSpec):
    """AP over IoU thresholds; with `baseline` the differences to it as well."""

    kind: Literal["iou"]


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: four lines of panels."""
    return Limits(rows=48, students=4)


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return ten points a row at IoU 0.50 to 0.95: of form "AP" in percent, of form "difference" in percent points.

    A difference is the mean over the seeds that row and baseline share.
    """
    import pandas as pd

    rows = rows_of(study, spec, sweep)
    out = [
        {"form": "AP", **row.columns, "iou": float(iou), **point_columns(row.group, quantity(f"iou.{iou}"))}
        for row in rows
        for iou in IOUS
    ]
    out += [
        {"form": "difference", **row.columns, "iou": float(iou), **_difference(row, quantity(f"iou.{iou}"))}
        for row in rows
        if row.against is not None
        for iou in IOUS
    ]
    return pd.DataFrame(out, columns=list(COLUMNS))


def _difference(row: Row, metric: Quantity) -> dict[str, Any]:
    """The columns of the paired difference of a row to its baseline."""
    assert row.against is not None
    mine, base = seed_values(row.group, metric), seed_values(row.against, metric)
    common = [seed for seed in mine if seed in base]
    behind = run_columns(row.group, common, "a partner of that seed")
    if not common:
        return {**interval_columns([]), **behind, "interval": "none: no common seed"}
    gain = paired([mine[seed] for seed in common], [base[seed] for seed in common])
    sd, low, high = (math.nan if end is None else end for end in (gain.sd, gain.low, gain.high))
    return {"value": gain.mean, "sd": sd, "low": low, "high": high, "interval": gain.interval, **behind}


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw a line a row; AP on the left and the differences on the right, a line of panels a student where many."""
    absolute, differences = data[data["form"] == "AP"], data[data["form"] == "difference"]
    if not (absolute["n"] > 0).any():
        return message_figure(no_data_message(absolute))
    series = series_of(absolute)
    panels = panels_of(series)
    several = len(panels) > 1
    forms = [absolute] + [differences] * bool(differences["value"].notna().any())
    fullest = max(len(found) for _, found in panels)
    with paper_style():
        across = len(forms) if len(forms) > 1 or not several else min(3, len(panels))
        down = len(panels) if len(forms) > 1 else -(-len(panels) // across)
        width = DOUBLE_IN if across > 1 else SINGLE_IN
        height = 2.3 if down == 1 else 1.75 * down + 0.2
        figure, grid = new_figure(width, height, down, across, squeeze=False, sharex=True,
                                  sharey="col" if len(forms) > 1 else True)  # fmt: skip
        for spare in grid.flat[len(panels) * len(forms) :]:
            spare.set_axis_off()
        for place, (student, mine) in enumerate(panels):
            axes_of = grid[place] if len(forms) > 1 else [grid.flat[place]]
            for form, axes in zip(forms, axes_of, strict=True):
                _panel(axes, form, mine)
                axes.set_title(student, pad=3)
            axes_of[0].set_ylabel("AP (%)" if len(forms) > 1 or place % across == 0 else "")
            if len(forms) > 1:
                axes_of[1].set_ylabel("ΔAP (points)")
                axes_of[1].axhline(0, color=GREY, linewidth=0.7, zorder=1)
            if place == len(panels) - 1 or (len(forms) == 1 and place + across >= len(panels)):
                for axes in axes_of:
                    axes.set_xlabel("IoU threshold")
                    axes.tick_params(labelbottom=True)
        low, high = axis_limits(absolute)
        grid[0, 0].set_ylim(max(low, -0.02 * high), high)  # no AP is below 0
        notes = [
            f"{'Left: mean' if len(forms) > 1 else 'Mean'} over seeds{interval_sentence(absolute, INTERVAL, fullest)}."
        ]
        if len(forms) > 1:
            grid[0, 1].set_ylim(*axis_limits(differences))
            spread = interval_sentence(differences, PAIRED, fullest)
            notes.append(f"Right: mean difference to the baseline over common seeds{spread}.")
        legend = legend_of(series, "line", titled=several)
        add_legend_and_notes(figure, [*notes, *marker_notes(absolute)], legend, math=math_of(spec))
    return figure


def _panel(axes: Axes, data: pd.DataFrame, series: Sequence[Series]) -> None:
    for place, one in enumerate(series):
        points = data[(data["row"] == one.name) & data["value"].notna()].sort_values("iou")
        if points.empty:
            continue
        axes.plot(points["iou"].to_numpy(), points["value"], **one.line(), markersize=3.0, zorder=3)
        known = points[points["low"].notna()]
        draw_interval(axes, known["iou"], known["low"], known["high"], one, place, len(series), 0.05)
    axes.set_xlim(0.48, 0.97)
    axes.set_xticks(np.arange(0.5, 0.96, 0.1), [f"{iou:.1f}" for iou in np.arange(0.5, 0.96, 0.1)])
    axes.grid()
