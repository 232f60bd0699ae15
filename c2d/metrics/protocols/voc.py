"""AP of Pascal VOC at IoU 0.5: the mean over 11 recall levels (VOC2007) and the area under the curve (from VOC2010).

By the devkit (Everingham et al., "The Pascal Visual Object Classes Challenge", IJCV 2010): the detections of a class
are visited by falling score, those of equal scores by image, then as the detector gave them. Each looks at the one
object of its class and image with the largest IoU, the first of equals. Below IoU 0.5 it is a false positive; if that
object is difficult it does not count at all; if an earlier detection has that object it is a false positive, whatever
other objects it overlaps. Recall is of the objects that are not difficult. There is no limit of detections per image:
all that the detector gives count.

Boxes are continuous, as everywhere here: width = right - left. The devkit counts pixels, so its widths are
xmax - xmin + 1. That is the width which `c2d data voc` writes (pixel edges: x = xmin - 1, w = xmax - xmin + 1), so both
conventions give the same IoU. Adding 1 to these widths again would count the pixel at the border twice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import ranked_detections
from c2d.metrics.protocols.cell_pairs import intersection_over_union, overlapping_pairs
from c2d.metrics.protocols.protocol_names import VOC_NUMBERS

MIN_IOU = 0.5
LEVELS = 11


def evaluate(annotations: Sequence[Mapping[str, Any]], data: CocoData) -> dict[str, Any]:
    """Compute VOC's AP, per class and as the mean over the classes that have an object which is not difficult.

    Args:
        annotations: those that `data` was made from, in the same order, with `protocol` {"difficult": 0 or 1}.
        data: ground truth and detections.

    Returns:
        The numbers of `VOC_NUMBERS` in 0-1, `per_class` {name: {the same, "objects", "difficult"}}, `objects` and
        `difficult`: how many count and how many are ignored.

    Raises:
        InputError: an annotation without a usable `protocol`.
    """
    difficult = np.array([_is_difficult(row, at) for at, row in enumerate(annotations)], bool)
    n_classes = len(data.class_ids)
    objects = np.bincount(data.gt_class[~difficult], minlength=n_classes)
    ignored = np.bincount(data.gt_class[difficult], minlength=n_classes)
    ranked = ranked_detections(data)
    true, false = _outcomes(data, ranked, difficult)
    bounds = np.searchsorted(data.dt_class[ranked], np.arange(n_classes + 1))
    per_class = {}
    for k, name in enumerate(data.class_names):
        part = slice(bounds[k], bounds[k + 1])
        values = _curve_numbers(true[part], false[part], int(objects[k]))
        per_class[name] = {**values, "objects": int(objects[k]), "difficult": int(ignored[k])}
    return {
        **{name: _mean([one[name] for one in per_class.values()]) for name in VOC_NUMBERS.values()},
        "per_class": per_class,
        "objects": int(objects.sum()),
        "difficult": int(ignored.sum()),
    }


def _is_difficult(row: Mapping[str, Any], at: int) -> bool:
    value = row.get("protocol")
    flag = value.get("difficult") if isinstance(value, Mapping) else None
    if flag not in (0, 1):
        raise InputError(
            f"annotation {row.get('id', at)} has protocol {value!r:.60}; VOC's numbers need "
            '{"difficult": 0} or {"difficult": 1}; make the data set again with `c2d data voc`'
        )
    return bool(flag)


def _outcomes(data: CocoData, ranked: Array, difficult: Array) -> tuple[Array, Array]:
    """Return (true positives, false positives), each (D,) bool in the order of `ranked`."""
    n_classes = len(data.class_ids)
    boxes = data.dt_box[ranked]
    cells = data.dt_image[ranked] * n_classes + data.dt_class[ranked]
    pairs = overlapping_pairs(boxes, cells, data.gt_box, data.gt_image * n_classes + data.gt_class)
    iou = intersection_over_union(pairs, boxes, data.gt_box)
    best_iou, best_gt = np.zeros(len(ranked)), np.full(len(ranked), -1)
    np.maximum.at(best_iou, pairs.dt, iou)
    top = np.flatnonzero(iou == best_iou[pairs.dt])[::-1]  # the last write stays: the first object in order
    best_gt[pairs.dt[top]] = pairs.gt[top]
    near = best_iou >= MIN_IOU
    countable = np.flatnonzero(near & ~difficult[best_gt]) if len(difficult) else np.zeros(0, np.int64)
    true = np.zeros(len(ranked), bool)
    true[countable[np.unique(best_gt[countable], return_index=True)[1]]] = True
    false = ~near
    false[countable] = True
    return true, false & ~true


def _curve_numbers(true: Array, false: Array, objects: int) -> dict[str, float | None]:
    """Return both AP of one class; its detections are in falling score."""
    if objects == 0:
        return dict.fromkeys(VOC_NUMBERS.values())
    found, wrong = np.cumsum(true), np.cumsum(false)
    seen = np.maximum(found + wrong, 1)
    best = np.maximum.accumulate((found / seen)[::-1])[::-1]  # the largest precision at this recall or a later one
    # A recall of k/10 is compared in whole numbers: 3/10 is below the floating-point product 3 * 0.1.
    at_level = [np.flatnonzero(10 * found >= level * objects)[:1] for level in range(LEVELS)]
    return {
        VOC_NUMBERS["AP50_area"]: float(best[true].sum() / objects),
        VOC_NUMBERS["AP50_11point"]: float(sum(best[at].sum() for at in at_level) / LEVELS),
    }


def _mean(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None
