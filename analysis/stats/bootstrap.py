"""Two checkpoints on the same images: is one better on this kind of image? Paired bootstrap over images.

Images are drawn with replacement, 1,000 times or more. Both checkpoints get the same draws, and COCO's AP is computed
again for each draw (`c2d.metrics.resampling`). The result holds for these two checkpoints only; another seed of the
same method may differ (`analysis.stats.baseline_comparisons` compares over seeds, `analysis.stats.hierarchical` over
both).

The interval is the percentile interval. By simulation (docs/results/statistics.md) BCa covers no better on 25 to 200
images, and it needs one more evaluation for every image: five times the work on COCO. Below 100 images every kind of
interval covers too little, and the interval's name says so; below 8 images the comparison raises an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analysis.stats.permutation import LEVEL, p_and_interval
from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array, CocoData, prepare
from c2d.metrics.resampling.resampled_ap import Curves, resampled

Detections = Sequence[Mapping[str, Any]] | CocoData

# Coverage by simulation (docs/results/statistics.md): below 100 images less than 95 %, below 8 no useful interval.
FEWEST_IMAGES = 8
FEW_IMAGES = 100
FEWEST_RESAMPLES = 100  # the 2.5 % quantile of fewer draws is the extreme draw itself
RESAMPLES = 1000
_RESAMPLES_PER_TEST = 200


@dataclass(frozen=True)
class ImageDifference:
    """One checkpoint minus another on the same images.

    Attributes:
        metric: AP, AP50 or AP75.
        a, b: the metric of each checkpoint, 0-1.
        difference: a - b.
        low, high: 95 % interval of the difference.
        p: two-sided p value; below 0.05 exactly when the interval leaves out 0, never below 2 / (resamples + 1).
        images: number of images.
        resamples: number of draws in which the metric is defined.
        interval, test: names of both.
        drawn: (resamples,) float64, differences of the draws in ascending order.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    images: int
    resamples: int
    interval: str
    test: str
    drawn: Array = field(repr=False, compare=False)

    def interval_at(self, level: float) -> tuple[float, float]:
        """Return the percentile interval (low, high) of another level (0-1)."""
        return p_and_interval(self.drawn, level)[1:]


def resamples_for(tests: int) -> int:
    """Return the number of draws for one of several tests.

    Holm multiplies the smallest p value by the number of tests, and no p value is below 2 / (draws + 1). With 200 draws
    a test the limit of the strictest step lies five draws from each end, so 0.05 can be reached in any family.
    """
    return max(RESAMPLES, _RESAMPLES_PER_TEST * tests)


def compare_over_images(
    targets: Mapping[str, Any] | None,
    a: Detections,
    b: Detections,
    metric: str = "AP",
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> ImageDifference:
    """Compare two checkpoints, a - b, on the same targets, with a 95 % interval and a p value over images.

    Args:
        targets: COCO ground truth, or None where `a` and `b` are `CocoData` already.
        a, b: COCO results list, or a `CocoData`, of each checkpoint.
        metric: AP, AP50 or AP75.
        resamples: number of draws of the whole set.
        seed: of the draws; the same seed gives the same numbers.

    Raises:
        InputError: see `c2d.metrics.coco_data.prepare`; different ground truth on the two sides; no objects; too few
            images or resamples.
    """
    if resamples < FEWEST_RESAMPLES:
        raise InputError(
            f"{resamples} resamples: the ends of a 95 % interval need {FEWEST_RESAMPLES} at least; 1000 are usual"
        )
    curves = matched_curves(targets, [a, b], metric)
    value_a, value_b = full_set_values(curves)
    drawn = resampled(curves, resamples, seed)
    d = np.sort(drawn[0] - drawn[1])
    d = d[~np.isnan(d)]  # NaN, sorted last: draws without any object
    p, low, high = p_and_interval(d, LEVEL)
    images = curves[0].images
    return ImageDifference(
        metric, value_a, value_b, value_a - value_b, low, high, p, images, len(d), interval_name(images, len(d)),
        f"paired bootstrap over {images} images, {len(d)} resamples", d,
    )  # fmt: skip


def interval_name(images: int, resamples: int) -> str:
    """Return the name of the percentile interval, which says where it covers too little."""
    few = f"; {images} images are few: covers less than 95 %" if images < FEW_IMAGES else ""
    return f"95 % percentile bootstrap over {images} images, {resamples} resamples{few}"


def full_set_values(curves: Sequence[Curves]) -> list[float]:
    """Return the metric of each checkpoint, 0-1, on the full set: every image once."""
    once = np.ones((curves[0].images, 1), np.int32)
    return [float(one.ap(once)[0]) for one in curves]


def matched_curves(targets: Mapping[str, Any] | None, detections: Sequence[Detections], metric: str) -> list[Curves]:
    """Check the detections of every checkpoint and match them to the ground truth.

    Args:
        targets: COCO ground truth, or None where `detections` are `CocoData` already.
        detections: one entry a checkpoint.
        metric: AP, AP50 or AP75.

    Raises:
        InputError: no targets; checkpoints on different ground truth; no objects; fewer than 8 images.
    """
    first: CocoData | None = None
    out = []
    for number, given in enumerate(detections):
        if isinstance(given, CocoData):
            data = given
        elif targets is None:
            raise InputError("no targets given: pass the COCO ground truth, or prepared input on every side")
        else:
            data = prepare(targets, given)
        if first is None:
            first = data
            check_images(first)
        elif not same_truth(first, data):
            raise InputError(
                f"checkpoint number {number} was evaluated on other ground truth than the first; "
                "compare detections on the same images and annotations"
            )
        out.append(Curves(data, metric))
    return out


def check_images(data: CocoData) -> None:
    """Check that a bootstrap over the images is possible.

    Args:
        data: the ground truth.

    Raises:
        InputError: no objects, or fewer than 8 images.
    """
    if not data.objects_per_class.any():
        raise InputError("the ground truth has no objects, so AP is undefined; give a set with annotations")
    if len(data.image_ids) < FEWEST_IMAGES:
        raise InputError(
            f"{len(data.image_ids)} images are too few to draw from; a bootstrap over images needs "
            f"{FEWEST_IMAGES}, and {FEW_IMAGES} to cover 95 %"
        )


def same_truth(one: CocoData, other: CocoData) -> bool:
    """Return whether two sets have the same images, classes and objects."""
    columns = ("gt_image", "gt_class", "gt_box", "gt_crowd")
    return (one.image_ids, one.class_ids) == (other.image_ids, other.class_ids) and all(
        np.array_equal(getattr(one, name), getattr(other, name)) for name in columns
    )
