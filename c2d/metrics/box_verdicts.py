"""Give every detection and every object its verdict, for pages and comparisons that show single boxes.

Nothing is matched here: types and matches are those of `c2d.metrics.tide_errors` and `c2d.metrics.matching`. Both
depend only on detections of a higher score, so leaving out those below a score changes no verdict of the others: the
verdicts of the objects at that score follow from the same rows (`object_verdicts`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import Overlaps, compute_overlaps
from c2d.metrics.tide import BACKGROUND
from c2d.metrics.tide_errors import KINDS, ErrorTypes, classify

VERDICTS = KINDS
"""Of detections: the five TIDE types of a false positive, then correct and ignored. Ignored are detections that COCO
does not count: inside a crowd region, or beyond the 100 best of their image and class."""
OBJECT_VERDICTS = ("found", "Cls", "Loc", "Miss", "crowd")
"""Of objects: matched by a correct detection; not matched, with the type of the best Cls or Loc error that belongs to
it; missed; a crowd region, which is no object."""
_CLS, _LOC, _BOTH, _DUPE, _BKG, _CORRECT, _IGNORED = range(len(VERDICTS))
_FOUND, _OF_CLS, _OF_LOC, _MISS, _CROWD = range(len(OBJECT_VERDICTS))


@dataclass(frozen=True)
class BoxVerdicts:
    """Verdicts of D detections and G objects, rows as in `CocoData`.

    Attributes:
        verdict: (D,) int64, position in VERDICTS.
        gt: (D,) int64, row of the object behind the verdict: matched (correct), overlapped most (Cls, Loc, Dupe, Both);
            -1 for Bkg and ignored.
        iou: (D,) float64 in 0-1, IoU with that object; of Bkg the largest with any object; 0 for ignored.
        gt_verdict: (G,) int64, position in OBJECT_VERDICTS.
        gt_dt: (G,) int64, row of the detection that decides it: the correct one, or the best Cls or Loc error; else -1.
    """

    verdict: Array
    gt: Array
    iou: Array
    gt_verdict: Array
    gt_dt: Array


def judge_boxes(
    data: CocoData, iou: float = 0.5, background: float = BACKGROUND, min_score: float = -np.inf
) -> BoxVerdicts:
    """Give every detection and every object its verdict.

    Args:
        data: ground truth and detections.
        iou: IoU of a correct localisation, 0-1.
        background: IoU up to which a detection is on background, 0-1.
        min_score: detections with a lower score are ignored.
    """
    found = compute_overlaps(data)
    types = classify(data, found, iou, background)
    total = len(data.dt_score)
    verdict, gt, overlap = np.full(total, _IGNORED), np.full(total, -1), np.zeros(total)
    verdict[found.kept] = types.kind
    gt[found.kept] = _object_behind(found, types)
    overlap[found.kept] = _overlap(found, types)
    low = data.dt_score < min_score
    verdict[low], gt[low], overlap[low] = _IGNORED, -1, 0.0
    return BoxVerdicts(verdict, gt, overlap, *object_verdicts(data, verdict, gt))


def object_verdicts(data: CocoData, verdict: Array, gt: Array) -> tuple[Array, Array]:
    """Derive the verdicts of the objects from those of the detections.

    Args:
        data: ground truth and detections.
        verdict: (D,) int64, as in `BoxVerdicts`; detections that shall not count are ignored ones.
        gt: (D,) int64, as in `BoxVerdicts`.

    Returns:
        `gt_verdict` and `gt_dt` of `BoxVerdicts`.
    """
    objects = np.where(data.gt_crowd, _CROWD, _MISS)
    by = np.full(len(objects), -1)
    errors = np.flatnonzero((verdict == _CLS) | (verdict == _LOC))
    # From the lowest score up, the last write stays; of equal scores the first in list order.
    errors = errors[np.lexsort((-errors, data.dt_score[errors]))]
    objects[gt[errors]] = np.where(verdict[errors] == _CLS, _OF_CLS, _OF_LOC)
    by[gt[errors]] = errors
    correct = np.flatnonzero(verdict == _CORRECT)
    objects[gt[correct]] = _FOUND
    by[gt[correct]] = correct
    return objects, by


def _object_behind(found: Overlaps, types: ErrorTypes) -> Array:
    """Rows of objects (N,) of the kept detections, -1 for none."""
    behind = np.where(types.kind == _CORRECT, types.taken, types.aim)
    behind = np.where(types.kind == _DUPE, found.same_gt, behind)
    return np.where(types.kind == _BOTH, found.other_gt, behind)


def _overlap(found: Overlaps, types: ErrorTypes) -> Array:
    """IoU (N,) of the kept detections with the object behind them."""
    of_pair = np.zeros(len(types.kind))
    # A better detection may have taken the best object, so the pair of the match is looked up.
    here = types.taken[found.pair_dt] == found.pair_gt
    of_pair[found.pair_dt[here]] = found.pair_iou[here]
    choices = {
        _CORRECT: of_pair,
        _LOC: found.same_iou,
        _DUPE: found.same_iou,
        _CLS: found.other_iou,
        _BOTH: found.other_iou,
        _BKG: np.maximum(found.same_iou, found.other_iou),
    }
    kinds = list(choices)
    return np.select([types.kind == kind for kind in kinds], [choices[kind] for kind in kinds], 0.0)
