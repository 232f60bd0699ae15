"""Compute the TIDE error types at one IoU threshold, and AP before and after fixing each, in numpy.

`classify` gives every false positive and every missed object its type; `TideErrors.aps` gives AP of each class before
and after each oracle. The definitions are in `c2d.metrics.tide`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.matching import Overlaps, Tie, compute_overlaps, inside_crowd, kept_detections, match

MAIN = ("Cls", "Loc", "Both", "Dupe", "Bkg", "Miss")
SPECIAL = ("FalsePos", "FalseNeg")
SIZES = ("small", "medium", "large")
_CLS, _LOC, _BOTH, _DUPE, _BKG = range(5)
_CORRECT, _FORGIVEN = 5, 6
KINDS = (*MAIN[:5], "correct", "ignored")
"""Names of the values of `ErrorTypes.kind`."""
RECALLS = 101
"""Recall points 0, 0.01, ..., 1 of COCO."""


@dataclass(frozen=True)
class ErrorTypes:
    """The type of each kept detection (N) and each object (G). Rows as in `Overlaps` and `CocoData`."""

    kind: Array  # (N,) position in KINDS; ignored is a detection inside a crowd region
    taken: Array  # (N,) object that a correct detection is matched to, -1 for the others
    aim: Array  # (N,) object that a Cls or Loc error overlaps most, -1 for other types
    promoted: Array  # (N,) bool: fixing this error yields a true positive for `aim`
    unmatched: Array  # (G,) bool: objects without a correct detection (not crowd regions)
    missed: Array  # (G,) bool: those of them that no Cls or Loc error has as `aim`
    size: Array  # (N,) position in SIZES of an error: of `aim` for Cls and Loc, else of the detection itself
    gt_size: Array  # (G,) position in SIZES


def size_of(area: Array) -> Array:
    """Return positions in SIZES (same shape): small up to 32 x 32 px^2, medium up to 96 x 96 px^2, else large.

    Args:
        area: any shape, areas in px^2.
    """
    return np.searchsorted([32.0**2, 96.0**2], area, side="left")


def classify(data: CocoData, found: Overlaps, iou: float, background: float, tie: Tie = "last") -> ErrorTypes:
    """Give detections and objects their types; the order of the tests is tidecv's: Loc, Cls, Dupe, Bkg, Both.

    Args:
        data: ground truth and detections.
        found: their overlaps.
        iou: IoU of a correct localisation, 0-1.
        background: IoU up to which a detection is on background, 0-1.
        tie: which of two equally overlapped objects a detection is matched to.
    """
    taken = match(data, found, iou, tie=tie)
    # Later lines overwrite earlier ones, so the tests are in reverse order: the last one that holds decides.
    kind = np.full(len(taken), _BOTH)
    kind[found.other_iou <= background] = _BKG
    kind[found.same_iou > iou] = _DUPE  # not matched: a detection with a higher score has that object
    kind[found.other_iou >= iou] = _CLS
    kind[(found.same_iou >= background) & (found.same_iou <= iou)] = _LOC
    kind[inside_crowd(found, taken, iou)] = _FORGIVEN
    kind[taken >= 0] = _CORRECT

    unmatched = ~data.gt_crowd
    unmatched[taken[taken >= 0]] = False
    aim = np.where(kind == _LOC, found.same_gt, np.where(kind == _CLS, found.other_gt, -1))
    # An object can be won back once: by the error with the highest score, be it Cls or Loc.
    runners = np.flatnonzero(aim >= 0)
    runners = runners[unmatched[aim[runners]]]
    rows = found.kept[runners]
    best_first = runners[np.lexsort((rows, -data.dt_score[rows]))]
    first_at = np.unique(aim[best_first], return_index=True)[1]
    promoted = np.zeros(len(kind), bool)
    promoted[best_first[first_at]] = True
    missed = unmatched.copy()
    missed[aim[runners]] = False

    gt_size = size_of(data.gt_area)
    box = data.dt_box[found.kept]
    size = size_of(box[:, 2] * box[:, 3])
    size[aim >= 0] = gt_size[aim[aim >= 0]]
    return ErrorTypes(kind, taken, aim, promoted, unmatched, missed, size, gt_size)


@dataclass(frozen=True)
class OracleList:
    """The detections (N) after the errors of one type are fixed, and the objects (G) that need not be found."""

    cls: Array  # (N,) class, rising; inside a class in order of falling score
    image: Array  # (N,) image
    keep: Array  # (N,) bool, detections that count
    correct: Array  # (N,) bool, true positives
    gone: Array  # (G,) bool, objects that no longer have to be found


class TideErrors:
    """TIDE errors of one data set at one threshold: AP per class before and after each oracle, and counts.

    Args:
        data: ground truth and detections.
        iou: IoU of a correct localisation, 0-1.
        background: IoU up to which a detection is on background, 0-1.
        tie: which of two equally overlapped objects a detection is matched to.
    """

    def __init__(self, data: CocoData, iou: float, background: float, tie: Tie = "last") -> None:
        self.data, self.found = data, compute_overlaps(data)
        self.result = classify(data, self.found, iou, background, tie)
        box = data.dt_box[self.found.kept]
        self.box_size = size_of(box[:, 2] * box[:, 3])

    def native(self) -> None:
        """Return None: only the reference engine reports its numbers in a second way."""

    def counts(self, size: int | None = None) -> Array:
        """Return the errors per class and main type, (K, 6) int64; false positives count for the detection's class.

        Args:
            size: count only errors of this size (position in SIZES); None counts all.
        """
        data, result, classes = self.data, self.result, len(self.data.class_ids)
        errors = (result.kind < _CORRECT) & (size is None or result.size == size)
        table = np.bincount(data.dt_class[self.found.kept[errors]] * 6 + result.kind[errors], minlength=classes * 6)
        table = table.reshape(classes, 6)
        missed = result.missed & (size is None or result.gt_size == size)
        table[:, MAIN.index("Miss")] = np.bincount(data.gt_class[missed], minlength=classes)
        return table

    def aps(self, size: int | None = None) -> dict[str, Array]:
        """Return AP of each class, (K,) in 0-1, as it is ("AP") and after each oracle; NaN without ground truth.

        Args:
            size: fix only errors of this size (position in SIZES); None fixes all of a type.
        """
        data, objects = self.data, self.data.objects_per_class
        out = {}
        for name, one in self.oracle_lists(size):
            remaining = objects - np.bincount(data.gt_class[one.gone], minlength=len(objects))
            out[name] = np.where(objects > 0, average_precision(one.cls, one.keep, one.correct, remaining), np.nan)
        return out

    def oracle_lists(self, size: int | None = None) -> Iterator[tuple[str, OracleList]]:
        """Yield ("AP", the list of detections as it is), then each oracle's name and list.

        Args:
            size: fix only errors of this size (position in SIZES); None fixes all of a type.
        """
        data, result = self.data, self.result
        cls, image = data.dt_class[self.found.kept], data.dt_image[self.found.kept]
        correct, counted, wrong = result.kind == _CORRECT, result.kind != _FORGIVEN, result.kind < _CORRECT
        nothing = np.zeros(len(data.gt_class), bool)
        of_size = size is None or result.gt_size == size
        yield "AP", OracleList(cls, image, counted, correct, nothing)
        for code, name in enumerate(MAIN[:5]):
            fixing = (result.kind == code) & (size is None or result.size == size)
            won = fixing & result.promoted
            if code == _CLS:  # the corrected detection moves into the curve of its object's class
                rows, where, to = _places(data, self.found, cls, result, won)
                keep, true = np.insert(counted & ~fixing, where, True), np.insert(correct, where, True)
                moved = np.insert(cls, where, to), np.insert(image, where, image[rows])
                yield name, OracleList(*moved, keep, true, nothing)
            else:
                yield name, OracleList(cls, image, counted & ~fixing | won, correct | won, nothing)
        yield "Miss", OracleList(cls, image, counted, correct, result.missed & of_size)
        wrong = wrong & (size is None or self.box_size == size)
        yield "FalsePos", OracleList(cls, image, counted & ~wrong, correct, nothing)
        yield "FalseNeg", OracleList(cls, image, counted, correct, result.unmatched & of_size)


def countable_rows(data: CocoData, iou: float) -> tuple[Array, Array]:
    """Return the rows that count: no crowd regions, and no detections that COCO ignores because of one.

    Matching is the same without them, so an engine that handles crowd regions in another way gives the same numbers.

    Args:
        data: ground truth and detections.
        iou: threshold in 0-1.

    Returns:
        (g,) int64 rows of objects, and (d,) int64 rows of detections in list order, at most 100 per image and class.
    """
    rows = np.sort(kept_detections(data))
    crowded = np.zeros(len(data.image_ids), bool)
    crowded[data.gt_image[data.gt_crowd]] = True
    near = rows[crowded[data.dt_image[rows]]]
    part = data.subset(np.flatnonzero(crowded[data.gt_image]), near)
    found = compute_overlaps(part)
    forgiven = near[found.kept[inside_crowd(found, match(part, found, iou), iou)]]
    return np.flatnonzero(~data.gt_crowd), np.setdiff1d(rows, forgiven, assume_unique=True)


def _places(data: CocoData, found: Overlaps, cls: Array, result: ErrorTypes, won: Array) -> tuple[Array, Array, Array]:
    """Promoted Cls errors, and where they enter which curves: after equal scores of that class."""
    rows = np.flatnonzero(won)
    score, to = data.dt_score[found.kept], data.gt_class[result.aim[rows]]
    order = np.lexsort((rows, -score[rows], to))
    rows, to = rows[order], to[order]
    where = np.empty(len(rows), np.int64)
    begins = np.searchsorted(cls, np.arange(len(data.class_ids) + 1))
    for k in np.unique(to):
        begin, end = begins[k], begins[k + 1]
        where[to == k] = begin + np.searchsorted(-score[begin:end], -score[rows[to == k]], side="right")
    return rows, where, to


def average_precision(cls: Array, keep: Array, correct: Array, objects: Array) -> Array:
    """Return COCO's 101-point AP in 0-1 of every class, (K,); 0 without objects or without true positives.

    Args:
        cls: (N,) class of each detection, rising; inside a class in order of falling score.
        keep: (N,) bool, detections that count.
        correct: (N,) bool, true positives (all of them kept).
        objects: (K,) number of objects.
    """
    out = np.zeros(len(objects))
    so_far = np.cumsum(keep)
    hits = np.flatnonzero(correct)
    begins = np.searchsorted(cls, np.arange(len(objects) + 1))
    before = np.append(0, so_far)[begins[:-1]]
    rank = so_far[hits] - before[cls[hits]]  # place among the kept detections of its class, from 1
    bounds = np.searchsorted(hits, begins)
    for k in np.flatnonzero(objects):
        ranks = rank[bounds[k] : bounds[k + 1]]
        if not len(ranks):
            continue
        out[k] = precision_at_recalls(ranks, int(objects[k])).sum() / RECALLS
    return out


def precision_at_recalls(ranks: Array, objects: int) -> Array:
    """Return COCO's precision at the recall points that are reached, (r,) float64; at those behind them it is 0.

    Args:
        ranks: (t,) int64, places from 1 of the true positives among the detections that count, best score first.
        objects: number of objects of the class, 1 at least.
    """
    # Precision can only rise at a true positive, so the interpolated curve is known from these alone.
    precision = np.arange(1, len(ranks) + 1) / ranks
    best: Array = np.maximum.accumulate(precision[::-1])[::-1]
    needed = _hits_needed(objects)
    return best[needed[needed < len(ranks)]]


@lru_cache(maxsize=65536)
def _hits_needed(objects: int) -> Array:
    """For COCO's 101 recall points the true positive (from 0) that first reaches them, (101,)."""
    recall = np.arange(1, objects + 1) / objects
    return np.searchsorted(recall, np.linspace(0.0, 1.0, RECALLS), side="left")
