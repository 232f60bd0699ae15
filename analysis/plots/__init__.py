"""Figures: one file for each kind.

In: a study and the spec of a figure. Out: a tidy frame, and the figure drawn from nothing but that frame and the spec.

The file of a kind has `Spec`, its keys in a report spec; `data(study, spec, sweep)` -> DataFrame in shown units with
the run ids behind each point, which is also the CSV beside the figure; `limits(data, spec)` -> what one figure can
show; and `draw(data, spec)` -> matplotlib Figure. To add a kind, write the file and add it to `FIGURES`. The files
import pandas and matplotlib inside functions only, because a report spec is read before either is needed.
"""

from __future__ import annotations

from types import ModuleType

from analysis.plots import (
    confusion,
    curve,
    detections,
    f1_threshold,
    heatmap,
    iou,
    pareto,
    per_class,
    precision_recall,
    reliability,
    seeds,
    tide_bars,
    tide_curves,
    training,
)

FIGURES: dict[str, ModuleType] = {
    "pareto": pareto,
    "heatmap": heatmap,
    "curve": curve,
    "tide": tide_bars,
    "tide_curves": tide_curves,
    "per_class": per_class,
    "iou": iou,
    "precision_recall": precision_recall,
    "f1_threshold": f1_threshold,
    "confusion": confusion,
    "reliability": reliability,
    "seeds": seeds,
    "training": training,
    "detections": detections,
}
"""{`kind` in a report spec: its file}."""
