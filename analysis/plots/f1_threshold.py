"""F1 over the score threshold, and the threshold at which it is best.

At a threshold t the detections with a score of at least t count; COCO's matching at one IoU says which are correct
(`c2d.metrics.operating_points`). Two curves: micro, from the true positives, detections and objects of all classes
together; macro, the mean over classes with objects of their F1 at the same threshold.

The best threshold of a row is that of its mean curve over seeds, on a grid of 0.01; of equal ones the lowest. It is
chosen on the images on which F1 is measured, so F1 on other images is lower, as a rule; to report it, choose it on
other images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from analysis.plots.curve_panels import (
    CURVE,
    LISTED,
    band_sentence,
    curve_lines,
    draw_curves,
    label_axes,
    list_numbers,
    most_students,
    panel_grid,
)
from analysis.plots.detector_curves import IOU, DetectorCurves
from analysis.plots.figure_layout import add_legend_and_notes, message_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import format_number, shorten_distinct
from analysis.plots.points import marker_notes, no_data_message, row_tuples
from analysis.plots.rows import LOOK_COLUMNS, problem_note, row_notes, rows_of
from analysis.plots.series_panels import legend_of, series_of
from analysis.plots.style import DOUBLE_IN, paper_style
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study
    from analysis.plots.rows import Row
    from c2d.metrics.coco_data import Array

COLUMNS = ("row", "baseline", "part", "mean", "class", "threshold", *CURVE, "note", *LOOK_COLUMNS)
MEANS = ("micro", "macro")


class Spec(SeriesFigureSpec):
    """F1 over the score threshold.

    Attributes:
        iou: of a correct detection.
    """

    kind: Literal["f1_threshold"]
    iou: Annotated[float, Field(gt=0, lt=1)] = IOU


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines of two parts, F1 in percent.

    curve  (row, mean, threshold): the micro and the macro curve; one without a value for a row without detections
    best   (row, mean or class): the best threshold of the mean curve over seeds, and F1 there; with `class`, where each
           class has a threshold of its own
    """
    import pandas as pd

    rows = rows_of(study, spec, sweep)
    curves = DetectorCurves(study)

    def read(run: str) -> tuple[list[str], Array, Array, Array]:
        return *curves.classes(run), *curves.counts(run, spec.iou)

    found, problems = curves.of_runs([run for row in rows for run in row.group.runs], read)
    lines: list[dict[str, Any]] = []
    for row in rows:
        there = {seed: found[run] for seed, run in row.done.items() if run in found}
        lines += _lines(row, there, problem_note(problems, row.group.runs))
    out = pd.DataFrame(lines, columns=list(COLUMNS))
    out.attrs["problems"] = problems
    return out


def _lines(row: Row, there: dict[int, tuple[list[str], Array, Array, Array]], note: str) -> list[dict[str, Any]]:
    from c2d.metrics.operating_points import THRESHOLDS, f1, macro_f1, micro_f1

    x = THRESHOLDS.tolist()
    of_mean = {
        "micro": {seed: 100 * micro_f1(true, found, objects) for seed, (_, objects, true, found) in there.items()},
        "macro": {seed: 100 * macro_f1(true, found, objects) for seed, (_, objects, true, found) in there.items()},
    }
    lines = []
    for mean, values in of_mean.items():
        same: dict[str, Any] = {"mean": mean, "note": note, "class": ""}
        lines += curve_lines(row, "threshold", x, values, part="curve", **same)
        lines += _best(row, x, values, same)
    for name in dict.fromkeys(name for found in there.values() for name in found[0]):
        of_class = {}
        for seed, (known, objects, true, found) in there.items():
            if name in known:
                k = known.index(name)
                of_class[seed] = 100 * f1(true[k], found[k], objects[k])
        lines += _best(row, x, of_class, {"mean": "class", "note": note, "class": name})
    return lines


def _best(row: Row, x: list[float], values: dict[int, Array], same: dict[str, Any]) -> list[dict[str, Any]]:
    """The line of the largest mean F1 over seeds; none where nothing has a value."""
    import numpy as np

    known = [curve for curve in values.values() if np.isfinite(curve).any()]
    if not known:
        return []
    at = int(np.argmax(np.mean(known, axis=0)))
    best = {seed: curve[at : at + 1] for seed, curve in values.items()}
    return curve_lines(row, "threshold", [x[at]], best, part="best", **same)


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: lines of two panels."""
    return Limits(rows=48, students=most_students(len(MEANS)))


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw the micro curves on the left and the macro curves on the right, the best points marked."""
    notes = row_notes(data)
    curves, best = data[data["part"] == "curve"], data[data["part"] == "best"]
    there = curves[curves["n"] > 0]
    if there.empty:
        return message_figure(" ".join([no_data_message(curves), *notes]), DOUBLE_IN)
    series = series_of(there)
    with paper_style():
        figure, places, students = panel_grid([f"{mean} F1" for mean in MEANS], series)
        for at, (axes, _, mine) in enumerate(places):
            mean = MEANS[at % len(MEANS)]
            draw_curves(axes, there[there["mean"] == mean], "threshold", mine)
            names = shorten_distinct([one.name if not one.student else one.method for one in mine], 18)
            texts = []
            for one, name in zip(mine, names, strict=True):
                for point in row_tuples(best[(best["row"] == one.name) & (best["mean"] == mean)]):
                    axes.plot([point.threshold], [point.value], linestyle="", marker="*", markersize=8, zorder=4,
                              markerfacecolor=one.hue, markeredgecolor="white", markeredgewidth=0.4)  # fmt: skip
                    value = format_number(point.value, 1)
                    texts.append((one, f"{name}: {value} at {point.threshold:.2f}"))
            if len(mine) <= LISTED:
                list_numbers(axes, texts, "upper right")
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(0, _top(there))
        label_axes(figure, places, "score threshold", "F1 (%)")
        sentence = f"F1 at IoU {spec.iou:.2f}, mean over seeds"
        sentence += band_sentence(there, series)
        sentence += ". Star: the best threshold of the mean curve; chosen on the images it is measured on, so too good."
        sentence += " Micro: all classes counted together; macro: mean over classes. The CSV has each class."
        legend = legend_of(series, "line", titled=len(students) > 1)
        add_legend_and_notes(figure, [sentence, *marker_notes(curves), *notes], legend, math=math_of(spec))
        return figure


def _top(lines: pd.DataFrame) -> float:
    """Upper end of the axis: room above the best curve for the list of best points."""
    return min(102.0, 1.35 * float(lines["value"].max()) + 2)
