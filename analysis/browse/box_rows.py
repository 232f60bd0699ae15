"""The boxes of one image as short lists of numbers, which the scripts of the page read.

Object: x, y, w, h in px, class, size, crowd (0 or 1). Detection: x, y, w, h in px, class, score * 10000, verdict, the
object behind it (its place in the image, -1 for none), IoU * 1000, size. The score is rounded down, so that it passes
the same thresholds. Class, verdict and size are places in the lists of the page's data. The size is that of the error:
of its object for Cls, Loc and Miss, else of the detection.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from analysis.browse.image_errors import JudgedSet
from c2d.metrics.box_verdicts import VERDICTS
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.tide_errors import size_of

MOST_DETECTIONS = 300
"""Of one run on one image; COCO counts 100 of each class."""
_OF_OBJECT = [VERDICTS.index(kind) for kind in ("Cls", "Loc")]
_IGNORED = VERDICTS.index("ignored")
Row = list[int | float]


class ImageRows:
    """Boxes of all images; the rows of one image are looked up.

    Args:
        sets: one or two runs on the same ground truth.
        min_score: detections below it are left out.
    """

    def __init__(self, sets: Sequence[JudgedSet], min_score: float) -> None:
        truth = sets[0].detections.data
        self.truth, self.sets = truth, tuple(sets)
        self._objects = _by_image(truth.gt_image, np.arange(len(truth.gt_image)), len(truth.image_ids))
        self._detections = [self._shown(one, min_score) for one in sets]

    def _shown(self, one: JudgedSet, min_score: float) -> list[Array]:
        data = one.detections.data
        rows = np.flatnonzero(data.dt_score >= min_score)
        # Beyond the limit of an image and class: not counted, and not inside a crowd region either.
        crowded = np.zeros(len(data.image_ids), bool)
        crowded[data.gt_image[data.gt_crowd]] = True
        rows = rows[(one.verdicts.verdict[rows] != _IGNORED) | crowded[data.dt_image[rows]]]
        rows = rows[np.argsort(-data.dt_score[rows], kind="stable")]
        return [found[:MOST_DETECTIONS] for found in _by_image(data.dt_image, rows, len(data.image_ids))]

    def objects(self, image: int) -> Array:
        """Return the rows (g,) of the objects of an image in `CocoData`."""
        return self._objects[image]

    def detections(self, image: int, which: int) -> Array:
        """Return the rows (d,) of the detections of one run on an image, by falling score."""
        return self._detections[which][image]

    def object_rows(self, image: int) -> list[Row]:
        """Return the objects of an image as numbers."""
        at, truth = self._objects[image], self.truth
        columns = (truth.gt_class[at], size_of(truth.gt_area[at]), truth.gt_crowd[at].astype(int))
        return _rows(truth.gt_box[at], columns)

    def detection_rows(self, image: int, which: int) -> list[Row]:
        """Return the detections of one run on an image as numbers."""
        at, one = self._detections[which][image], self.sets[which]
        data, found = one.detections.data, one.verdicts
        gt = found.gt[at]
        place = np.where(gt >= 0, np.searchsorted(self._objects[image], gt), -1)
        columns = (
            data.dt_class[at],
            np.floor(data.dt_score[at] * 10000 + 1e-6).astype(int),
            found.verdict[at],
            place,
            np.round(found.iou[at] * 1000).astype(int),
            _sizes(data, found.verdict[at], gt, at),
        )
        return _rows(data.dt_box[at], columns)


def _sizes(data: CocoData, verdict: Array, gt: Array, at: Array) -> Array:
    area = data.dt_box[at, 2] * data.dt_box[at, 3]
    of_object = np.isin(verdict, _OF_OBJECT)
    area[of_object] = data.gt_area[gt[of_object]]
    return size_of(area)


def _by_image(image: Array, rows: Array, images: int) -> list[Array]:
    """Split rows by their image, in their order."""
    order = rows[np.argsort(image[rows], kind="stable")]
    return np.split(order, np.cumsum(np.bincount(image[order], minlength=images))[:-1])


def _rows(boxes: Array, columns: Sequence[Array]) -> list[Row]:
    tenths = np.round(boxes, 1)
    # 12.0 is written as 12: a fifth of the characters of a page.
    numbers = [[int(side) if side == int(side) else side for side in box] for box in tenths.tolist()]
    others = np.stack(columns, axis=1).tolist()
    return [[*box, *rest] for box, rest in zip(numbers, others, strict=True)]
