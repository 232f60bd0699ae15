"""Notice detections whose boxes are in another form than COCO's [x, y, width, height].

Such a file has an AP near 0 and no other sign. The sign here: the boxes, read in the other form, lie on the objects.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import compute_overlaps

IOU = 0.5
FEWEST = 10
"""Detections below which nothing is said."""
LEAST_SHARE, LEAST_RATIO = 0.3, 3.0
"""Share of the objects that the other form has to reach, and how many times as many as COCO's."""

CORNERS, CENTRES = "[x1, y1, x2, y2]", "[center x, center y, width, height]"


def box_form_warning(data: CocoData) -> str:
    """Return one sentence if the boxes of the detections seem to be in another form; "" else.

    Args:
        data: ground truth and detections, boxes as xywh in px.
    """
    box = data.dt_box
    if len(box) < FEWEST or not len(data.gt_box):
        return ""
    if box.max() <= 1 < np.median(data.gt_box[:, 2:]):
        return (
            "all boxes of the detections lie in 0 to 1: fractions of the image? Wanted are [x, y, width, height] in px"
        )
    reached = _objects_reached(data)
    if reached * LEAST_RATIO > 1:
        return ""
    readings = (
        ("those of the detections", CORNERS, replace(data, dt_box=_from_corners(box), cache={})),
        ("those of the detections", CENTRES, replace(data, dt_box=_from_centres(box), cache={})),
        ("those of the ground truth", CORNERS, replace(data, gt_box=_from_corners(data.gt_box), cache={})),
    )
    for whose, form, other in readings:
        found = _objects_reached(other)
        if found >= max(LEAST_SHARE, LEAST_RATIO * reached):
            return (
                f"detections lie on {reached:.0%} of the objects (IoU {IOU:g}), and on {found:.0%} if the "
                f"boxes, {whose}, are read as {form}: wanted are [x, y, width, height]"
            )
    return ""


def _from_corners(box: Array) -> Array:
    return np.column_stack([box[:, :2], np.maximum(box[:, 2:] - box[:, :2], 0)])


def _from_centres(box: Array) -> Array:
    return np.column_stack([box[:, :2] - box[:, 2:] / 2, box[:, 2:]])


def _objects_reached(data: CocoData) -> float:
    """Share of the objects on which a detection of any class lies."""
    found, objects = compute_overlaps(data), np.flatnonzero(~data.gt_crowd)
    same: Array = found.same_gt[found.same_iou >= IOU]
    other: Array = found.other_gt[found.other_iou >= IOU]
    return len(np.union1d(same, other)) / max(len(objects), 1)
