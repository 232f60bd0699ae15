"""The matching of KITTI's evaluation tool, for all images and score thresholds at once.

The tool goes through the objects of an image in the order of the file (not through the detections by score), and again
for every score threshold: an object takes one of the detections that are left. Objects of different images are
independent, so the n-th objects of all images take theirs in one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from c2d.metrics.coco_data import Array


@dataclass(frozen=True)
class Candidates:
    """Pairs of an object and a detection that it may take.

    Attributes:
        gt: (P,) int64, rows of the objects; rising rows are the order of the file.
        dt: (P,) int64, rows of the detections; rising rows are the order of the file.
        iou: (P,) float64 in 0-1.
        score: (P,) float64, of the detections.
        counts: (P,) bool, the detection counts; False: it is smaller than the difficulty wants.
        image: (P,) int64.
    """

    gt: Array
    dt: Array
    iou: Array
    score: Array
    counts: Array
    image: Array

    def subset(self, rows: Array) -> Candidates:
        """Return some of the pairs, (p,) int64 or (P,) bool."""
        return Candidates(*(column[rows] for column in vars(self).values()))


def match_by_score(candidates: Candidates) -> Array:
    """Match with all detections; every object takes the one with the highest score, the first of equals.

    Returns:
        (M,) int64, pairs that are taken.
    """
    order = np.lexsort((candidates.dt, -candidates.score, candidates.gt))
    taken = _match(candidates, order, np.array([-np.inf]))
    return order[taken[0]]


def match_by_overlap(candidates: Candidates, thresholds: Array) -> tuple[Array, Array]:
    """Match at each threshold, with the detections of that score or a higher one.

    Every object takes the countable detection with the largest IoU, the first of equals; without a countable one, the
    first of the others.

    Args:
        candidates: the pairs.
        thresholds: (T,) float64.

    Returns:
        (order, taken): (P,) int64, an order of the pairs, and (T, P) bool, which of them in that order are taken.
    """
    preference = np.where(candidates.counts, -candidates.iou, 1.0)
    order = np.lexsort((candidates.dt, preference, candidates.gt))
    return order, _match(candidates, order, thresholds)


def _match(candidates: Candidates, order: Array, thresholds: Array) -> Array:
    """Return (T, P) bool in `order`, which has the pairs of an object side by side, the preferred one first."""
    taken = np.zeros((len(thresholds), len(order)), bool)
    if not len(order):
        return taken
    gt, score = candidates.gt[order], candidates.score[order]
    detection = np.unique(candidates.dt[order], return_inverse=True)[1]
    free = np.ones((len(thresholds), int(detection.max()) + 1), bool)
    starts = np.flatnonzero(np.diff(gt, prepend=-1))
    turn = np.repeat(_turns(candidates.image[order][starts]), np.diff(starts, append=len(gt)))
    by_turn = np.argsort(turn, kind="stable")
    bounds = np.searchsorted(turn[by_turn], np.arange(turn.max() + 2))
    for begin, end in pairwise(bounds):
        now = by_turn[begin:end]
        possible = free[:, detection[now]] & (score[now] >= thresholds[:, None])
        own = np.flatnonzero(np.diff(gt[now], prepend=-1))  # first pair of each object
        place = np.minimum.reduceat(np.where(possible, np.arange(len(now)), len(now)), own, axis=1)
        at_threshold, which = np.nonzero(place < len(now))
        chosen = now[place[at_threshold, which]]
        taken[at_threshold, chosen] = True
        free[at_threshold, detection[chosen]] = False
    return taken


def _turns(images: Array) -> Array:
    """Return for each object its number among those of its image, from 0, (n,) int64."""
    order = np.argsort(images, kind="stable")
    starts = np.flatnonzero(np.diff(images[order], prepend=-1))
    turns = np.empty(len(images), np.int64)
    turns[order] = np.arange(len(images)) - np.repeat(starts, np.diff(starts, append=len(images)))
    return turns
