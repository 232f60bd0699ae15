"""Objects that one checkpoint finds and the other does not, each at its own working point."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from analysis.comparison.comparison import FlippedObject, ImageChange, Side
from c2d.metrics.box_verdicts import OBJECT_VERDICTS, VERDICTS, judge_boxes, object_verdicts
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.operating_points import working_point

_FOUND, _CROWD = OBJECT_VERDICTS.index("found"), OBJECT_VERDICTS.index("crowd")
_CORRECT, _IGNORED = VERDICTS.index("correct"), VERDICTS.index("ignored")


@dataclass(frozen=True)
class SideVerdicts:
    """Verdicts of one checkpoint from its threshold on.

    Attributes:
        side: name, threshold and totals.
        gt_verdict: (G,) int64, as in `c2d.metrics.box_verdicts.BoxVerdicts`.
        gt_score: (G,) float64, score of the detection that found each object; NaN where none did.
        false_positives: (images,) int64.
    """

    side: Side
    gt_verdict: Array
    gt_score: Array
    false_positives: Array

    @property
    def found(self) -> Array:
        """(G,) bool, objects that it finds."""
        return self.gt_verdict == _FOUND


def side_verdicts(name: str, data: CocoData, iou: float, threshold: float | None) -> SideVerdicts:
    """Give every box of one checkpoint its verdict.

    Args:
        name: of the checkpoint.
        data: its detections.
        iou: from which an object is found, 0-1.
        threshold: detections of a lower score do not count; None for the one with the largest F1.
    """
    boxes = judge_boxes(data, iou)
    best, best_f1 = working_point(data, iou, threshold)
    low = data.dt_score < (np.inf if best is None else best)
    verdict, gt = np.where(low, _IGNORED, boxes.verdict), np.where(low, -1, boxes.gt)
    gt_verdict, gt_dt = object_verdicts(data, verdict, gt)
    score = np.full(len(gt_dt), np.nan)
    score[gt_verdict == _FOUND] = data.dt_score[gt_dt[gt_verdict == _FOUND]]
    wrong = np.flatnonzero(verdict < _CORRECT)
    per_image = np.bincount(data.dt_image[wrong], minlength=len(data.image_ids))
    return SideVerdicts(Side(name, len(data.dt_score), best, best_f1, len(wrong)), gt_verdict, score, per_image)


def flipped_objects(
    data: CocoData, a: SideVerdicts, b: SideVerdicts, file_names: dict[Any, str]
) -> tuple[FlippedObject, ...]:
    """List the objects that one side alone finds, by image, in the order of the annotations."""
    rows = np.flatnonzero(a.found != b.found)
    rows = rows[np.argsort(data.gt_image[rows], kind="stable")]
    out = []
    for row in rows.tolist():
        finder, other = (a, b) if a.found[row] else (b, a)
        x, y, w, h = data.gt_box[row].tolist()
        image_id = data.image_ids[data.gt_image[row]]
        out.append(
            FlippedObject(
                row,
                image_id,
                file_names.get(image_id, ""),
                data.class_names[data.gt_class[row]],
                (x, y, w, h),
                "a" if finder is a else "b",
                float(finder.gt_score[row]),
                OBJECT_VERDICTS[other.gt_verdict[row]],
            )
        )
    return tuple(out)


def changed_images(
    data: CocoData, a: SideVerdicts, b: SideVerdicts, file_names: dict[Any, str]
) -> tuple[ImageChange, ...]:
    """List the images whose errors differ or with flipped objects: the largest change first, then the most flips."""
    images = len(data.image_ids)

    def per_image(rows: Array) -> Array:
        return np.bincount(data.gt_image[rows], minlength=images)

    objects = a.gt_verdict != _CROWD
    errors_a, errors_b = (per_image(objects & ~side.found) + side.false_positives for side in (a, b))
    only_a, only_b = per_image(a.found & ~b.found), per_image(b.found & ~a.found)
    change, flips = errors_b - errors_a, only_a + only_b
    order = np.lexsort((-flips, -np.abs(change)))
    out = []
    for at in order[(change[order] != 0) | (flips[order] > 0)].tolist():
        image_id = data.image_ids[at]
        values = (int(column[at]) for column in (errors_a, errors_b, change, only_a, only_b))
        out.append(ImageChange(image_id, file_names.get(image_id, ""), *values))
    return tuple(out)
