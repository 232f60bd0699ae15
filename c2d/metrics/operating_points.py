"""Precision, recall and F1 at every score threshold, from COCO's own matching at one IoU.

A detection of class k with a score of at least t is a true positive where COCO's greedy matching gives it an object
(`c2d.metrics.matching`), else a false positive; detections that COCO ignores because of a crowd region are left out. At
most 100 detections per image and class count. Raising the threshold never changes a match: a detection is matched
before all those with lower scores.

    precision P(t) = TP / (TP + FP)     recall R(t) = TP / objects     F1(t) = 2 TP / (TP + FP + objects)

`interpolated_precision` is COCO's curve (largest precision at a recall of at least r, at 101 recall points); its mean
over the recall points is the AP of that class and IoU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import compute_overlaps, inside_crowd, match
from c2d.metrics.tide_errors import RECALLS, precision_at_recalls

VERSION = "1"
"""Of the definitions here, in `confusion_matrix` and in `detection_calibration`; a change that moves a number raises
it."""
THRESHOLDS: Array = np.arange(101) / 100
"""Score thresholds 0, 0.01, ..., 1."""


@dataclass(frozen=True)
class ScoredMatches:
    """Detections that count at one IoU threshold, ordered by class, then falling score.

    Attributes:
        cls: (n,) int64 class of each, rising.
        score: (n,) float64.
        correct: (n,) bool, matched to an object.
        iou: (n,) float64 in 0-1, IoU with the matched object; NaN where there is none.
        objects: (K,) int64, objects of each class without crowd regions.
    """

    cls: Array
    score: Array
    correct: Array
    iou: Array
    objects: Array

    @property
    def bounds(self) -> Array:
        """Return (K + 1,) int64: class k has the rows bounds[k] to bounds[k + 1]."""
        return np.searchsorted(self.cls, np.arange(len(self.objects) + 1))


def scored_matches(data: CocoData, iou: float) -> ScoredMatches:
    """Match the detections as COCO does.

    Args:
        data: ground truth and detections.
        iou: threshold in 0-1.
    """
    found = compute_overlaps(data)
    taken = match(data, found, iou)
    counted = ~inside_crowd(found, taken, iou)
    matched = np.full(len(taken), np.nan)
    own = taken[found.pair_dt] == found.pair_gt
    matched[found.pair_dt[own]] = found.pair_iou[own]
    rows = found.kept[counted]
    return ScoredMatches(
        data.dt_class[rows], data.dt_score[rows], taken[counted] >= 0, matched[counted], data.objects_per_class
    )


def interpolated_precision(matches: ScoredMatches) -> Array:
    """Return COCO's precision (K, 101) float64 at the recall points; NaN for classes without objects."""
    out = np.full((len(matches.objects), RECALLS), np.nan)
    bounds = matches.bounds
    for k in np.flatnonzero(matches.objects):
        ranks = np.flatnonzero(matches.correct[bounds[k] : bounds[k + 1]]) + 1
        reached = precision_at_recalls(ranks, int(matches.objects[k]))
        out[k] = 0.0
        out[k, : len(reached)] = reached
    return out


def counts_at(matches: ScoredMatches, thresholds: Array = THRESHOLDS) -> tuple[Array, Array]:
    """Return true positives (K, T) and detections (K, T), both int64, with a score of at least each threshold.

    Args:
        matches: of `scored_matches`.
        thresholds: (T,) float64 scores.
    """
    shape = len(matches.objects), len(thresholds)
    true, found = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    bounds = matches.bounds
    for k in range(len(matches.objects)):
        mine = slice(bounds[k], bounds[k + 1])
        found[k] = np.searchsorted(-matches.score[mine], -thresholds, side="right")
        true[k] = np.append(0, np.cumsum(matches.correct[mine]))[found[k]]
    return true, found


def f1(true: Array, found: Array, objects: Array) -> Array:
    """Return F1 in 0-1, 2 TP / (detections + objects); NaN where there are no objects.

    Args:
        true: true positives, any shape.
        found: detections, the same shape.
        objects: broadcasts to that shape.
    """
    objects = np.broadcast_to(objects, true.shape)
    return np.divide(2.0 * true, found + objects, out=np.full(true.shape, np.nan), where=objects > 0)


def micro_f1(true: Array, found: Array, objects: Array) -> Array:
    """Return F1 (T,) of the counts summed over all classes, those without objects included.

    Args:
        true, found: (K, T) of `counts_at`.
        objects: (K,).
    """
    return f1(true.sum(axis=0), found.sum(axis=0), objects.sum())


def macro_f1(true: Array, found: Array, objects: Array) -> Array:
    """Return the mean (T,) over classes with objects of their F1; NaN where no class has one.

    Args:
        true, found: (K, T) of `counts_at`.
        objects: (K,).
    """
    there = objects > 0
    if not there.any():
        return np.full(true.shape[1], np.nan)
    mean: Array = f1(true, found, objects[:, None])[there].mean(axis=0)
    return mean


def working_point(data: CocoData, iou: float, given: float | None = None) -> tuple[float | None, float | None]:
    """Return the score with the largest F1 over all classes together, and that F1; of equal ones the highest score.

    Args:
        data: ground truth and detections.
        iou: from which an object is found, 0-1.
        given: a score to use in its place.

    Returns:
        (score, F1 in 0-1); the score is None without detections that count, F1 without objects.
    """
    matches = scored_matches(data, iou)
    order = np.argsort(-matches.score, kind="stable")
    score, true = matches.score[order], np.cumsum(matches.correct[order])
    # A threshold cannot separate equal scores: the last of them has all.
    last = np.flatnonzero(np.append(score[1:] != score[:-1], True)[: len(score)])
    values = f1(true[last], last + 1, matches.objects.sum())
    if given is not None:
        at = int((score[last] >= given).sum()) - 1
        reached = float(values[at]) if at >= 0 else 0.0
        return given, reached if matches.objects.any() else None
    if not len(last):
        return None, None
    if not matches.objects.any():
        return float(score[0]), None
    at = int(np.argmax(values))
    return float(score[last[at]]), float(values[at])
