"""A horizontal axis, linear or logarithmic, with the values of a numeric axis of the sweep as ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from analysis.plots.figure_text import text_width_in
from c2d.core.errors import InputError, abbreviate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

DECADES = 2.0
"""Span of x, in powers of ten, above which its axis is logarithmic."""


def label_number(label: str, axis: str, others: Sequence[str]) -> float:
    """Return the number of a label: "0.1", "1e-3".

    Args:
        axis, others: name and labels of the axis, for the error.

    Raises:
        InputError: the label is no finite number.
    """
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"axis {axis} has the label {label!r}, which is no number (labels: {abbreviate(others)}); a curve needs "
            f"numbers: leave it out with `where: {{{axis}: [...]}}`, or use a heatmap or a seeds figure"
        )
    return value


def is_number(label: str) -> bool:
    """Whether a label is a finite number."""
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def set_numeric_axis(axes: Axes, data: pd.DataFrame) -> list[tuple[float, str]]:
    """Set scale, limits and ticks of x; return the ticks, which are the values of the sweep."""
    points = data[data["x"].notna()]
    ticks = sorted(dict(zip(points["x"].astype(float), points["label"].astype(str), strict=True)).items())
    xs = [x for x, _ in ticks]
    positive = [x for x in xs if x > 0]
    if positive and min(xs) >= 0 and math.log10(max(positive) / min(positive)) > DECADES:
        if len(positive) == len(xs):
            axes.set_xscale("log")
            room = (max(xs) / min(xs)) ** 0.05
            axes.set_xlim(min(xs) / room, max(xs) * room)
        else:  # a logarithmic axis has no 0: symlog puts it left of the smallest value, on a short linear piece
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
            axes.set_xlim(-0.15 * min(positive), max(xs) * 1.35)
    elif xs:
        room = 0.05 * (max(xs) - min(xs)) or 0.5
        axes.set_xlim(min(xs) - room, max(xs) + room)
    else:  # only flat lines
        axes.set_xlim(0, 1)
    axes.set_xticks(xs, [label for _, label in ticks])
    axes.set_xticks([], minor=True)  # a logarithmic axis has minor ticks of its own
    return ticks


def thin_tick_labels(figure: Figure, axes: Axes, ticks: Sequence[tuple[float, str]]) -> None:
    """Remove the labels of ticks that would touch the label before; the ticks remain."""
    figure.draw_without_rendering()
    size = 6.5
    kept, end = [], -math.inf
    for x, label in ticks:
        middle = float(axes.transData.transform((x, axes.get_ylim()[0]))[0]) / figure.dpi
        half = text_width_in(label, size) / 2 + 0.03
        fits = middle - half > end
        kept.append(label if fits else "")
        end = middle + half if fits else end
    axes.set_xticks([x for x, _ in ticks], kept)
