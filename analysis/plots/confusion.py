"""Confusion matrix of the detectors with the background: a panel a row, objects down, detections across.

The matching rule, class-agnostic and greedy by score, is in `c2d.metrics.confusion_matrix`. A cell is in percent of the
objects of its class; of the last row, false positives on the background, per 100 objects of all classes, so that it may
exceed 100. The last column is missed objects. With `difference` the cells are the difference to the baseline in points.

With many classes those with the most confusions between classes are shown, all panels the same, and the rest is added
up in one row and one column.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from analysis.plots.detector_curves import IOU, MIN_SCORE, DetectorCurves
from analysis.plots.figure_parts import Limits
from analysis.plots.points import interval_columns, run_columns
from analysis.plots.rows import LOOK_COLUMNS, problem_note, rows_of, runs_by_seed, series_label
from analysis.spec.report_item import SeriesFigureSpec
from c2d.core.errors import InputError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from analysis.loading.schema import Study
    from analysis.plots.rows import Row
    from c2d.metrics.coco_data import Array

COLUMNS = ("row", "against", "baseline", "truth", "predicted", "truth_place", "predicted_place", "objects", "count",
           "value", "sd", "low", "high", "interval", "n", "promised", "seeds", "runs", "baseline_runs", "missing",
           "note", *LOOK_COLUMNS)  # fmt: skip

Found = tuple[list[str], "Array", "Array"]
"""Names (K), objects (K,), matrix (K + 1, K + 1) of a run."""


class Spec(SeriesFigureSpec):
    """Which classes are taken for which, missed, or found on the background.

    Attributes:
        iou: smallest IoU of a match.
        min_score: smallest score of a detection that counts.
        difference: show the difference to the baseline.
        most: largest number of classes that are shown one by one.
    """

    kind: Literal["confusion"]
    iou: Annotated[float, Field(gt=0, le=1)] = IOU
    min_score: Annotated[float, Field(ge=0, le=1)] = MIN_SCORE
    difference: bool = False
    most: Annotated[int, Field(ge=2, le=30)] = 20


def data(study: Study, spec: Spec, sweep: str) -> pd.DataFrame:
    """Return lines (row, truth, predicted) of the cells that are not 0 in all seeds; "" is the background.

    `count` is the mean number over seeds, `value` that number per 100 `objects`; with `difference` both are minus the
    baseline's, over common seeds, of the cells that are not 0 in all seeds of both. A row that cannot be shown has one
    line without a value, and the reason in `note`.

    Raises:
        InputError: `difference` without a baseline.
    """
    import pandas as pd

    if spec.difference and not spec.baseline:
        raise InputError(
            f"figure {spec.name or spec.kind!r} shows differences and has no baseline; "
            "add e.g. `baseline: {method: baseline}` to its spec"
        )
    rows = rows_of(study, spec, sweep)
    curves = DetectorCurves(study)

    def read(run: str) -> Found:
        return *curves.classes(run), curves.confusion(run, spec.iou, spec.min_score)

    found, problems = curves.of_runs([run for row in rows for run in row.group.runs], read)
    lines: list[dict[str, Any]] = []
    for row in rows:
        if not (spec.difference and row.is_baseline):
            lines += _lines(row, found, spec.difference, problem_note(problems, row.group.runs))
    out = pd.DataFrame(lines, columns=list(COLUMNS))
    numbers = ["truth_place", "predicted_place", "objects", "count", "value", "sd", "low", "high"]
    out = out.astype(dict.fromkeys(numbers, float))
    out.attrs["problems"] = problems
    return out


def _lines(row: Row, found: Mapping[str, Found], difference: bool, note: str) -> list[dict[str, Any]]:
    """The lines of a row; one without a value where it has nothing to show."""
    mine = {seed: found[run] for seed, run in row.done.items() if run in found}
    same: dict[str, Any] = {**row.columns, "against": "", "baseline_runs": "", "note": note}
    none = {**same, "truth": "", "predicted": "", "truth_place": math.nan, "predicted_place": math.nan,
            "objects": math.nan, "count": math.nan, **interval_columns([]),
            **run_columns(row.group, [], "detections")}  # fmt: skip
    tables = {seed: np.asarray(table, float) for seed, (_, _, table) in mine.items()}
    there = [table != 0 for table in tables.values()]
    if difference:
        if row.against is None:
            return [{**none, "note": f"{row.name}: the sweep has no baseline for it."}]
        base_run = runs_by_seed(row.against)
        base = {seed: found[run][2] for seed, run in base_run.items() if run in found}
        there += [table != 0 for table in base.values()]  # a class without a change has its number of objects, too
        tables = {seed: table - base[seed] for seed, table in tables.items() if seed in base}
        same |= {"against": series_label(row.against),
                 "baseline_runs": " ".join(base_run[seed] for seed in sorted(tables))}  # fmt: skip
    if not tables:
        return [none]
    names, objects, _ = next(iter(mine.values()))
    if any(other != names for other, _, _ in mine.values()):
        return [{**none, "note": f"{row.name}: its seeds have other classes."}]
    per = np.append(objects, objects.sum())
    cells = np.array([tables[seed] for seed in sorted(tables)])
    behind = run_columns(row.group, sorted(tables), "detections")
    labels = [*names, ""]
    return [
        {**same, "truth": labels[t], "predicted": labels[p], "truth_place": t, "predicted_place": p,
         "objects": float(per[t]), "count": float(cells[:, t, p].mean()),
         **interval_columns(list(100 * cells[:, t, p] / max(per[t], 1))), **behind}
        for t, p in np.argwhere(np.any(there, axis=0))
    ] or [{**none, "note": f"{row.name}: no object and no detection to show."}]  # fmt: skip


def limits(data: pd.DataFrame, spec: Spec) -> Limits:
    """Return what one figure can show: lines of matrices that fit the height of a page."""
    from analysis.plots.confusion_panels import matrices_per_page

    return Limits(rows=matrices_per_page(min(_classes(data), spec.most)), colors=False)


def draw(data: pd.DataFrame, spec: Spec) -> Figure:
    """Draw a matrix a row."""
    from analysis.plots.confusion_panels import draw_matrices

    return draw_matrices(data, spec.difference, spec.most, _sentences(data, spec), spec)


def _classes(data: pd.DataFrame) -> int:
    return len({*data["truth"], *data["predicted"]} - {""})


def _sentences(data: pd.DataFrame, spec: Spec) -> list[str]:
    rule = (
        f"Detections with a score of {spec.min_score:g} or more, by falling score, each matched to the free object of "
        f"any class with the largest IoU, at least {spec.iou:.2f}; mean over seeds."
    )
    cells = "Cells: percent of the objects of the class; row background: false positives per 100 objects."
    if not spec.difference:
        return [rule, f"{cells} Colour: square root of the value."]
    against: Sequence[str] = list(dict.fromkeys(text for text in data["against"] if text))
    base = against[0] if len(against) == 1 else "the baseline of each row"
    return [rule, f"{cells} Minus those of {base}, in points, over common seeds. Purple: better; orange: worse."]
