"""Compute TIDE of a data set whose images are drawn with replacement, without classifying errors again.

An error and its object lie in one image, and so does whatever decides its type and whether fixing it yields a true
positive (`c2d.metrics.tide_errors.classify`). So the list of detections after each oracle is made once, and its AP is
computed for any weights of the images like that of the list as it is (`c2d.metrics.resampling.resampled_ap`).
"""

from __future__ import annotations

import numpy as np

from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.resampling.resampled_ap import ClassCurves, class_mean, object_table
from c2d.metrics.tide import BACKGROUND
from c2d.metrics.tide_errors import KINDS, MAIN, SPECIAL, TideErrors


class TideCurves:
    """TIDE of one checkpoint at one threshold for any weights of the images.

    Args:
        data: ground truth and detections.
        iou: IoU of a correct localisation, 0-1.
        background: IoU up to which a detection is on background, 0-1.

    Attributes:
        error_images: {error type: (images,) bool}, images with at least one such error.
    """

    def __init__(self, data: CocoData, iou: float = 0.5, background: float = BACKGROUND) -> None:
        rows, present = ~data.gt_crowd, data.objects_per_class > 0
        self.objects = object_table(data, rows)
        self.lists = {}
        errors = TideErrors(data, iou, background)
        self.error_images = _error_images(errors)
        for name, one in errors.oracle_lists():
            curves = ClassCurves(one.cls, one.image, [one.correct], [~one.keep], present)
            self.lists[name] = curves, object_table(data, rows & ~one.gone) if one.gone.any() else self.objects

    def gains(self, counts: Array) -> dict[str, Array]:
        """Return {error type: dAP}, (R,) float64 in 0-1 each; NaN for a resample without any object.

        Args:
            counts: (images, R) int32, how often each image was drawn.
        """
        present = np.asarray(self.objects @ counts) > 0
        means = {}
        for name, (curves, objects) in self.lists.items():
            values = curves.ap(counts, np.asarray(objects @ counts))[0]
            means[name] = class_mean(np.where(present, values, np.nan))
        return {name: mean - means["AP"] for name, mean in means.items() if name != "AP"}


def _error_images(errors: TideErrors) -> dict[str, Array]:
    """Return {error type: (images,) bool}, the images with at least one error of the type, of any score."""
    data, result = errors.data, errors.result
    image = data.dt_image[errors.found.kept]
    of_type = {name: image[result.kind == KINDS.index(name)] for name in MAIN if name != "Miss"}
    rows = {
        **of_type,
        "Miss": data.gt_image[result.missed],
        "FalsePos": np.concatenate(list(of_type.values())),
        "FalseNeg": data.gt_image[result.unmatched],
    }
    return {name: np.bincount(rows[name], minlength=len(data.image_ids)) > 0 for name in (*MAIN, *SPECIAL)}
