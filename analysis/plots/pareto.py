"""Accuracy against cost: one point a row, bars on both axes, and the front of rows that no other row beats on both.

Cost is a latency (measured on one device, see `analysis.loading.latency`), FLOPs, or any number of a finished run, such
as its parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from analysis.loading.columns import LATENCY_QUANTITIES, Quantity, quantity
from analysis.plots.figure_layout import add_legend_and_notes, message_figure, new_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import axis_label, shorten_distinct
from analysis.plots.point_labels import PointLabel, place_point_labels
from analysis.plots.points import (
    INTERVAL,
    axis_limits,
    interval_columns,
    is_incomplete,
    marker_notes,
    no_data_message,
    point_columns,
    row_tuples,
    run_quantity,
    seed_values,
)
from analysis.plots.rows import LOOK_COLUMNS, Row, rows_of
from analysis.plots.series_panels import PANELS_FROM
from analysis.plots.style import DOUBLE_IN, GREY, SINGLE_IN, line_style, paper_style, series_style
from analysis.spec.labels import label_of_column, math_of
from analysis.spec.report_item import Key, Labels, SeriesFigureSpec
from c2d.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

COLUMNS = ("row", "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs", "missing", "x", "x_low",
           "x_high", "x_interval", "x_n", "x_runs", "x_note", "conditions", "front", "baseline",
           *LOOK_COLUMNS)  # fmt: skip


class Spec(SeriesFigureSpec):
    """Accuracy against latency, error bars on both axes, the front of undominated rows.

    Attributes:
        y: key of the accuracy.
        x: key of the cost.
        latency: conditions that select the latency files, e.g. {device: ..., precision: fp32}.
    """

    kind: Literal["pareto"]
    y: Key = "AP"
    x: Key = "latency_p50"
    latency: Labels = {}


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return one line a row: `value` (y) with its interval over seeds, `x` with its own, whether it is on the front.

    All numbers are in shown units. x of latencies and FLOPs is the mean over the row's measured runs; its interval is
    that of the measurement, of several runs the widest span of theirs. x of other quantities is the mean over seeds.

    Raises:
        InputError: y has no better direction; latencies of different conditions, see `analysis.loading.latency`.
    """
    import pandas as pd

    y = run_quantity(spec.y, "pareto")
    if not y.better:
        raise InputError(f"a pareto figure needs a y that can be better or worse; {spec.y!r} cannot, try AP")
    x = quantity(spec.x)
    rows = rows_of(study, spec, sweep)
    costs = _measured(study, rows, x, spec.latency) if not x.column else [_stored(row, x) for row in rows]
    out = [
        {**row.columns, **point_columns(row.group, y), **cost, "front": False}
        for row, cost in zip(rows, costs, strict=True)
    ]
    found = pd.DataFrame(out, columns=list(COLUMNS))
    found["front"] = _front(found, x, y)
    return found


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw the points with names beside them; without room for all names, with numbers and a legend of them."""
    if not (data["n"] > 0).any():
        return message_figure(no_data_message(data))
    if not data["x"].notna().any():
        label = _label(spec, spec.x)
        notes = ", ".join(sorted({str(note) for note in data["x_note"] if note})) or "no value"
        return message_figure(
            f"No {label} to draw ({notes}). A run is measured when it has a file in latency/; or use `x: params`."
        )
    with paper_style():
        for beside in ("names", "numbers", ""):
            if (figure := _draw_points(data, spec, beside)) is not None:
                return figure
    raise AssertionError("a figure without texts beside its points always fits")


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show."""
    return Limits(rows=48)


def _draw_points(data: pd.DataFrame, spec: Spec, beside: str) -> Figure | None:
    """The figure; None where the texts `beside` the points (names, numbers or "") do not all have room."""
    x, y = quantity(spec.x), quantity(spec.y)
    drawn = data[data["value"].notna() & data["x"].notna()]
    many = len(drawn) >= PANELS_FROM and beside != "names"
    figure, axes = new_figure(DOUBLE_IN if many else SINGLE_IN, 3.4 if many else 2.5)
    entries, names, segments = [], [], []
    shown_names = dict(zip(data["row"], shorten_distinct(list(data["row"]), 28), strict=True))
    for number, row in enumerate(row_tuples(drawn), 1):
        look = int(row.color), int(row.marker)
        style = series_style(*look)
        hollow = is_incomplete(int(row.n), int(row.promised))
        bars = [(row.x, row.low, row.x, row.high), (row.x_low, row.value, row.x_high, row.value)]
        for x0, y0, x1, y1 in bars:
            if all(map(math.isfinite, (x0, y0, x1, y1))) and (x0, y0) != (x1, y1):
                axes.plot([x0, x1], [y0, y1], color=style.color, linewidth=0.9, marker="|" if y0 == y1 else "_",
                          markersize=3, markeredgewidth=0.9, zorder=2, alpha=0.85)  # fmt: skip
                segments.append((x0, y0, x1, y1))
        (handle,) = axes.plot([row.x], [row.value], zorder=4, **{**line_style(*look, hollow), "linestyle": ""})
        entries.append((handle, f"{number}: {row.row}" if beside == "numbers" else str(row.row)))
        text = shown_names[row.row] if beside == "names" else str(number)
        names.append(PointLabel(row.x, row.value, text, style.color))
    across = {"value": drawn["x"], "low": drawn["x_low"], "high": drawn["x_high"], "n": np.full(len(drawn), 3)}
    left, right = axis_limits(across, margin=0.12)
    axes.set_xlim(max(left, 0.0) if drawn["x"].min() > 0 else left, right)  # no cost is below 0, though an interval is
    axes.set_ylim(*axis_limits(drawn, margin=0.12))
    stairs = _staircase(drawn[drawn["front"]], x, axes.get_xlim())
    if len(stairs):
        (front,) = axes.plot(stairs[:, 0], stairs[:, 1], color=GREY, linewidth=0.9, linestyle=(0, (3, 1.5)), zorder=1)
        entries.append((front, "Pareto front"))
        segments += [(*a, *b) for a, b in zip(stairs.tolist(), stairs.tolist()[1:], strict=False)]
    axes.grid()
    axes.set_xlabel(axis_label(_label(spec, spec.x), x.unit))
    axes.set_ylabel(axis_label(_label(spec, spec.y), y.unit))
    notes = _notes(data, drawn, spec, beside == "names")
    legend = [] if beside == "names" else entries
    add_legend_and_notes(figure, notes=notes, legend=legend, math=math_of(spec))
    if beside and not place_point_labels(figure, axes, names, segments, math_of(spec)):
        return None
    return figure


def _notes(data: pd.DataFrame, drawn: pd.DataFrame, spec: Spec, direct: bool) -> list[str]:
    intervals = []
    if drawn["low"].notna().any():
        intervals.append(f"{_label(spec, spec.y)}: {INTERVAL}")
    if (drawn["x_low"] < drawn["x_high"]).any():
        how = "; ".join(dict.fromkeys(str(name) for name in drawn["x_interval"] if name))
        intervals.append(f"{_label(spec, spec.x)}: {how}")
    out = [f"Bars: {'. '.join(intervals)}."] if intervals else []
    if direct:
        out.append("Dashed: the Pareto front, rows that no other row beats on both axes.")
    conditions = list(dict.fromkeys(str(text) for text in drawn["conditions"] if text))
    out += [f"Measured on {'; '.join(conditions)}."] if conditions else []
    unmeasured = data[(data["n"] > 0) & data["x"].isna()]
    if len(unmeasured):
        listed = ", ".join(f"{row} ({note})" for row, note in zip(unmeasured["row"], unmeasured["x_note"], strict=True))
        out.append(f"Not drawn, no {_label(spec, spec.x)}: {listed}.")
    return [*out, *marker_notes(data)]


def _label(spec: Spec, key: str) -> str:
    """The label of a spec, else the name of the quantity."""
    label = label_of_column(spec, key)
    return f"latency {label}" if key.startswith("latency") and key not in spec.labels_of_columns else label


def _stored(row: Row, metric: Quantity) -> dict[str, Any]:
    """The x columns of a quantity that finished runs hold."""
    values = seed_values(row.group, metric)
    found = interval_columns(list(values.values()))
    return {
        "x": found["value"],
        "x_low": found["low"],
        "x_high": found["high"],
        "x_interval": INTERVAL if math.isfinite(found["low"]) else "",
        "x_n": len(values),
        "x_runs": " ".join(row.run_of[seed] for seed in values),
        "x_note": "" if values else f"no finished run with {metric.key}",
        "conditions": "",
    }


def _measured(
    study: Study, rows: Sequence[Row], metric: Quantity, conditions: Mapping[str, str]
) -> list[dict[str, Any]]:
    """The x columns of a quantity of the latency files, for each row."""
    from analysis.loading import latency

    if metric.key.startswith("memory"):
        known = ", ".join(one.key for one in LATENCY_QUANTITIES if not one.key.startswith("memory"))
        raise InputError(f"a pareto figure cannot show {metric.key!r} on x; choose one of {known}")
    runs = list(dict.fromkeys(run for row in rows for run in row.group.runs))
    # Operations are those of the network, whatever it was timed on.
    found = (latency.latency_of_runs if metric.depends_on_device else latency.operation_counts)(study, runs, conditions)
    value = metric.latency_column
    low, high = (value.replace("_ms", end) for end in ("_low_ms", "_high_ms"))
    out = []
    for row in rows:
        mine = found.loc[list(row.group.runs)]
        there = mine[mine[value].notna()]
        count = len(there)
        note = "" if count else "; ".join(dict.fromkeys(str(text) for text in mine["note"] if text))
        spans = value != low and there[low].notna().all() and count > 0
        how = "; ".join(dict.fromkeys(str(text) for text in there["interval"] if text)) if spans else ""
        out.append({
            "x": float(there[value].mean()) * metric.scale if count else math.nan,
            "x_low": float(there[low].min()) * metric.scale if spans else math.nan,
            "x_high": float(there[high].max()) * metric.scale if spans else math.nan,
            "x_interval": f"95 % interval ({how})" + (", widest of the runs" if count > 1 else "") if how else "",
            "x_n": count,
            "x_runs": " ".join(there.index),
            "x_note": note,
            "conditions": f"{there['device'].iloc[0]} ({there['conditions'].iloc[0]})" if count else "",
        })  # fmt: skip
    return out


def _front(found: pd.DataFrame, x: Quantity, y: Quantity) -> np.ndarray:
    """(n,) whether no other row is at least as good on both axes and better on one. Less cost is better."""
    cost = found["x"].to_numpy(float) * (-1 if x.better == "higher" else 1)
    gain = found["value"].to_numpy(float) * (-1 if y.better == "lower" else 1)
    known = np.isfinite(cost) & np.isfinite(gain)
    front = known.copy()
    for i in np.flatnonzero(known):
        as_good = known & (cost <= cost[i]) & (gain >= gain[i])
        front[i] = not (as_good & ((cost < cost[i]) | (gain > gain[i]))).any()
    return front


def _staircase(front: pd.DataFrame, x: Quantity, limits: tuple[float, float]) -> np.ndarray:
    """(k, 2) corners of the front as stairs, to the edge of the axes on the side of higher cost; (0, 2) without one."""
    if front.empty:
        return np.empty((0, 2))
    back = x.better == "higher"
    points = front.sort_values("x", ascending=not back, kind="stable")[["x", "value"]].to_numpy(float)
    corners = [points[0]]
    for before, this in pairwise(points):
        corners += [np.array([this[0], before[1]]), this]
    corners.append(np.array([limits[0] if back else limits[1], points[-1][1]]))
    return np.array(corners)
