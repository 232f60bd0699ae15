"""How wrong a detector is on an image, and the order of the images that follows from it.

The error of an image, at a score threshold t, is

    sum of the scores of its false positives with a score of at least t  +  number of its objects that are not found

so a confident mistake weighs as much as a missed object. t is the score with the best F1 over all classes, for each run
its own: two detectors rarely have scores of the same scale. The scripts of the page compute the same at any t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analysis.browse.browse_source import DetectionSet
from c2d.metrics import coco
from c2d.metrics.box_verdicts import OBJECT_VERDICTS, VERDICTS, BoxVerdicts, judge_boxes, object_verdicts
from c2d.metrics.coco_data import Array
from c2d.metrics.operating_points import THRESHOLDS, counts_at, micro_f1, scored_matches
from c2d.metrics.tide_errors import MAIN

_CORRECT, _IGNORED = VERDICTS.index("correct"), VERDICTS.index("ignored")
_FOUND, _CROWD = OBJECT_VERDICTS.index("found"), OBJECT_VERDICTS.index("crowd")
_MISS = OBJECT_VERDICTS.index("Miss")


@dataclass(frozen=True)
class JudgedSet:
    """Detections with their verdicts.

    Attributes:
        detections: name and boxes.
        verdicts: of all boxes.
        ap: COCO's AP in 0-1; None without objects.
        score: the threshold with the best F1, in 0-1.
        f1: F1 there; NaN without objects.
        counts: {TIDE type: number of errors} at that threshold.
        error: (images,) float64, error of each image at that threshold.
    """

    detections: DetectionSet
    verdicts: BoxVerdicts
    ap: float | None
    score: float
    f1: float
    counts: dict[str, int]
    error: Array


def judge_set(detections: DetectionSet, iou: float, min_score: float) -> JudgedSet:
    """Judge all boxes of one run.

    Args:
        detections: of the run.
        iou: of a correct localisation, 0-1.
        min_score: smallest threshold, 0-1; boxes below it are not on the page.
    """
    data = detections.data
    verdicts = judge_boxes(data, iou)
    score, f1 = _best_score(detections, iou, min_score)
    kind = np.where(data.dt_score >= score, verdicts.verdict, _IGNORED)
    objects, _ = object_verdicts(data, kind, verdicts.gt)
    wrong = kind < _CORRECT
    lost = (objects != _FOUND) & (objects != _CROWD)
    n = len(data.image_ids)
    error = np.bincount(data.dt_image[wrong], data.dt_score[wrong], minlength=n)
    error = error + np.bincount(data.gt_image[lost], minlength=n)
    numbers = [*np.bincount(kind[wrong], minlength=len(MAIN) - 1).tolist(), int((objects == _MISS).sum())]
    ap = coco.evaluate(data)["AP"]
    return JudgedSet(detections, verdicts, ap, score, f1, dict(zip(MAIN, numbers, strict=True)), error)


def _best_score(detections: DetectionSet, iou: float, min_score: float) -> tuple[float, float]:
    matches = scored_matches(detections.data, iou)
    allowed = THRESHOLDS[min_score <= THRESHOLDS]
    f1 = micro_f1(*counts_at(matches, allowed), matches.objects)
    if np.isnan(f1).all():
        return float(allowed[0]), float("nan")
    best = int(np.nanargmax(f1))
    return float(allowed[best]), float(f1[best])


def error_order(sets: Sequence[JudgedSet]) -> Array:
    """Return the images (n,) int64 by falling error; of two runs the larger error counts, equal ones keep their order.

    Args:
        sets: one or two runs on the same images.
    """
    worst = np.max([one.error for one in sets], axis=0)
    return np.argsort(-worst, kind="stable")
