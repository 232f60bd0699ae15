"""Confusion matrix of a detector, with the background as one more class.

AP matches inside a class, so a box with the wrong class is a false positive of one class and a miss of another. Here
the classes are matched together, as FiftyOne (`classwise=False`), supervision and hotcoco do:

  - detections with a score of at least `min_score` count, at most the 100 best of an image;
  - in each image they are taken by falling score; each is matched to the free object of any class with the largest IoU,
    if that is at least `iou` (equal IoU: the last object in the file, as COCO). The rule is COCO's greedy matching with
    all classes taken as one, so it is run by `c2d.metrics.matching`;
  - an unmatched detection is a false positive: the row of the background. One that lies in a crowd region of its own
    class is left out, as in COCO;
  - an unmatched object is missed: the column of the background.

TIDE's Cls errors are another number: they also count where another detection finds the object, and at every score.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import compute_overlaps, match


def confusion_matrix(data: CocoData, iou: float, min_score: float) -> Array:
    """Count (object's class, detection's class).

    Args:
        data: ground truth and detections of K classes.
        iou: smallest IoU of a match, 0 < iou <= 1.
        min_score: smallest score of a detection.

    Returns:
        (K + 1, K + 1) int64: row the class of the object, column that of the detection, the last of both the
        background. Entry (K, K) is 0.

    Raises:
        InputError: an IoU outside its range.
    """
    if not 0 < iou <= 1:
        raise InputError(f"iou is {iou}; a confusion matrix needs 0 < iou <= 1, usually 0.5")
    rows = np.flatnonzero(data.dt_score >= min_score)
    part = data.subset(np.arange(len(data.gt_class)), rows)
    one_class = replace(part, class_ids=[0], class_names=["object"], gt_class=np.zeros_like(part.gt_class),
                        dt_class=np.zeros_like(part.dt_class), cache={})  # fmt: skip
    found = compute_overlaps(one_class)
    taken = match(one_class, found, iou)
    classes = len(data.class_ids)
    truth = np.where(taken >= 0, part.gt_class[taken] if len(part.gt_class) else classes, classes)
    predicted = part.dt_class[found.kept]
    counted = (taken >= 0) | (_crowd_share(part)[found.kept] < min(iou, 1 - 1e-10))
    missed = ~part.gt_crowd
    missed[taken[taken >= 0]] = False
    table = np.zeros((classes + 1, classes + 1), np.int64)
    np.add.at(table, (truth[counted], predicted[counted]), 1)
    table[:classes, classes] = np.bincount(part.gt_class[missed], minlength=classes)
    return table


def _crowd_share(data: CocoData) -> Array:
    """(D,) largest part of each detection inside one crowd region of its own class."""
    share = np.zeros(len(data.dt_score))
    crowded = np.zeros(len(data.image_ids), bool)
    crowded[data.gt_image[data.gt_crowd]] = True
    near = np.flatnonzero(crowded[data.dt_image])
    if len(near):
        found = compute_overlaps(data.subset(np.flatnonzero(crowded[data.gt_image]), near))
        share[near[found.kept]] = found.crowd_share
    return share
