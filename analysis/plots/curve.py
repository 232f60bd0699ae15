"""One number over the values of a numeric axis, such as a loss weight: means with intervals, and every seed.

Data: rows with point "mean" and point "seed" at x, and with point "flat" (x missing) for cells that do not depend on
the axis, a baseline for instance, which become horizontal lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.loading.columns import Quantity, quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import axis_label
from analysis.plots.numeric_axis import is_number, label_number, set_numeric_axis, thin_tick_labels
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
)
from analysis.plots.rows import LOOK_COLUMNS, unique_values
from analysis.plots.series_looks import series_looks
from analysis.plots.style import GREY, LINES, SINGLE_IN, line_style, paper_style, series_style
from analysis.spec.labels import label_of_axis, label_of_column, math_of
from analysis.spec.report_item import FigureSpec, Key, Labels
from analysis.tables.groups import Group, groups

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

COLUMNS = ("row", "point", "x", "label", "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs",
           "missing", "baseline", *LOOK_COLUMNS)  # fmt: skip
BANDS = 4
"""Lines up to which intervals are bands."""
ONLY = "mean"
"""Name of the line if there is only one."""


class Spec(FigureSpec):
    """One number against the values of a numeric axis (a loss weight), with intervals.

    Attributes:
        x: axis of the sweep whose labels are numbers.
        y: key of the number.
        series: axes; a line per combination of their labels.
        baseline: {axis: label} of the cells that are drawn as horizontal lines.
    """

    kind: Literal["curve"]
    x: str
    y: Key = "AP"
    series: list[str] = []
    baseline: Labels = {}


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return the points by series and ascending x, in shown units.

    Raises:
        InputError: a label of x that is no number; an unknown axis; cells that differ on an axis that is not given.
    """
    import pandas as pd

    metric = run_quantity(spec.y, "curve")
    if not (study.frame["sweep"] == sweep).any() and sweep in ("", *study.sweeps):
        return pd.DataFrame(columns=list(COLUMNS))
    series = [axis for axis in dict.fromkeys((*spec.series, *spec.baseline)) if axis != spec.x]
    axes: dict[str, list[str]] = {axis: [] for axis in (*series, spec.x)}
    found = groups(study, sweep, axes, spec.where, spec.labels)
    added: list[Group] = []  # horizontal lines only
    if spec.baseline:  # `where` may have left it out
        where = {**spec.where, **{axis: [label] for axis, label in spec.baseline.items()}}
        included = [set(group.rows["run"]) for group in found]
        bases = groups(study, sweep, axes, where, spec.labels)
        added = [base for base in bases if set(base.rows["run"]) not in included]
    out: list[dict[str, Any]] = []
    every = [*((group, True) for group in added), *((group, False) for group in found)]
    looks = series_looks(study, sweep, [group for group, _ in every], without=spec.x)
    for (group, only_flat), look in zip(every, looks, strict=True):
        before = len(out)
        places = _places(group, spec.x)
        base = bool(spec.baseline) and all(label in group.values(axis) for axis, label in spec.baseline.items())
        name = _name(group, series)
        if len(places) > 1 or only_flat or (base and spec.x in spec.baseline):
            own = name
            if spec.x in spec.baseline:
                own = f"{name}, {spec.x}={spec.baseline[spec.x]}".removeprefix(", ")
            out.append(_mean("flat", own or ONLY, math.nan, "", group, metric, base))
        if len(places) == 1 and not only_flat:
            ((x, label),) = places.items()
            out.append(_mean("mean", name or ONLY, x, label, group, metric, base))
            out += _seeds(name or ONLY, x, label, group, metric, base)
        shown = {"method": look.method, "student": look.student, "color": look.color, "marker": look.marker}
        out[before:] = [{**line, **shown} for line in out[before:]]
    names = list(dict.fromkeys(row["row"] for row in out))
    kinds = ("flat", "mean", "seed")
    out.sort(key=lambda row: (names.index(row["row"]), kinds.index(row["point"]), np.nan_to_num(row["x"])))
    return pd.DataFrame(out, columns=list(COLUMNS))


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show."""
    return Limits(rows=12)


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw lines with bands and faint seeds; horizontal lines for cells that do not depend on x."""
    means = data[data["point"] != "seed"]
    if not (means["n"] > 0).any():
        return message_figure(no_data_message(_named_points(means, spec.x)))
    metric = quantity(spec.y)
    names = unique_values(data[data["point"] != "flat"])
    entries = []
    with paper_style():
        figure, axes = new_figure(SINGLE_IN, 2.3)
        ticks = set_numeric_axis(axes, data)
        flats = row_tuples(data[(data["point"] == "flat") & data["value"].notna()])
        entries += [(_flat(axes, flat, place), str(flat.row)) for place, flat in enumerate(flats)]
        for name in names:
            mine = data[data["row"] == name]
            look = int(mine["color"].iloc[0]), int(mine["marker"].iloc[0])
            style = series_style(*look)
            every = mine[mine["point"] == "mean"].sort_values("x")  # a hole breaks the line
            points = every[every["value"].notna()]
            if points.empty:
                continue
            seeds = mine[(mine["point"] == "seed") & mine["value"].notna()]
            axes.plot(seeds["x"], seeds["value"], linestyle="", marker=".", markersize=3, color=style.color, alpha=0.35,
                      markeredgewidth=0, zorder=2)  # fmt: skip
            known = points[points["low"].notna()]
            if len(known) == len(every) > 1 and len(names) <= BANDS:
                axes.fill_between(known["x"], known["low"], known["high"], color=style.color, alpha=0.16, linewidth=0)
            else:
                for one in row_tuples(known):
                    axes.plot([one.x] * 2, [one.low, one.high], color=style.color, linewidth=0.8, marker="_",
                              markersize=3, zorder=2.5)  # fmt: skip
            axes.plot(every["x"], every["value"], color=style.color, linestyle=style.line, zorder=3)
            for hollow in (False, True):
                chosen = points[[is_incomplete(one.n, one.promised) == hollow for one in row_tuples(points)]]
                axes.plot(chosen["x"], chosen["value"], zorder=4, **{**line_style(*look, hollow), "linestyle": ""})
            entries.append((_handle(look), name))
        axes.set_ylim(*axis_limits(data))
        axes.grid()
        axes.set_xlabel(label_of_axis(spec, spec.x))
        axes.set_ylabel(axis_label(label_of_column(spec, spec.y), metric.unit))
        notes = [_mark_sentence(means), *marker_notes(_named_points(means, spec.x))]
        add_legend_and_notes(figure, notes=notes, legend=entries if len(entries) > 1 else [], math=math_of(spec))
        thin_tick_labels(figure, axes, ticks)
    return figure


def _places(group: Group, axis: str) -> dict[float, str]:
    """{x: its label}; more than one where the group does not depend on x."""
    labels = sorted(group.values(axis))
    if len(labels) > 1 and any(not is_number(label) for label in labels):
        return {float(place): label for place, label in enumerate(labels)}  # flat, so the places do not matter
    return {label_number(label, axis, labels): label for label in labels}


def _name(group: Group, series: Sequence[str]) -> str:
    """The shown labels of the series' axes, without those that made no difference."""
    shown = dict(zip(group.labels, group.shown, strict=True))
    return ", ".join(shown[axis] for axis in series if shown[axis] and group.depends(axis))


def _mean(kind: str, name: str, x: float, label: str, group: Group, metric: Quantity, base: bool) -> dict[str, Any]:
    return {"row": name, "point": kind, "x": x, "label": label, **point_columns(group, metric), "baseline": base}


def _seeds(name: str, x: float, label: str, group: Group, metric: Quantity, base: bool) -> list[dict[str, Any]]:
    """Every finished seed as a point of its own."""
    return [
        {"row": name, "point": "seed", "x": x, "label": label, "value": value, "sd": np.nan, "low": np.nan,
         "high": np.nan, "interval": "", **run_columns(group, [seed]), "promised": 1, "missing": "", "baseline": base}
        for seed, value in seed_values(group, metric).items()
    ]  # fmt: skip


def _flat(axes: Axes, row: Any, place: int) -> Any:
    """A horizontal line, grey for a baseline, with the band of its interval."""
    style = series_style(int(row.color), int(row.marker))
    color = GREY if row.baseline else style.color
    if math.isfinite(row.low):
        axes.axhspan(row.low, row.high, color=color, alpha=0.12, linewidth=0, zorder=0.5)
    dashes = LINES[1 + place % (len(LINES) - 1)] if row.baseline else style.line
    return axes.axhline(row.value, color=color, linestyle=dashes, linewidth=1.0, zorder=1)


def _handle(look: tuple[int, int]) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **line_style(*look))


def _named_points(means: pd.DataFrame, axis: str) -> pd.DataFrame:
    """The means with the x of each point in its name, for the notes."""
    out = means.copy()
    short = axis.rpartition(".")[2]
    several = means.loc[means["point"] == "mean", "row"].nunique() > 1
    out["row"] = [
        row if kind == "flat" else f"{row}, {short}={label}" if several else f"{short}={label}"
        for row, kind, label in zip(means["row"], means["point"], means["label"], strict=True)
    ]
    return out


def _mark_sentence(means: pd.DataFrame) -> str:
    text = "Lines: mean over seeds; dots: seeds"
    if means["low"].notna().any():
        text += f"; bands and bars: {INTERVAL}"
    if (means["point"] == "flat").any():
        based = means.loc[means["point"] == "flat", "baseline"].astype(bool)
        what = "baseline" if based.all() else "cells that do not depend on this axis"
        text += f"; horizontal: {what}"
    return text + "."
