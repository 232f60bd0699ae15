"""Differences of two checkpoints in AP, by class, by size and by TIDE error, with intervals over the same images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from analysis.comparison.comparison import Change
from analysis.stats.bootstrap import FEWEST_IMAGES
from analysis.stats.permutation import p_and_interval
from analysis.stats.simultaneous import simultaneous_intervals
from c2d.metrics.coco import AREA_RANGES, IOUS
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.resampling.resampled_ap import Curves, class_mean, draws
from c2d.metrics.resampling.resampled_tide import TideCurves
from c2d.metrics.tide_errors import MAIN, SPECIAL

OVERALL = ("AP", "AP50", "AP75")
SIZES = tuple(area for area in AREA_RANGES if area != "all")


@dataclass(frozen=True)
class ImageDifferences:
    """Changes from the first checkpoint to the second; see `analysis.comparison.comparison.Comparison`."""

    overall: tuple[Change, ...]
    per_class: tuple[Change, ...]
    per_size: tuple[Change, ...]
    tide: tuple[Change, ...]


class _Numbers:
    """All compared numbers of one checkpoint for any weights of the images."""

    def __init__(self, data: CocoData, iou: float) -> None:
        self.all = Curves(data)
        self.sizes = [Curves(data, area=size) for size in SIZES]
        self.tide = TideCurves(data, iou)

    def rows(self, counts: Array) -> Array:
        """Return (3 + K + 3 + 8, R): `OVERALL`, the classes, `SIZES`, the TIDE errors."""
        per_iou = self.all.per_class(counts)
        overall = per_iou.mean(axis=0), per_iou[IOUS.index(0.5)], per_iou[IOUS.index(0.75)]
        gains = self.tide.gains(counts)
        return np.concatenate([
            [class_mean(one) for one in overall],
            overall[0],
            [curves.ap(counts) for curves in self.sizes],
            [gains[error] for error in (*MAIN, *SPECIAL)],
        ])  # fmt: skip


def image_differences(a: CocoData, b: CocoData, iou: float, samples: int, seed: int) -> ImageDifferences:
    """Compute all differences, b - a.

    Args:
        a, b: detections of both on the same ground truth.
        iou: of TIDE, 0-1.
        samples: number of resamples of the images.
        seed: of the resamples.
    """
    sides = [_Numbers(one, iou) for one in (a, b)]
    images = len(a.image_ids)
    once = np.ones((images, 1), np.int32)
    of_a, of_b = (one.rows(once)[:, 0] for one in sides)
    drawn = np.concatenate(
        [sides[1].rows(counts) - sides[0].rows(counts) for counts in draws(images, samples, seed)], axis=1
    )
    with_class, with_size = _images_with(a)
    k = len(a.class_ids)
    names = (*OVERALL, *a.class_names, *SIZES, *MAIN, *SPECIAL)
    everywhere = len(np.unique(a.gt_image[~a.gt_crowd]))
    with_error = [
        int((sides[0].tide.error_images[name] | sides[1].tide.error_images[name]).sum()) for name in (*MAIN, *SPECIAL)
    ]
    counted = [*[everywhere] * 3, *with_class, *with_size, *with_error]
    changes = [_Unbounded(*one) for one in zip(names, of_a.tolist(), of_b.tolist(), drawn, counted, strict=True)]
    ends = np.cumsum([3, k, len(SIZES)]).tolist()
    overall, classes, sizes, tide = (
        changes[begin:end] for begin, end in zip([0, *ends], [*ends, len(changes)], strict=True)
    )
    return ImageDifferences(
        tuple(map(_single, overall)), tuple(_together(classes)), tuple(_together(sizes)), tuple(_together(tide))
    )


@dataclass(frozen=True)
class _Unbounded:
    """One number of both sides, without an interval; drawn (R,): its difference in each resample."""

    name: str
    a: float
    b: float
    drawn: Array
    images: int

    @property
    def reason(self) -> str:
        """Why it gets no interval."""
        if np.isnan(self.a):
            return "no objects"
        if self.images < FEWEST_IMAGES:
            return f"in {self.images} image{'s' * (self.images != 1)}: too few"
        return ""

    def change(self, low: float | None, high: float | None, p: float | None) -> Change:
        """Return it with an interval."""
        if np.isnan(self.a):
            return Change(self.name, None, None, None, None, None, None, self.images, self.reason)
        return Change(self.name, self.a, self.b, self.b - self.a, low, high, p, self.images, self.reason)


def _single(one: _Unbounded) -> Change:
    if one.reason:
        return one.change(None, None, None)
    p, low, high = p_and_interval(np.sort(one.drawn[~np.isnan(one.drawn)]))
    return one.change(low, high, p)


def _together(family: Sequence[_Unbounded]) -> Iterator[Change]:
    bounded = [one for one in family if not one.reason]
    intervals = iter(
        simultaneous_intervals(
            [one.b - one.a for one in bounded],
            np.array([one.drawn for one in bounded]),
            [one.images for one in bounded],
        )
    )
    for one in family:
        yield one.change(None, None, None) if one.reason else one.change(*next(intervals))


def _images_with(data: CocoData) -> tuple[list[int], list[int]]:
    """Numbers of images that have objects of each class, and of each size."""
    rows = np.flatnonzero(~data.gt_crowd)
    pairs = np.unique(np.column_stack([data.gt_class[rows], data.gt_image[rows]]), axis=0)
    classes = np.bincount(pairs[:, 0], minlength=len(data.class_ids)).tolist()
    area = data.gt_area[rows]
    sizes = [
        len(np.unique(data.gt_image[rows[(area >= low) & (area <= high)]]))
        for low, high in (AREA_RANGES[size] for size in SIZES)
    ]
    return classes, sizes
