"""Precision over recall: the curve that AP is the area of, by IoU threshold or by class.

The curve of a class is COCO's: precision is the largest one at that recall or a higher one, at 101 recall points; its
mean over the points is the AP of that class and threshold, exactly (`c2d.metrics.operating_points`). A panel of an IoU
has the mean over classes with objects at each recall point (macro, as AP), so that its mean is the AP at that IoU. Over
seeds the curves are averaged at each recall point. There is no micro curve: with classes pooled the area is no AP.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from analysis.plots.curve_panels import (
    CURVE,
    band_sentence,
    curve_lines,
    draw_curves,
    label_axes,
    most_students,
    panel_grid,
)
from analysis.plots.detector_curves import IOU, DetectorCurves
from analysis.plots.figure_layout import add_legend_and_notes, message_figure
from analysis.plots.figure_parts import Limits
from analysis.plots.figure_text import shorten_distinct
from analysis.plots.points import marker_notes, no_data_message
from analysis.plots.rows import LOOK_COLUMNS, problem_note, row_notes, rows_of
from analysis.plots.series_panels import legend_of, series_of
from analysis.plots.style import DOUBLE_IN, paper_style
from analysis.spec.labels import math_of
from analysis.spec.report_item import SeriesFigureSpec
from c2d.metrics.coco import IOUS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study

COLUMNS = ("row", "baseline", "iou", "class", "objects", "recall", *CURVE, "note", *LOOK_COLUMNS)


def _of_coco(ious: list[float]) -> list[float]:
    unknown = [iou for iou in ious if round(iou, 2) not in IOUS]
    if unknown or len(set(ious)) != len(ious):
        raise ValueError(f"{ious}: name each of 0.50, 0.55, ..., 0.95 at most once, e.g. [0.5, 0.75]")
    return [round(iou, 2) for iou in ious]


class Spec(SeriesFigureSpec):
    """Precision over recall.

    Attributes:
        panels: "iou": a panel an IoU, mean over classes; "class": a panel a class.
        ious: the thresholds of "iou".
        iou: the threshold of "class".
        most: largest number of classes; those with most objects are shown.
    """

    kind: Literal["precision_recall"]
    panels: Literal["iou", "class"] = "iou"
    ious: Annotated[list[float], Field(min_length=1), AfterValidator(_of_coco)] = [0.5, 0.75, 0.9]
    iou: Annotated[float, Field(gt=0, lt=1)] = IOU
    most: Annotated[int, Field(ge=1, le=20)] = 12


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, iou, class, recall): `value` is precision in percent, `class` is "" for the mean over classes.

    A row without any detections has one line a panel, without a value, and the reason in `note`.
    """
    import numpy as np
    import pandas as pd

    rows = rows_of(study, spec, sweep)
    curves = DetectorCurves(study)
    by_class = spec.panels == "class"

    def read(run: str) -> tuple[list[str], Any, Any]:
        names, objects = curves.classes(run)
        return names, objects, curves.class_precision(run, spec.iou) if by_class else curves.mean_precision(run)

    found, problems = curves.of_runs([run for row in rows for run in row.group.runs], read)
    recalls = (np.arange(101) / 100).tolist()
    shown = _classes(found, spec.most) if by_class else {}
    lines: list[dict[str, Any]] = []
    for row in rows:
        there = {seed: found[run] for seed, run in row.done.items() if run in found}
        note = problem_note(problems, row.group.runs)
        panels = [(spec.iou, name) for name in shown] if by_class else [(iou, "") for iou in spec.ious]
        for iou, name in panels:
            if by_class:
                of_seed = {seed: 100 * table[names.index(name)] for seed, (names, _, table) in there.items()
                           if name in names}  # fmt: skip
            else:
                of_seed = {seed: 100 * table[IOUS.index(iou)] for seed, (_, _, table) in there.items()}
            lines += curve_lines(row, "recall", recalls, of_seed, iou=float(iou), note=note,
                                 **{"class": name, "objects": shown.get(name, math.nan)})  # fmt: skip
    out = pd.DataFrame(lines, columns=list(COLUMNS)).astype({"objects": float})
    out.attrs["problems"] = problems
    return out


def _classes(found: dict[str, tuple[list[str], Any, Any]], most: int) -> dict[str, float]:
    """{class: objects} of the classes with most objects in any run, most first."""
    objects: dict[str, float] = {}
    for names, counts, _ in found.values():
        for name, count in zip(names, counts, strict=True):
            objects[name] = max(objects.get(name, 0.0), float(count))
    order = sorted((name for name in objects if objects[name]), key=lambda name: -objects[name])
    return {name: objects[name] for name in order[:most]}


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: lines of panels that fit a page."""
    return Limits(rows=48, students=most_students(len(_panels(data))))


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw a line a row in each panel; with many series a line of panels a student."""
    notes = row_notes(data)
    there = data[data["n"] > 0]
    if there.empty:
        return message_figure(" ".join([no_data_message(data), *notes]), DOUBLE_IN)
    series = series_of(there)
    panels = _panels(data)
    with paper_style():
        figure, places, students = panel_grid(_titles(panels), series)
        for at, (axes, _, mine) in enumerate(places):
            iou, name, _ = panels[at % len(panels)]
            draw_curves(axes, there[(there["iou"] == iou) & (there["class"] == name)], "recall", mine)
            axes.set_xlim(-0.02, 1.02)
            axes.set_ylim(-2, 102)
            axes.set_xticks([0, 0.5, 1] if len(panels) > 4 or len(students) > 1 else [0, 0.2, 0.4, 0.6, 0.8, 1])
        label_axes(figure, places, "recall", "precision (%)")
        of = (
            f"of each class (its objects) at IoU {spec.iou:.2f}"
            if panels[0][1]
            else "mean over classes with objects (macro)"
        )
        sentence = f"COCO's interpolated precision, {of}, mean over seeds; the mean over recall is AP"
        sentence += band_sentence(there, series)
        legend = legend_of(series, "line", titled=len(students) > 1)
        add_legend_and_notes(figure, [f"{sentence}.", *marker_notes(data), *notes], legend, math=math_of(spec))
        return figure


def _panels(data: pd.DataFrame) -> list[tuple[float, str, float]]:
    """(IoU, class, objects) of each panel."""
    keys = data[["iou", "class", "objects"]].drop_duplicates(["iou", "class"])
    return [(float(iou), str(name), float(count)) for iou, name, count in keys.itertuples(index=False)]


def _titles(panels: list[tuple[float, str, float]]) -> list[str]:
    names = shorten_distinct([name for _, name, _ in panels], 16)
    return [
        f"{short} ({int(count)})" if name else f"IoU {iou:.2f}"
        for (iou, name, count), short in zip(panels, names, strict=True)
    ]
