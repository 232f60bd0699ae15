"""Match detections to objects: COCO's greedy matching for whole data sets, in numpy.

COCO goes through the detections of one image and class in order of falling score; each is matched to the free object
with the largest IoU. This is sequential inside an image and class, and independent between them. So the detections are
matched in rounds: round r has the r-th candidate of every image and class. A detection whose IoU with every object of
its class is below the threshold is no candidate, so there are few rounds.

The arithmetic of an overlap is that of pycocotools, operation by operation, so that thresholds cut at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np

from c2d.metrics.coco_data import Array, CocoData

MAX_DETECTIONS = 100  # per image and class, as in COCO
_PAIRS_AT_ONCE = 50_000  # temporaries of one step stay in the processor's cache: a fifth faster than a million


@dataclass(frozen=True)
class Overlaps:
    """Overlaps of N detections with objects; they do not depend on the IoU threshold. IoU is in 0-1.

    `kept` has the detections inside COCO's limit per image and class, in the order of COCO's precision-recall curve:
    class, falling score, image, list order. The other arrays refer to detections by their position in `kept`.
    """

    kept: Array  # (N,) rows of the CocoData detections
    same_iou: Array  # (N,) best IoU with an object of the same class, 0 if none
    same_gt: Array  # (N,) that object, -1 if none; of equals the first in the file
    other_iou: Array  # (N,) best IoU with an object of another class
    other_gt: Array  # (N,) that object; of equals the one of the lowest class, then the first in the file
    crowd_share: Array  # (N,) largest part of the detection inside one crowd region of its class
    pair_dt: Array  # (P,) same-class pairs with IoU > 0, rising in detection, IoU and object
    pair_gt: Array  # (P,)
    pair_iou: Array  # (P,)


def ranked_detections(data: CocoData) -> Array:
    """Return all rows (D,) int64 in the order of the precision-recall curve: class, falling score, image, row."""
    if "ranked" not in data.cache:
        classes = data.dt_class.astype(np.min_scalar_type(len(data.class_ids)))  # short integers sort faster
        rows: Array = np.arange(len(data.dt_score))
        for key in (data.dt_image, -data.dt_score, classes):  # stable, so the last sorts first
            rows = rows[np.argsort(key[rows], kind="stable")]
        data.cache["ranked"] = rows
    ranked: Array = data.cache["ranked"]
    return ranked


def kept_detections(data: CocoData, limit: int = MAX_DETECTIONS) -> Array:
    """Return the rows (N,) int64 of the best detections, in the order of COCO's precision-recall curve.

    Args:
        data: the detections.
        limit: largest number per image and class.
    """
    rows = ranked_detections(data)
    cell = data.dt_image * len(data.class_ids) + data.dt_class
    if np.bincount(cell, minlength=1).max() > limit:
        order = np.argsort(cell[rows], kind="stable")  # inside a cell by falling score, equal ones in list order
        starts = np.flatnonzero(np.diff(cell[rows[order]], prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        rows = rows[np.sort(order[place < limit])]
    return rows


def compute_overlaps(data: CocoData) -> Overlaps:
    """Return the overlaps of every detection with every object of its image. Computed once per `CocoData`."""
    if "overlaps" not in data.cache:
        data.cache["overlaps"] = _overlaps(data)
    found: Overlaps = data.cache["overlaps"]
    return found


def _overlaps(data: CocoData) -> Overlaps:
    kept = kept_detections(data)
    n = len(kept)
    same_iou, other_iou, crowd_share = np.zeros(n), np.zeros(n), np.zeros(n)
    same_gt, other_gt = np.full(n, -1), np.full(n, -1)
    pairs: list[tuple[Array, Array, Array]] = []

    gt_order = np.lexsort((data.gt_class, data.gt_image))  # by image, then class, then file order
    gt_class, gt_crowd = data.gt_class[gt_order], data.gt_crowd[gt_order]
    a, b = _Edges.of(data.dt_box[kept]), _Edges.of(data.gt_box[gt_order])
    per_image = np.bincount(data.gt_image, minlength=len(data.image_ids))
    first = np.cumsum(per_image) - per_image
    image, cls = data.dt_image[kept], data.dt_class[kept]
    ends = np.cumsum(per_image[image])  # pairs up to and including each detection
    begin = 0
    while begin < n:
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        many = per_image[image[begin:end]]
        dt = np.repeat(np.arange(begin, end), many)
        inside = np.arange(len(dt)) - np.repeat(np.cumsum(many) - many, many)
        at = np.repeat(first[image[begin:end]], many) + inside  # place in gt_order
        begin = end
        dt, at, iou = _touching(a, b, gt_crowd, dt, at)
        gt, same, crowd = gt_order[at], cls[dt] == gt_class[at], gt_crowd[at]
        np.maximum.at(crowd_share, dt[same & crowd], iou[same & crowd])
        for mask, best_iou, best_gt in ((same & ~crowd, same_iou, same_gt), (~same & ~crowd, other_iou, other_gt)):
            np.maximum.at(best_iou, dt[mask], iou[mask])
            top = mask & (iou == best_iou[dt])
            best_gt[dt[top][::-1]] = gt[top][::-1]  # the last write stays: the first object in order
        keep = same & ~crowd
        pairs.append((dt[keep], gt[keep], iou[keep]))
    pair_dt, pair_gt, pair_iou = (np.concatenate(part) for part in zip(*pairs, strict=True)) if pairs else _no_pairs()
    order = np.lexsort((pair_gt, pair_iou, pair_dt))
    return Overlaps(
        kept, same_iou, same_gt, other_iou, other_gt, crowd_share, pair_dt[order], pair_gt[order], pair_iou[order]
    )


def _no_pairs() -> tuple[Array, Array, Array]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)


class _Edges(NamedTuple):
    """Boxes as edges, each (n,)."""

    left: Array
    top: Array
    right: Array
    bottom: Array
    area: Array

    @classmethod
    def of(cls, box: Array) -> _Edges:
        x, y, w, h = np.ascontiguousarray(box.T)
        return cls(x, y, w + x, h + y, w * h)


def _touching(a: _Edges, b: _Edges, b_crowd: Array, i: Array, j: Array) -> tuple[Array, Array, Array]:
    """Return the overlapping pairs (i of a, j of b) and their IoU; with a crowd region the union is the area of a."""
    width = np.minimum(a.right[i], b.right[j]) - np.maximum(a.left[i], b.left[j])
    near = np.flatnonzero(width > 0)  # most pairs end here
    i, j, width = i[near], j[near], width[near]
    height = np.minimum(a.bottom[i], b.bottom[j]) - np.maximum(a.top[i], b.top[j])
    near = np.flatnonzero(height > 0)
    i, j = i[near], j[near]
    inter = width[near] * height[near]
    own = a.area[i]
    union = np.where(b_crowd[j], own, own + b.area[j] - inter)
    return i, j, inter / union


Tie = Literal["last", "first"]
"""Which of two free objects with equal IoU is matched, in file order: COCO takes the last, tidecv the first."""


def match(data: CocoData, found: Overlaps, iou: float, ignored: Array | None = None, tie: Tie = "last") -> Array:
    """Match at one IoU threshold.

    Args:
        data: ground truth and detections.
        found: their overlaps.
        iou: threshold in 0-1.
        ignored: (G,) bool, objects that COCO ignores, e.g. those of another size: a detection takes one only for want
            of an object that counts. None: crowd regions alone.
        tie: the rule for free objects with equal IoU.

    Returns:
        (N,) int64, row of the object of each kept detection, -1 for none.
    """
    # pycocotools caps its thresholds in the same way.
    enough = found.pair_iou >= min(iou, 1 - 1e-10)
    dt, gt, overlap = found.pair_dt[enough], found.pair_gt[enough], found.pair_iou[enough]
    taken_by = np.full(len(found.kept), -1)
    if ignored is not None or tie == "first":
        counts = np.ones(len(gt), bool) if ignored is None else ~ignored[gt]
        # The best comes last: objects that count behind the others.
        order = np.lexsort((gt if tie == "last" else -gt, overlap, counts, dt))
        dt, gt, overlap = dt[order], gt[order], overlap[order]
    if not len(dt):
        return taken_by
    candidates = np.unique(dt)  # rising place = falling score inside a class
    cell = data.dt_image[found.kept[candidates]] * len(data.class_ids) + data.dt_class[found.kept[candidates]]
    order = np.argsort(cell, kind="stable")
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    turn = np.empty(len(candidates), np.int64)
    turn[order] = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
    turn_of_pair = turn[np.searchsorted(candidates, dt)]
    by_turn = np.argsort(turn_of_pair, kind="stable")
    bounds = np.searchsorted(turn_of_pair[by_turn], np.arange(turn.max() + 2))
    free = np.ones(len(data.gt_image), bool)
    for begin, end in pairwise(bounds):
        now = by_turn[begin:end]
        # A round has at most one detection of an image and class, so no two of them compete for an object.
        now = now[free[gt[now]]]
        if len(now):
            best = now[np.append(dt[now][1:] != dt[now][:-1], True)]  # pairs rise in IoU: the last is the best
            if ignored is not None:
                # A crowd region is ignored, too: the larger overlap decides, and it is never used up.
                best = best[~ignored[gt[best]] | (overlap[best] >= found.crowd_share[dt[best]])]
            taken_by[dt[best]] = gt[best]
            free[gt[best]] = False
    return taken_by


def inside_crowd(found: Overlaps, taken_by: Array, iou: float) -> Array:
    """Return (N,) bool: detections that COCO ignores, unmatched and inside a crowd region of their class.

    Args:
        found: the overlaps.
        taken_by: (N,) int64, result of `match`.
        iou: smallest part of the detection inside the region, 0-1.
    """
    return (taken_by < 0) & (found.crowd_share >= min(iou, 1 - 1e-10))
