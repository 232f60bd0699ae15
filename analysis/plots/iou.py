"""AP over the IoU threshold. It shows whether a method finds more objects, or only places them better."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from analysis.load.columns import IOUS, quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.points import INTERVAL, axis_limits, is_incomplete, marker_notes, no_data_message, point_columns
from analysis.plots.rows import rows_of, unique_values
from analysis.plots.style import SINGLE_IN, line_style, paper_style, series_style
from analysis.spec.report_item import SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.load.schema import Study

COLUMNS = ("row", "iou", "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs", "missing",
           "baseline")  # fmt: skip
BANDS = 4
"""Series up to which intervals are bands; more would cover each other and become bars."""


class Spec(SeriesFigureSpec):
    """AP over IoU thresholds."""

    kind: Literal["iou"]


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return ten points a row: AP in percent at IoU 0.50 to 0.95."""
    import pandas as pd

    out = [
        {
            "row": row.name,
            "baseline": row.is_baseline,
            "iou": float(iou),
            **point_columns(row.group, quantity(f"iou.{iou}")),
        }
        for row in rows_of(study, spec, sweep)
        for iou in IOUS
    ]
    return pd.DataFrame(out, columns=list(COLUMNS))


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw a line a row, with intervals where there are two seeds or more."""
    if not (data["n"] > 0).any():
        return message_figure(no_data_message(data))
    names = unique_values(data)
    entries = []
    with paper_style():
        figure, axes = new_figure(SINGLE_IN, 2.3)
        for index, name in enumerate(names):
            points = data[(data["row"] == name) & data["value"].notna()].sort_values("iou")
            if points.empty:
                continue
            hollow = any(
                is_incomplete(n, promised) for n, promised in zip(points["n"], points["promised"], strict=True)
            )
            x = points["iou"].to_numpy()
            (handle,) = axes.plot(x, points["value"], **line_style(index, hollow), markersize=3.4, zorder=3)
            entries.append((handle, name))
            _interval(axes, points, index, len(names))
        low, high = axis_limits(data)
        axes.set_ylim(max(low, -0.02 * high), high)  # no AP is below 0
        axes.set_xlim(0.48, 0.97)
        axes.set_xticks(np.arange(0.5, 0.96, 0.1), [f"{iou:.1f}" for iou in np.arange(0.5, 0.96, 0.1)])
        axes.grid()
        axes.set_xlabel("IoU threshold")
        axes.set_ylabel("AP (%)")
        sentence = "Mean over seeds"
        if data["low"].notna().any():
            sentence += f"; {'bands' if len(names) <= BANDS else 'bars'}: {INTERVAL}"
        add_legend_and_notes(figure, notes=[f"{sentence}.", *marker_notes(data)], legend=entries)
    return figure


def _interval(axes: object, points: pd.DataFrame, index: int, series: int) -> None:
    known = points[points["low"].notna()]
    if known.empty:
        return
    color = series_style(index).color
    if series <= BANDS:
        axes.fill_between(known["iou"], known["low"], known["high"], color=color, alpha=0.18, linewidth=0)  # type: ignore[attr-defined]
    else:
        axes.vlines(known["iou"], known["low"], known["high"], color=color, linewidth=0.7, alpha=0.8, zorder=2)  # type: ignore[attr-defined]
