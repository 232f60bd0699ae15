"""One number over the values of a numeric axis, such as a loss weight: means with intervals, and every seed.

Data: rows with point "mean" and point "seed" at x, and with point "flat" (x missing) for cells that do not depend on
the axis, a baseline for instance, which become horizontal lines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from analysis.load.columns import Quantity, quantity
from analysis.plots.points import (
    INTERVAL,
    bounds,
    counts,
    marked,
    nothing,
    point,
    records,
    remarks,
    seed_values,
    stored,
)
from analysis.plots.rows import in_order
from analysis.plots.style import (
    GREY,
    LINES,
    SINGLE_IN,
    finish,
    line,
    look,
    new_figure,
    paper,
    percent_or_unit,
    width_in,
    words,
)
from analysis.tables.groups import Group, groups
from c2d.core.errors import InputError, abbreviate

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from analysis.load.schema import Study
    from analysis.spec.report_spec import Curve

COLUMNS = ("row", "point", "x", "label", "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs",
           "missing", "baseline")  # fmt: skip
DECADES = 2.0
"""Span of x from which its axis is logarithmic."""
BANDS = 4
"""Lines up to which intervals are bands."""
ONLY = "mean"
"""Name of the line where there is only one."""


def data(study: Study, spec: Curve, sweep: str) -> pd.DataFrame:
    """Points by series and rising x.

    Raises:
        InputError: a label of x that is no number; an unknown axis; cells that differ on an axis not asked for.
    """
    import pandas as pd

    asked = stored(spec.y, "curve")
    if not (study.frame["sweep"] == sweep).any() and sweep in ("", *study.sweeps):
        return pd.DataFrame(columns=list(COLUMNS))
    series = [axis for axis in dict.fromkeys((*spec.series, *spec.baseline)) if axis != spec.x]
    axes: dict[str, list[str]] = {axis: [] for axis in (*series, spec.x)}
    found = groups(study, sweep, axes, spec.where, spec.labels)
    added: list[Group] = []  # horizontal lines only
    if spec.baseline:  # `where` may have left it out
        where = {**spec.where, **{axis: [label] for axis, label in spec.baseline.items()}}
        there = [set(group.rows["run"]) for group in found]
        bases = groups(study, sweep, axes, where, spec.labels)
        added = [base for base in bases if set(base.rows["run"]) not in there]
    out: list[dict[str, Any]] = []
    for group, only_flat in [*((group, True) for group in added), *((group, False) for group in found)]:
        places = _places(group, spec.x)
        base = bool(spec.baseline) and all(label in group.values(axis) for axis, label in spec.baseline.items())
        name = _name(group, series)
        if len(places) > 1 or only_flat or (base and spec.x in spec.baseline):
            own = name
            if spec.x in spec.baseline:
                own = f"{name}, {spec.x}={spec.baseline[spec.x]}".removeprefix(", ")
            out.append(_mean("flat", own or ONLY, math.nan, "", group, asked, base))
        if len(places) == 1 and not only_flat:
            ((x, label),) = places.items()
            out.append(_mean("mean", name or ONLY, x, label, group, asked, base))
            out += _seeds(name or ONLY, x, label, group, asked, base)
    names = list(dict.fromkeys(row["row"] for row in out))
    kinds = ("flat", "mean", "seed")
    out.sort(key=lambda row: (names.index(row["row"]), kinds.index(row["point"]), np.nan_to_num(row["x"])))
    return pd.DataFrame(out, columns=list(COLUMNS))


def draw(data: pd.DataFrame, spec: Curve) -> Figure:
    """Lines with bands and faint seeds; horizontal lines for what does not depend on x."""
    means = data[data["point"] != "seed"]
    if not (means["n"] > 0).any():
        return words(nothing(_named_points(means, spec.x)))
    asked = quantity(spec.y)
    names = in_order(data[data["point"] != "flat"])
    entries = []
    with paper():
        figure, axes = new_figure(SINGLE_IN, 2.3)
        ticks = _axis(axes, data)
        flats = records(data[(data["point"] == "flat") & data["value"].notna()])
        entries += [(_flat(axes, flat, place, len(names)), str(flat.row)) for place, flat in enumerate(flats)]
        for index, name in enumerate(names):
            mine = data[data["row"] == name]
            style = look(index)
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
                for one in records(known):
                    axes.plot([one.x] * 2, [one.low, one.high], color=style.color, linewidth=0.8, marker="_",
                              markersize=3, zorder=2.5)  # fmt: skip
            axes.plot(every["x"], every["value"], color=style.color, linestyle=style.line, zorder=3)
            for hollow in (False, True):
                chosen = points[[marked(one.n, one.promised) == hollow for one in records(points)]]
                axes.plot(chosen["x"], chosen["value"], zorder=4, **{**line(index, hollow), "linestyle": ""})
            entries.append((_handle(index), name))
        axes.set_ylim(*bounds(data))
        axes.grid()
        axes.set_xlabel(spec.x)
        axes.set_ylabel(percent_or_unit(asked.label, asked.unit))
        notes = [_said(means), *remarks(_named_points(means, spec.x))]
        finish(figure, notes=notes, legend=entries if len(entries) > 1 else [])
        _thin(figure, axes, ticks)
    return figure


def number_of(label: str, axis: str, others: Sequence[str]) -> float:
    """The number that a label is: "0.1", "1e-3".

    Raises:
        InputError: it is none.
    """
    try:
        value = float(label)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(
            f"axis {axis} has the label {label!r}, which is no number (labels: {abbreviate(others)}); a curve needs numbers: "
            f"leave it out with `where: {{{axis}: [...]}}`, or use a heatmap or a seeds figure"
        )
    return value


def _places(group: Group, axis: str) -> dict[float, str]:
    """{x: its label}; more than one where the group does not depend on x."""
    labels = sorted(group.values(axis))
    if len(labels) > 1 and any(not _is_number(label) for label in labels):
        return {float(place): label for place, label in enumerate(labels)}  # flat, wherever its labels stand
    return {number_of(label, axis, labels): label for label in labels}


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False


def _name(group: Group, series: Sequence[str]) -> str:
    """The shown labels of the series' axes, without those that made no difference."""
    shown = dict(zip(group.labels, group.shown, strict=True))
    return ", ".join(shown[axis] for axis in series if shown[axis] and group.depends(axis))


def _mean(kind: str, name: str, x: float, label: str, group: Group, asked: Quantity, base: bool) -> dict[str, Any]:
    return {"row": name, "point": kind, "x": x, "label": label, **point(group, asked), "baseline": base}


def _seeds(name: str, x: float, label: str, group: Group, asked: Quantity, base: bool) -> list[dict[str, Any]]:
    """Every finished seed as a point of its own."""
    return [
        {"row": name, "point": "seed", "x": x, "label": label, "value": value, "sd": np.nan, "low": np.nan,
         "high": np.nan, "interval": "", **counts(group, [seed]), "promised": 1, "missing": "", "baseline": base}
        for seed, value in seed_values(group, asked).items()
    ]  # fmt: skip


def _axis(axes: Axes, data: pd.DataFrame) -> list[tuple[float, str]]:
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
        else:  # 0 has its place left of the smallest value, on a short linear piece
            axes.set_xscale("symlog", linthresh=min(positive), linscale=0.6)
            axes.set_xlim(-0.15 * min(positive), max(xs) * 1.35)
    elif xs:
        room = 0.05 * (max(xs) - min(xs)) or 0.5
        axes.set_xlim(min(xs) - room, max(xs) + room)
    else:  # only flat lines
        axes.set_xlim(0, 1)
    axes.set_xticks(xs, [label for _, label in ticks])
    axes.set_xticks([], minor=True)
    return ticks


def _thin(figure: Figure, axes: Axes, ticks: Sequence[tuple[float, str]]) -> None:
    """Leave out labels of ticks that would touch the one before; the ticks stay."""
    figure.draw_without_rendering()
    size = 6.5
    kept, end = [], -math.inf
    for x, label in ticks:
        middle = float(axes.transData.transform((x, axes.get_ylim()[0]))[0]) / figure.dpi
        half = width_in(label, size) / 2 + 0.03
        fits = middle - half > end
        kept.append(label if fits else "")
        end = middle + half if fits else end
    axes.set_xticks([x for x, _ in ticks], kept)


def _flat(axes: Axes, row: Any, place: int, lines: int) -> Any:
    """A horizontal line, grey for a baseline, with the band of its interval; it takes a look that no curve has."""
    style = look(place + lines)
    color = GREY if row.baseline else style.color
    if math.isfinite(row.low):
        axes.axhspan(row.low, row.high, color=color, alpha=0.12, linewidth=0, zorder=0.5)
    dashes = LINES[1 + place % (len(LINES) - 1)] if row.baseline else style.line
    return axes.axhline(row.value, color=color, linestyle=dashes, linewidth=1.0, zorder=1)


def _handle(index: int) -> Any:
    from matplotlib.lines import Line2D

    return Line2D([], [], **line(index))


def _named_points(means: pd.DataFrame, axis: str) -> pd.DataFrame:
    """Means whose name says at which x they stand, for the remarks."""
    out = means.copy()
    short = axis.rpartition(".")[2]
    several = means.loc[means["point"] == "mean", "row"].nunique() > 1
    out["row"] = [
        row if kind == "flat" else f"{row}, {short}={label}" if several else f"{short}={label}"
        for row, kind, label in zip(means["row"], means["point"], means["label"], strict=True)
    ]
    return out


def _said(means: pd.DataFrame) -> str:
    text = "Lines: mean over seeds; dots: seeds"
    if means["low"].notna().any():
        text += f"; bands and bars: {INTERVAL}"
    if (means["point"] == "flat").any():
        based = means.loc[means["point"] == "flat", "baseline"].astype(bool)
        what = "baseline" if based.all() else "cells that do not depend on this axis"
        text += f"; horizontal: {what}"
    return text + "."
