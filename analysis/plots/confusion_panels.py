"""Draw confusion matrices: a panel a row, all with the same classes, the background last."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.plots.cell_colors import DIFFERENCE_MAP, readable_color
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_text import format_number, shorten_distinct, text_width_in
from analysis.plots.points import is_incomplete, no_data_message
from analysis.plots.rows import row_notes, unique_values
from analysis.plots.style import DOUBLE_IN, INK, MOST_HEIGHT_IN, paper_style
from analysis.spec.labels import math_of
from analysis.spec.report_item import FigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from c2d.metrics.coco_data import Array

BACKGROUND, MISSED = "background", "missed"
VALUE_MAP = "Blues"
"""White is 0; one hue, so that colour blindness changes nothing."""
SMALLEST = 3.0
"""Font size below which cells have no number, points."""
LARGEST = 6.5
SMALL_IN = 0.2
"""Cells below this size have whole numbers, inches."""


@dataclass(frozen=True)
class _Shown:
    """The classes of all panels: places in the data; `rest` are added up."""

    kept: list[int]
    names: list[str]
    rest: list[int]
    background: int


def panel_size(classes: int) -> tuple[int, float]:
    """Return (panels across, height of a panel in inches) of matrices with so many classes."""
    across = 4 if classes <= 3 else 3 if classes <= 6 else 2 if classes <= 31 else 1
    side = (DOUBLE_IN - 0.9) / across - 0.12
    return across, side + 0.25


def matrices_per_page(classes: int) -> int:
    """Return the number of matrices that fit one figure."""
    across, height = panel_size(classes)
    return across * max(1, int((MOST_HEIGHT_IN - 2.6) // height))


def draw_matrices(
    data: pd.DataFrame, difference: bool, most: int, sentences: Sequence[str], spec: FigureSpec
) -> Figure:
    """Draw the matrices of a frame of `analysis.plots.confusion`.

    Args:
        data: the frame.
        difference: whether the cells are differences.
        most: largest number of classes that are shown one by one.
        sentences: below the figure.
        spec: of the figure.
    """
    there = data[data["value"].notna()]
    notes = row_notes(data)
    if there.empty:
        return message_figure(" ".join([no_data_message(data), *notes]), DOUBLE_IN)
    rows = unique_values(there)
    shown = _chosen(there, most)
    matrices = {row: _matrix(there[there["row"] == row], shown) for row in rows}
    labels = shorten_distinct(shown.names, 16) + ([f"{len(shown.rest)} others"] if shown.rest else [])
    across, height = panel_size(len(labels))
    across = min(across, len(rows))
    down = math.ceil(len(rows) / across)
    names = dict(zip(rows, shorten_distinct(rows, 26), strict=True))
    with paper_style():
        beside = max(text_width_in(label, 6.0) for label in [*labels, BACKGROUND]) + 0.42
        side = height - 0.25
        named = 2 if down > 1 and len(rows) % across else 1  # lines of panels with class names below
        width = min(DOUBLE_IN, across * (side + 0.12) + beside)
        figure, grid = new_figure(width, down * height + named * beside + 0.1, down, across, squeeze=False,
                                  sharex=True, sharey=True)  # fmt: skip
        scale = _scale(list(matrices.values()), difference)
        for place, axes in enumerate(grid.flat):
            if place >= len(rows):
                axes.set_axis_off()
                continue
            row = rows[place]
            _panel(axes, matrices[row], scale, difference, side / (len(labels) + 1))
            axes.set_title(_title(there[there["row"] == row], names[row]), pad=3)
            if place + across >= len(rows):
                axes.tick_params(axis="x", labelbottom=True)
        size = min(6.0, 72 * side / (len(labels) + 1) * 0.85)
        ticks = np.arange(len(labels) + 1)
        grid[0, 0].set_xticks(ticks, [*labels, MISSED])
        grid[0, 0].set_yticks(ticks, [*labels, BACKGROUND])
        for axes in grid.flat:
            axes.tick_params(labelsize=size)
        for axes in grid[:, 0]:
            axes.set_ylabel("object's class", fontsize=7)
        for axes in grid.flat[max(0, len(rows) - across) : len(rows)]:
            axes.set_xlabel("class of the detection", fontsize=7)
            axes.tick_params(axis="x", labelrotation=90)
        rest = (
            f"The {len(shown.kept)} of {len(shown.kept) + len(shown.rest)} classes with the most confusions between "
            "classes; the others are added up. The CSV has all."
        )
        notes = [*sentences, *[rest] * bool(shown.rest), *notes]
        add_legend_and_notes(figure, notes, math=math_of(spec))
        return figure


def _chosen(there: pd.DataFrame, most: int) -> _Shown:
    """All classes in the order of the data set, or those with the most confusions over all panels."""
    name_of: dict[int, str] = {}
    for name, place in ((name, place) for side in ("truth", "predicted")
                        for name, place in zip(there[side], there[f"{side}_place"], strict=True)):  # fmt: skip
        name_of[int(place)] = str(name)
    background = max(name_of) if "" in name_of.values() else max(name_of) + 1
    classes = sorted(place for place in name_of if place != background)
    if len(classes) <= most:
        return _Shown(classes, [name_of[place] for place in classes], [], background)
    between = there[(there["truth"] != "") & (there["predicted"] != "") & (there["truth"] != there["predicted"])]
    weight = dict.fromkeys(classes, 0.0)
    for side in ("truth_place", "predicted_place"):
        for place, count in between.groupby(side)["count"].apply(lambda counts: counts.abs().sum()).items():
            weight[int(str(place).partition(".")[0])] += float(count)
    kept = sorted(sorted(classes, key=lambda place: (-weight[place], place))[:most])
    rest = [place for place in classes if place not in kept]
    return _Shown(kept, [name_of[place] for place in kept], rest, background)


def _matrix(lines: pd.DataFrame, shown: _Shown) -> Array:
    """Values (m, m) of one row, per 100 objects; NaN in rows of classes without objects, and where nothing can be."""
    at = {place: k for k, place in enumerate(shown.kept)} | dict.fromkeys(shown.rest, len(shown.kept))
    size = len(shown.kept) + bool(shown.rest) + 1
    at[shown.background] = size - 1
    counts, objects = np.zeros((size, size)), np.zeros(size)
    total = 0.0
    for place, number in lines.drop_duplicates("truth_place")[["truth_place", "objects"]].itertuples(index=False):
        if int(place) == shown.background:
            continue
        objects[at[int(place)]] += number
        total += number
    objects[-1] = total
    for truth, predicted, count in lines[["truth_place", "predicted_place", "count"]].itertuples(index=False):
        counts[at[int(truth)], at[int(predicted)]] += count
    with np.errstate(divide="ignore", invalid="ignore"):
        values: Array = 100 * counts / objects[:, None]
    values[objects == 0] = np.nan
    values[-1, -1] = np.nan
    return values


def _scale(matrices: Sequence[Array], difference: bool) -> Any:
    """The colours of all panels."""
    import matplotlib
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize, PowerNorm

    if difference:
        most = max((float(np.nanmax(np.abs(values))) for values in matrices if np.isfinite(values).any()), default=1.0)
        return ScalarMappable(Normalize(-most or -1.0, most or 1.0), matplotlib.colormaps[DIFFERENCE_MAP])
    return ScalarMappable(PowerNorm(0.5, 0, 100, clip=True), matplotlib.colormaps[VALUE_MAP])


def _panel(axes: Axes, values: Array, scale: Any, difference: bool, cell_in: float) -> None:
    from matplotlib.patches import Rectangle

    size = len(values)
    small = cell_in < SMALL_IN
    texts = {(i, j): _text(values[i, j], difference, small) for i in range(size) for j in range(size)}
    usual = ("+88" if small else "+8.8") if difference else ("88" if small else "8.8")
    font = min(LARGEST, LARGEST * 0.88 * cell_in / text_width_in(usual, LARGEST), 72 * cell_in * 0.62)
    for (i, j), text in texts.items():
        value = values[i, j]
        better = value if i == j else -value  # more on the diagonal, fewer elsewhere
        face = "white" if math.isnan(value) else scale.to_rgba(better if difference else value)
        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=face, edgecolor="#E2E2E2", linewidth=0.25))
        own = min(font, LARGEST * 0.92 * cell_in / text_width_in(text, LARGEST)) if text else 0.0
        if own >= SMALLEST:
            axes.text(j, i, text, ha="center", va="center", fontsize=own, color=readable_color(face), clip_on=True)
    for side in (axes.axhline, axes.axvline):
        side(size - 1.5, color=INK, linewidth=0.6)
    axes.set_xlim(-0.5, size - 0.5)
    axes.set_ylim(size - 0.5, -0.5)
    axes.set_aspect("equal")
    axes.tick_params(length=0)


def _text(value: float, difference: bool, small: bool) -> str:
    """The number of a cell; "" for 0, so that what is there can be seen."""
    if math.isnan(value) or value == 0:
        return ""
    digits = 0 if small or abs(value) >= 9.95 else 1
    text = format_number(value, digits, sign=difference)
    return "" if float(text.replace("−", "-")) == 0 else text


def _title(lines: pd.DataFrame, name: str) -> str:
    n, promised = int(lines["n"].max()), int(lines["promised"].iloc[0])
    return f"{name} ({n}/{promised})" if is_incomplete(n, promised) else name
