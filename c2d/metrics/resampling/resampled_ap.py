"""Compute COCO's AP of a data set whose images are drawn with replacement, without matching or sorting again.

An image that is drawn w times counts w times: matching happens inside an image, so it is done once for each IoU
threshold. What remains for a resample is counting, for every class and threshold:

    T   true positives up to this one              weights of the images of the true positives, summed
    D   kept detections up to this one             the same for all detections that are not forgiven
    R   recall points reached after T of n objects (a table); n is the resample's own number of objects
    AP  mean over the 101 recall points of the largest T / D from there on

Only true positives change recall, and precision can only rise at one, so the curve is known from its true positives;
detections behind the last of them never matter. The w copies of a true positive are neighbours and each raises
precision, so only the last copy matters. Resamples are treated in blocks, as matrices of (true positives, resamples).

This equals evaluating the set with its images repeated under new ids, each copy right behind the one before. The one
thing that is a convention there: where two detections of one image and class have equal scores, all copies of the first
come before all copies of the second.

A class that loses all its objects in a resample is left out of that resample's mean, as COCO leaves out a class without
ground truth. A resample without any object has no AP (NaN).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from c2d.core.errors import unknown_name
from c2d.metrics.coco import AREA_RANGES, IOUS
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import compute_overlaps, inside_crowd, match

METRICS: dict[str, tuple[float, ...]] = {"AP": IOUS, "AP50": (0.5,), "AP75": (0.75,)}
_BLOCK = 250  # resamples at once: matrices of a class stay inside a core's cache
_POINTS = np.linspace(0.0, 1.0, 101)


@dataclass(frozen=True)
class _Level:
    """One class at one IoU threshold; a row is a true positive, best score first."""

    place: Array  # (n,) its row among the class's `steps`
    image: Array  # (n,) its image
    forgiven_image: Array  # (f,) images of detections of this class that do not count at this threshold alone
    forgiven_before: Array  # (n,) how many of those come before it


@dataclass(frozen=True)
class _Class:
    """One class with ground truth. steps: (u, images) sparse, detections since the true positive (of any threshold)
    before, by image; the running sum over rows counts the detections up to each true positive."""

    steps: Any
    levels: tuple[_Level, ...]


class ClassCurves:
    """Lists of detections, one a class, at L thresholds; AP of each class for any weights of the images.

    Args:
        cls: (N,) class of each detection, rising; inside a class in order of falling score.
        image: (N,) its image.
        correct: L arrays (N,) bool, true positives at each threshold.
        forgiven: L arrays (N,) bool, detections that do not count at each threshold.
        present: (K,) bool, classes with ground truth; the others have AP 0.
    """

    def __init__(
        self, cls: Array, image: Array, correct: Sequence[Array], forgiven: Sequence[Array], present: Array
    ) -> None:
        self.n_levels, self.n_classes = len(correct), len(present)
        counted = ~np.all(forgiven, axis=0)
        cls, image = cls[counted], image[counted]
        correct, forgiven = [one[counted] for one in correct], [one[counted] for one in forgiven]
        begins = np.searchsorted(cls, np.arange(len(present) + 1))
        self.classes: dict[int, _Class] = {}
        for k in np.flatnonzero(present):
            part = slice(begins[k], begins[k + 1])
            self.classes[int(k)] = _class(image[part], [one[part] for one in correct], [one[part] for one in forgiven])

    def ap(self, counts: Array, objects: Array) -> Array:
        """Return (L, K, R) float64, AP in 0-1 of each threshold, class and resample; 0 without objects.

        Args:
            counts: (images, R) int32, how often each image was drawn.
            objects: (K, R) int, objects of each class in each resample.
        """
        out = np.zeros((self.n_levels, self.n_classes, counts.shape[1]))
        for k, one in self.classes.items():
            if one.steps.shape[0]:
                _class_ap(one, objects[k], counts, out[:, k])
        return out


class Curves:
    """Detections of one checkpoint, matched at the thresholds of `metric`; AP for any weights of the images.

    Args:
        data: ground truth and detections.
        metric: AP (mean over .50:.05:.95), AP50 or AP75.
        area: all, or small, medium, large: objects of that size alone count, as in COCO's APs, APm and APl.
    """

    def __init__(self, data: CocoData, metric: str = "AP", area: str = "all") -> None:
        if metric not in METRICS:
            raise unknown_name("metric of a comparison over images", metric, METRICS)
        found = compute_overlaps(data)
        low, high = AREA_RANGES[area]
        ignored = data.gt_crowd | (data.gt_area < low) | (data.gt_area > high)
        size = data.dt_box[found.kept, 2] * data.dt_box[found.kept, 3]
        outside = (size < low) | (size > high)
        self.objects = object_table(data, ~ignored)
        self.images = len(data.image_ids)
        correct, forgiven = [], []
        for iou in METRICS[metric]:
            taken = match(data, found, iou, None if area == "all" else ignored)
            on_ignored = (taken >= 0) & ignored[taken] if len(ignored) else taken >= 0
            correct.append((taken >= 0) & ~on_ignored)
            forgiven.append(on_ignored | inside_crowd(found, taken, iou) | ((taken < 0) & outside))
        present = np.bincount(data.gt_class[~ignored], minlength=len(data.class_ids)) > 0
        cls, image = data.dt_class[found.kept], data.dt_image[found.kept]
        self.curves = ClassCurves(cls, image, correct, forgiven, present)

    def per_class(self, counts: Array) -> Array:
        """Return (thresholds, K, R) float64, AP in 0-1; NaN for a class without objects in a resample.

        Args:
            counts: (images, R) int32, how often each image was drawn.
        """
        objects = np.asarray(self.objects @ counts)
        return np.where(objects > 0, self.curves.ap(counts, objects), np.nan)

    def ap(self, counts: Array) -> Array:
        """Return (R,) float64, AP in 0-1 of each resample.

        Args:
            counts: (images, R) int32, how often each image was drawn.
        """
        return class_mean(self.per_class(counts).mean(axis=0))


def class_mean(values: Array) -> Array:
    """Return the mean (R,) over the classes (K, R) that have objects; NaN where none has."""
    defined = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(defined, values, 0.0).sum(axis=0) / defined.sum(axis=0)
    return mean


def object_table(data: CocoData, rows: Array) -> Any:
    """Return a sparse table (K, images) int32 of the numbers of objects.

    Args:
        data: the ground truth.
        rows: (G,) bool, objects that count.
    """
    from scipy import sparse

    shape = len(data.class_ids), len(data.image_ids)
    ones = np.ones(int(rows.sum()), np.int32)
    # csr_matrix sums entries of the same class and image.
    return sparse.csr_matrix((ones, (data.gt_class[rows], data.gt_image[rows])), shape=shape)


def _class(image: Array, correct: Sequence[Array], forgiven: Sequence[Array]) -> _Class:
    """One class: detections in order of falling score, (N,) each; `correct`, `forgiven`: one array a threshold."""
    from scipy import sparse

    steps = np.flatnonzero(np.any(correct, axis=0))
    many = int(steps[-1]) + 1 if len(steps) else 0
    bounds = np.append(0, steps + 1)
    table = sparse.csr_matrix(
        (np.ones(many, np.int32), image[:many].astype(np.int32), bounds.astype(np.int32)),
        shape=(len(steps), int(image.max()) + 1 if len(image) else 0),
    )
    levels = []
    for true, free in zip(correct, forgiven, strict=True):
        hits, gone = np.flatnonzero(true), np.flatnonzero(free)
        levels.append(_Level(np.searchsorted(steps, hits), image[hits], image[gone], np.searchsorted(gone, hits)))
    return _Class(table, tuple(levels))


def _class_ap(one: _Class, objects: Array, counts: Array, out: Array) -> None:
    """Write AP of one class at each of its thresholds to `out`, (L, R)."""
    so_far = np.cumsum(one.steps @ counts[: one.steps.shape[1]], axis=0, dtype=np.int32)  # (u, R)
    table, offset = _reached(objects)
    for at, level in enumerate(one.levels):
        if not len(level.place):
            continue
        true = np.cumsum(counts[level.image], axis=0, dtype=np.int32)
        kept = so_far[level.place]
        if len(level.forgiven_image):
            gone = np.cumsum(counts[level.forgiven_image], axis=0, dtype=np.int32)
            kept -= np.concatenate([np.zeros_like(gone[:1]), gone])[level.forgiven_before]
        # No copy of a true positive, no step in recall: its precision is that of the one before, or lower, and unused.
        best = np.maximum.accumulate((true / np.maximum(kept, 1))[::-1], axis=0)[::-1]
        points = table.take(true + offset, mode="clip")
        points[1:] -= points[:-1].copy()
        out[at] = np.einsum("ij,ij->j", best, points) / len(_POINTS)


def _reached(objects: Array) -> tuple[Array, Array]:
    """Return a table and an offset for each resample: T of n objects reach table[offset + T] of the 101 recall points.

    The comparison is COCO's own, in floating point: 35 of 100 objects do not reach the point 0.35000000000000003.
    """
    sizes, which = np.unique(objects, return_inverse=True)
    begins = np.cumsum(sizes + 1) - (sizes + 1)
    true = np.arange(int((sizes + 1).sum())) - np.repeat(begins, sizes + 1)
    recall = true / np.repeat(np.maximum(sizes, 1), sizes + 1)
    table = np.searchsorted(_POINTS, recall, side="right")
    table[true == 0] = 0  # even the recall point 0 needs one true positive
    return table.astype(np.uint8), begins[which]


def draws(images: int, resamples: int, seed: int, block: int = _BLOCK) -> Iterator[Array]:
    """Yield blocks of counts (images, up to `block`) int32: each column is `images` draws with replacement.

    The same seed gives the same columns, whatever the size of a block.
    """
    rng = np.random.default_rng(seed)
    for begin in range(0, resamples, block):
        columns = [
            np.bincount(rng.integers(0, images, images), minlength=images) for _ in range(min(block, resamples - begin))
        ]
        yield np.ascontiguousarray(np.array(columns, np.int32).T)


def resampled(curves: Sequence[Curves], resamples: int, seed: int) -> Array:
    """Return AP, (len(curves), resamples); every checkpoint has the same draws, so differences are paired."""
    blocks = [[one.ap(counts) for one in curves] for counts in draws(curves[0].images, resamples, seed)]
    return np.concatenate([np.array(block) for block in blocks], axis=1)
