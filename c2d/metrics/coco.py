"""Compute the COCO detection numbers of a results list with one of two engines, whose numbers are equal.

Definitions: COCO detection evaluation (cocodataset.org, "Detection Evaluate"). Precision is averaged over 101 recall
points, IoU thresholds .50:.05:.95 and classes with ground truth; at most 100 detections per image and class count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from c2d.core.errors import unknown_name
from c2d.metrics.coco_data import Array, CocoData, prepare

IOUS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
AREA_RANGES = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""{area: smallest and largest area of an object in px^2}; an object on a border belongs to both, as in COCO."""
AREAS = tuple(AREA_RANGES)
LIMITS = (1, 10, 100)
ENGINES = ("fast", "reference")

# number -> (table, IoU threshold or None for the mean over all, area, detections per image and class)
NUMBERS: dict[str, tuple[str, float | None, str, int]] = {
    "AP": ("precision", None, "all", 100),
    "AP50": ("precision", 0.5, "all", 100),
    "AP75": ("precision", 0.75, "all", 100),
    "APs": ("precision", None, "small", 100),
    "APm": ("precision", None, "medium", 100),
    "APl": ("precision", None, "large", 100),
    "AR1": ("recall", None, "all", 1),
    "AR10": ("recall", None, "all", 10),
    "AR100": ("recall", None, "all", 100),
    "ARs": ("recall", None, "small", 100),
    "ARm": ("recall", None, "medium", 100),
    "ARl": ("recall", None, "large", 100),
}


def evaluate(
    targets: Mapping[str, Any] | CocoData,
    detections: Sequence[Mapping[str, Any]] | None = None,
    engine: str = "fast",
) -> dict[str, Any]:
    """Compute the 12 COCO numbers, AP at each IoU, and the same 12 per class.

    Args:
        targets: COCO ground truth (`images`, `annotations`, `categories`); boxes alone are enough. Or a `CocoData`.
        detections: COCO results list, boxes as [x, y, width, height] in pixels; empty is allowed.
        engine: `fast` (hotcoco) or `reference` (pycocotools).

    Returns:
        A dict that JSON can hold: the 12 numbers of `NUMBERS` in 0-1, `AP_per_iou` {"0.50": ...}, `per_class`
        {name: {the 12 numbers, "boxes", "detections"}}, `engine` {"name", "version"}, `images`, `boxes` (without crowd
        regions), `crowds`, `detections`. A number without ground truth is None, never -1 or 0; with ground truth and no
        detections it is 0.

    Raises:
        InputError: see `c2d.metrics.coco_data.prepare`; or an unknown engine.
    """
    if engine not in ENGINES:
        raise unknown_name("engine", engine, ENGINES)
    data = prepare(targets, detections)
    # Imported here, because reading numbers needs neither engine.
    if engine == "fast":
        from c2d.metrics import engine_hotcoco

        name, version, tables = engine_hotcoco.NAME, engine_hotcoco.VERSION, engine_hotcoco.precision_recall
    else:
        from c2d.metrics import engine_reference

        name, version, tables = (
            "pycocotools",
            engine_reference.version("pycocotools"),
            engine_reference.precision_recall,
        )
    if data.objects_per_class.any():
        precision, recall = tables(data)
    else:  # no ground truth: every number is undefined, whatever an engine returns
        shape = len(data.class_ids), len(AREAS), len(LIMITS)
        precision, recall = np.full((len(IOUS), 101, *shape), -1.0), np.full((len(IOUS), *shape), -1.0)
    boxes, found = data.objects_per_class, np.bincount(data.dt_class, minlength=len(data.class_ids))
    return {
        **_numbers(precision, recall),
        "AP_per_iou": {f"{iou:.2f}": _mean(precision[t, :, :, 0, -1]) for t, iou in enumerate(IOUS)},
        "per_class": {
            class_name: {
                **_numbers(precision[:, :, k : k + 1], recall[:, k : k + 1]),
                "boxes": int(boxes[k]),
                "detections": int(found[k]),
            }
            for k, class_name in enumerate(data.class_names)
        },
        "engine": {"name": name, "version": version},
        **data.sizes,
    }


def _numbers(precision: Array, recall: Array) -> dict[str, float | None]:
    """Return the 12 numbers of tables (10, 101, k, 4, 3) and (10, k, 4, 3), in 0-1."""
    out: dict[str, float | None] = {}
    for number, (table, iou, area, limit) in NUMBERS.items():
        values = precision if table == "precision" else recall
        if iou is not None:
            values = values[IOUS.index(iou)]
        out[number] = _mean(values[..., AREAS.index(area), LIMITS.index(limit)])
    return out


def _mean(values: Array) -> float | None:
    """Return the mean of the defined entries; the engines mark undefined ones with -1."""
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None
