"""The mean of one number over two axes of a sweep; with a baseline, the paired difference to it.

Data: one row for each pair of labels, planned or not, in the order of the sweep.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.loading.columns import Quantity, quantity
from analysis.plots.cell_colors import color_scale, readable_color
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import axis_label, format_number, shorten_distinct, text_width_in
from analysis.plots.points import (
    interval_columns,
    no_data_message,
    point_columns,
    row_tuples,
    run_columns,
    run_quantity,
    seed_values,
)
from analysis.plots.style import DOUBLE_IN, INK, MOST_HEIGHT_IN, SINGLE_IN, paper_style
from analysis.spec.labels import label_of_axis, label_of_column, label_of_value, math_of
from analysis.spec.report_item import FigureSpec, Key, Labels
from analysis.stats.seed_statistics import paired
from analysis.tables.groups import Group, baseline_of, groups
from c2d.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

COLUMNS = ("row", "x", "y", "shown_x", "shown_y", "value", "sd", "low", "high", "interval", "n", "promised", "seeds",
           "runs", "missing", "baseline", "against_mean", "against_runs")  # fmt: skip
LARGEST = 6.5
"""Font size of the numbers where cells are wide enough, points."""
SMALLEST = 4.5
"""Font size below which numbers are written upwards."""
CELL_IN = 0.27
"""Height of a cell."""
HATCH = "#C4C4C4"


class Spec(FigureSpec):
    """Mean of one number over two axes.

    Attributes:
        x, y: axes of the sweep.
        value: key of the number.
        baseline: {axis: label}; the cells show the difference to it.
    """

    kind: Literal["heatmap"]
    x: str
    y: str
    value: Key = "AP"
    baseline: Labels = {}


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return the full grid, in shown units.

    `value` is the mean, or with a baseline the mean paired difference to it. `against_mean` is the baseline's mean over
    the same seeds, `against_runs` their runs.

    Raises:
        InputError: x and y are the same axis; an unknown one; a number that runs do not hold.
    """
    import pandas as pd

    if spec.x == spec.y:
        raise InputError(f"a heatmap needs two axes, x and y are both {spec.x!r}")
    metric = run_quantity(spec.value, "heatmap")
    if (study.frame["sweep"] == sweep).any() or sweep not in ("", *study.sweeps):
        found = groups(study, sweep, {spec.y: [], spec.x: []}, spec.where, spec.labels)
        bases = _baselines(study, spec, sweep)
    else:
        found, bases = [], []
    cells: dict[tuple[str, str], Group] = {
        (labels[spec.x], labels[spec.y]): group for group in found for labels in (group.labels, *group.also)
    }
    columns = _order(study, sweep, spec.x, [x for x, _ in cells])
    rows = _order(study, sweep, spec.y, [y for _, y in cells])
    out = []
    for y in rows:
        for x in columns:
            shown_x, shown_y = label_of_value(spec, spec.x, x), label_of_value(spec, spec.y, y)
            names = {"row": f"{shown_y}, {shown_x}", "x": x, "y": y, "shown_x": shown_x, "shown_y": shown_y}
            group = cells.get((x, y))
            out.append({**names, **(_cell(group, bases, spec, metric) if group else _hole())})
    return pd.DataFrame(out, columns=list(COLUMNS))


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw cells with their number; an unfinished cell has n/planned, a cell without value is hatched."""
    import matplotlib
    from matplotlib.patches import Rectangle

    if not data["value"].notna().any():
        return message_figure(no_data_message(data))
    metric = quantity(spec.value)
    columns, rows = list(dict.fromkeys(data["x"])), list(dict.fromkeys(data["y"]))
    grid = {(str(cell.x), str(cell.y)): cell for cell in row_tuples(data)}
    difference = bool(spec.baseline)
    y_names = shorten_distinct([str(grid[columns[0], y].shown_y) for y in rows], 22)
    x_names = shorten_distinct([str(grid[x, rows[0]].shown_x) for x in columns], 22)
    with paper_style():
        texts = [format_number(value, metric.digits, sign=difference) for value in data["value"]]
        beside = max(text_width_in(name, 6.5) for name in y_names) + 0.85
        text_in = max(text_width_in(text, LARGEST) for text in texts) + 0.07
        width = SINGLE_IN if beside + text_in * len(columns) <= SINGLE_IN else DOUBLE_IN
        cell_in = (width - beside) / len(columns)
        size = min(LARGEST, LARGEST * cell_in / text_in)
        upright = max(text_width_in(name, 6.5) for name in x_names) > 0.92 * cell_in
        below = 0.57 + (max(text_width_in(name, 6.5) for name in x_names) * 0.75 if upright else 0)
        turned = size < SMALLEST  # numbers written upwards need a tenth of an inch
        size = LARGEST if turned else size
        figure, axes = new_figure(width, below + max((text_in + 0.05 if turned else CELL_IN) * len(rows), 0.6))
        # The baseline's cell has its mean, not a difference, so it is not on the colour scale.
        values = data.loc[~data["baseline"].astype(bool), "value"] if difference else data["value"]
        colors = color_scale(values.to_numpy(float), metric, difference)
        for i, y in enumerate(rows):
            for j, x in enumerate(columns):
                cell = grid[x, y]
                empty = not np.isfinite(cell.value)
                face = "white" if empty or (difference and cell.baseline) else colors.to_rgba(cell.value)
                axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, facecolor=face, edgecolor="white", linewidth=0.8))
                if empty:
                    with matplotlib.rc_context({"hatch.color": HATCH}):
                        axes.add_patch(Rectangle((j - 0.5, i - 0.5), 1, 1, fill=False, hatch="////", edgecolor=HATCH,
                                                 linewidth=0))  # fmt: skip
                _write(axes, j, i, cell, metric, difference, face, size, turned)
        axes.set_xlim(-0.5, len(columns) - 0.5)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xticks(range(len(columns)), x_names, **_tilt(upright))
        axes.set_yticks(range(len(rows)), y_names)
        axes.tick_params(length=0)
        for side in axes.spines.values():
            side.set_visible(False)
        axes.set_xlabel(label_of_axis(spec, spec.x))
        axes.set_ylabel(label_of_axis(spec, spec.y))
        colorbar = figure.colorbar(colors, ax=axes, fraction=0.05, pad=0.02, aspect=max(8, 4 * len(rows)))
        colorbar.outline.set_visible(False)
        label = label_of_column(spec, spec.value)
        name = f"Δ {label}" if difference else label
        axes.set_title(axis_label(name, "points" if difference and metric.unit == "%" else metric.unit))
        add_legend_and_notes(figure, notes=_notes(data, spec, difference), math=math_of(spec))
    return figure


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: lines of cells that fit the height of a page."""
    upright = data["x"].nunique() > 20
    return Limits(rows=int((MOST_HEIGHT_IN - 1.8) / (2 * CELL_IN if upright else CELL_IN)), colors=False, column="y")


def _cell(group: Group, among: Sequence[Group], spec: Spec, metric: Quantity) -> dict[str, Any]:
    base = baseline_of(group, among, spec.baseline)
    itself = base is not None and set(base.rows["run"]) == set(group.rows["run"])
    mine = {**point_columns(group, metric), "baseline": itself, "against_mean": np.nan, "against_runs": ""}
    if not spec.baseline or itself:
        return mine
    if base is None:
        return {
            **mine,
            **interval_columns([]),
            "interval": "none: no baseline",
            "missing": mine["missing"] or "no baseline",
        }
    values, others = seed_values(group, metric), seed_values(base, metric)
    common = [seed for seed in values if seed in others]
    if not common:
        return {**mine, **interval_columns([]), **run_columns(group, [], metric.key),
                "interval": "none: no common seed", "missing": mine["missing"] or "baseline not finished"}  # fmt: skip
    found = paired([values[seed] for seed in common], [others[seed] for seed in common])
    sd, low, high = (np.nan if value is None else value for value in (found.sd, found.low, found.high))
    return {
        **run_columns(group, common, metric.key),
        "value": found.mean,
        "sd": sd,
        "low": low,
        "high": high,
        "interval": found.interval,
        "baseline": False,
        "against_mean": float(np.mean([others[seed] for seed in common])),
        "against_runs": run_columns(base, common)["runs"],
    }


def _baselines(study: Study, spec: Spec, sweep: str) -> list[Group]:
    """The groups that cells are compared with. The baseline may be of another axis than x and y, or outside `where`."""
    if not spec.baseline:
        return []
    where = {**spec.where, **{axis: [label] for axis, label in spec.baseline.items()}}
    return groups(study, sweep, {axis: [] for axis in (*spec.baseline, spec.y, spec.x)}, where, spec.labels)


def _hole() -> dict[str, Any]:
    """A pair of labels that the sweep does not have."""
    none = {"n": 0, "promised": 0, "seeds": "", "runs": "", "missing": "", "baseline": False}
    return {
        **interval_columns([]),
        **none,
        "interval": "none: not in the sweep",
        "against_mean": np.nan,
        "against_runs": "",
    }


def _order(study: Study, sweep: str, axis: str, found: Sequence[str]) -> list[str]:
    """The labels that have a cell, in the order of the sweep's record."""
    axes = study.sweeps.get(sweep, {}).get("axes")
    known = [str(label) for label in axes.get(axis, [])] if isinstance(axes, dict) else []
    there = dict.fromkeys(found)
    return [label for label in dict.fromkeys([*known, *found]) if label in there]


def _write(axes: Axes, x: int, y: int, cell: Any, metric: Quantity, difference: bool, face: Any, size: float,
           turned: bool) -> None:  # fmt: skip
    """The number of a cell in black or white, whichever is easier to read on it, and what is missing."""
    if not np.isfinite(cell.value):
        text = f"0/{cell.promised}" if cell.promised else ""
        if text:
            axes.text(x, y, text, ha="center", va="center", fontsize=size - 1, color=INK,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8})  # fmt: skip
        return
    signed = difference and not cell.baseline
    few = cell.n < cell.promised or cell.n < 3
    text = format_number(cell.value, metric.digits, sign=signed)
    color = readable_color(face)
    above, below = (0.14, 0.26) if few else (0.0, 0.0)
    at, under_at = ((x - above, y), (x + below, y)) if turned else ((x, y - above), (x, y + below))
    rotation = 90 if turned else 0
    axes.text(at[0], at[1], text, ha="center", va="center", fontsize=size, color=color, rotation=rotation,
              style="italic" if difference and cell.baseline else "normal")  # fmt: skip
    if few:
        under = f"{cell.n}/{cell.promised}" if cell.n < cell.promised else f"n={cell.n}"
        axes.text(under_at[0], under_at[1], under, ha="center", va="center", fontsize=size - 1.8, color=color,
                  rotation=rotation)  # fmt: skip


def _tilt(upright: bool) -> dict[str, Any]:
    return {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if upright else {}


def _notes(data: pd.DataFrame, spec: Spec, difference: bool) -> list[str]:
    where = ", ".join(f"{axis}={label}" for axis, label in spec.baseline.items())
    out = [f"Mean difference to {where} over the same seeds." if difference else "Mean over seeds."]
    if difference and quantity(spec.value).better:
        out.append("Purple: better; orange: worse.")
    if difference and (data["baseline"].astype(bool) & data["value"].notna()).any():
        out.append("Italic: the baseline itself.")
    if (data["value"].notna() & (data["n"] < data["promised"])).any():
        out.append("Small: finished of planned seeds.")
    elif (data["value"].notna() & (data["n"] < 3)).any():
        out.append("Small: number of seeds, fewer than three.")
    if data["value"].isna().any():
        out.append("Hatched: no value.")
    return [" ".join(out)]
