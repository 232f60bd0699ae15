"""Which detection found which object: COCO's greedy matching for whole data sets, in numpy.

COCO lets the detections of one image and class choose in order of falling score; each takes the free object it overlaps
most. That is sequential inside an image and class, and independent between them. So the detections are dealt with in
rounds: round r treats the r-th candidate of every image and class at once. A detection that overlaps no object of its
class enough is no candidate, which leaves a handful of rounds.

The arithmetic of an overlap is that of pycocotools, operation by operation, so that thresholds cut at the same place.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from analysis.inputs import Array, Prepared

MAX_DETECTIONS = 100  # per image and class, as in COCO
_PAIRS_AT_ONCE = 1_000_000  # bounds memory: about 100 MiB of temporaries


@dataclass(frozen=True)
class Overlaps:
    """What does not depend on the IoU threshold. Rows of `kept` are detections inside COCO's limit per image and class.

    Detections are addressed by their place in `kept`, which is sorted by class, falling score, image, list order: the
    order of COCO's precision-recall curve.
    """

    kept: Array  # (N,) rows of the Prepared detections
    same_iou: Array  # (N,) best IoU with an object of the same class, 0 if none
    same_gt: Array  # (N,) that object, -1 if none; of equals the first in the file
    other_iou: Array  # (N,) best IoU with an object of another class
    other_gt: Array  # (N,) that object; of equals the one of the lowest class, then the first in the file
    crowd_share: Array  # (N,) largest part of the detection inside one crowd region of its class
    pair_dt: Array  # (P,) same-class pairs with IoU > 0, rising in detection, IoU and object
    pair_gt: Array  # (P,)
    pair_iou: Array  # (P,)


def kept_detections(data: Prepared, limit: int = MAX_DETECTIONS) -> Array:
    """Rows of the best `limit` detections per image and class, in the order of COCO's precision-recall curve."""
    rows: Array = np.arange(len(data.dt_score))
    cell = data.dt_image * len(data.class_ids) + data.dt_class
    if np.bincount(cell, minlength=1).max() > limit:
        order = np.lexsort((-data.dt_score, cell))  # stable: equal scores stay in list order
        starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
        place = np.arange(len(order)) - np.repeat(starts, np.diff(starts, append=len(order)))
        rows = np.sort(order[place < limit])
    for key in (data.dt_image, -data.dt_score, data.dt_class.astype(np.int32)):  # stable, so the last sorts first
        rows = rows[np.argsort(key[rows], kind="stable")]
    return rows


def overlaps(data: Prepared) -> Overlaps:
    """Compare every detection with every ground-truth box of its image. Computed once per `Prepared`."""
    if "overlaps" not in data.cache:
        data.cache["overlaps"] = _overlaps(data)
    found: Overlaps = data.cache["overlaps"]
    return found


def _overlaps(data: Prepared) -> Overlaps:
    kept = kept_detections(data)
    n = len(kept)
    same_iou, other_iou, crowd_share = np.zeros(n), np.zeros(n), np.zeros(n)
    same_gt, other_gt = np.full(n, -1), np.full(n, -1)
    pairs: list[tuple[Array, Array, Array]] = []

    gt_order = np.lexsort((data.gt_class, data.gt_image))  # by image, then class, then file order
    per_image = np.bincount(data.gt_image, minlength=len(data.image_ids))
    first = np.cumsum(per_image) - per_image
    image = data.dt_image[kept]
    ends = np.cumsum(per_image[image])  # pairs up to and including each detection
    begin = 0
    while begin < n:
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        many = per_image[image[begin:end]]
        dt = np.repeat(np.arange(begin, end), many)
        inside = np.arange(len(dt)) - np.repeat(np.cumsum(many) - many, many)
        gt = gt_order[np.repeat(first[image[begin:end]], many) + inside]
        begin = end
        dt, gt, iou = _touching(data, kept, dt, gt)
        same = data.dt_class[kept[dt]] == data.gt_class[gt]
        crowd = data.gt_crowd[gt]
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


def _touching(data: Prepared, kept: Array, dt: Array, gt: Array) -> tuple[Array, Array, Array]:
    """The pairs that overlap, with their IoU; against a crowd region the union is the detection's own area."""
    ax, ay, aw, ah = data.dt_box[kept[dt]].T
    bx, by, bw, bh = data.gt_box[gt].T
    width = np.minimum(aw + ax, bw + bx) - np.maximum(ax, bx)
    height = np.minimum(ah + ay, bh + by) - np.maximum(ay, by)
    at = np.flatnonzero((width > 0) & (height > 0))
    inter = width[at] * height[at]
    own = aw[at] * ah[at]
    union = np.where(data.gt_crowd[gt[at]], own, own + bw[at] * bh[at] - inter)
    return dt[at], gt[at], inter / union


def match(data: Prepared, found: Overlaps, iou: float) -> Array:
    """COCO's greedy matching at one IoU threshold: (N,) object of each kept detection, -1 where none.

    Among free objects the one with the largest IoU is taken; of equal ones the last in file order, as COCO does.
    """
    enough = found.pair_iou >= min(iou, 1 - 1e-10)
    dt, gt = found.pair_dt[enough], found.pair_gt[enough]
    taken_by = np.full(len(found.kept), -1)
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
        now = now[free[gt[now]]]
        if len(now):
            best = now[np.append(dt[now][1:] != dt[now][:-1], True)]  # pairs rise in IoU: the last is the best
            taken_by[dt[best]] = gt[best]
            free[gt[best]] = False
    return taken_by


def inside_crowd(found: Overlaps, taken_by: Array, iou: float) -> Array:
    """(N,) bool: detections COCO forgives, unmatched and inside a crowd region of their class by at least `iou`."""
    return (taken_by < 0) & (found.crowd_share >= min(iou, 1 - 1e-10))
