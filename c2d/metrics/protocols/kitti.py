"""AP of KITTI's 2D object benchmark: easy, moderate and hard, over 40 (R40) and 11 (R11) recall positions.

By the benchmark's evaluation tool (Geiger et al., CVPR 2012; evaluate_object.cpp of its development kit):

- Classes: Car at IoU > 0.7, Pedestrian and Cyclist at IoU > 0.5. Boxes are continuous.
- An object counts when it is higher than 40 / 25 / 25 px, occluded at most 0 / 1 / 2 and truncated at most 0.15 / 0.30
  / 0.50. Other objects of the class, and those of its neighbouring class (Van of Car, Person_sitting of Pedestrian),
  are ignored: a detection that one of them takes is neither right nor wrong. Objects of other types play no part.
- A detection lower than that height is ignored, whatever its class: it is no false positive, but an object that takes
  it for want of another is not missed either.
- Matching: `c2d.metrics.protocols.kitti_matching`. A detection that no object took is no false positive when a larger
  part of its own area than the class's IoU lies inside one DontCare region.
- Thresholds: the scores of the true positives at which recall is nearest to 0, 1/40, ..., 1. Precision at a position is
  the largest at it or at a later one, 0 where recall does not reach it. R40 is the mean over the last 40 of the 41, the
  benchmark's since October 2019; R11 is the mean over every fourth of the 41, the benchmark's before.

Each position needs the score of another true positive, so fewer than 41 objects cannot fill them: 40 objects that are
all found give R40 = 97.5 %, 10 objects 22.5 %. The numbers are as the tool gives them, beside the counts of objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from c2d.core.errors import InputError
from c2d.metrics.coco_data import Array, CocoData
from c2d.metrics.protocols.cell_pairs import intersection_over_union, overlapping_pairs
from c2d.metrics.protocols.kitti_matching import Candidates, match_by_overlap, match_by_score
from c2d.metrics.protocols.protocol_names import DIFFICULTIES, KITTI_IOUS, POSITIONS, kitti_number, kitti_numbers

MIN_HEIGHT = dict(zip(DIFFICULTIES, (40, 25, 25), strict=True))
MAX_OCCLUSION = dict(zip(DIFFICULTIES, (0, 1, 2), strict=True))
MAX_TRUNCATION = dict(zip(DIFFICULTIES, (0.15, 0.30, 0.50), strict=True))
NEIGHBOURS = {"Car": "van", "Pedestrian": "person_sitting", "Cyclist": ""}
DONT_CARE = "dontcare"
SAMPLES = 41
"""Recall positions 0, 1/40, ..., 1."""


@dataclass(frozen=True)
class _Objects:
    """What the tool reads of the annotations, (G,) each: type in lower case, truncation in 0-1, occlusion 0 to 3."""

    types: Array
    truncated: Array
    occluded: Array


def evaluate(annotations: Sequence[Mapping[str, Any]], data: CocoData) -> dict[str, Any]:
    """Compute KITTI's AP of each class and difficulty, and the means over the classes.

    Types come from `protocol` alone, so it does not matter which class an ignored object was written for. A class is
    evaluated if the data set has a class of its name, in upper or lower case.

    Args:
        annotations: those that `data` was made from, in the same order, with `protocol` {"type", "truncated",
            "occluded"}, or {"type": "DontCare"}.
        data: ground truth and detections.

    Returns:
        The numbers of `KITTI_MEANS` in 0-1, over the classes that have objects of the difficulty; `per_class` {Car,
        Pedestrian or Cyclist: {the numbers of `kitti_numbers`, "objects": {difficulty: how many count}}}.

    Raises:
        InputError: an annotation without a usable `protocol`.
    """
    objects = _read_objects(annotations)
    labels = {name.lower(): k for k, name in enumerate(data.class_names)}
    per_class = {
        name: _class_numbers(name, labels[name.lower()], objects, data) for name in KITTI_IOUS if name.lower() in labels
    }

    def mean(positions: str, difficulties: Sequence[str]) -> float | None:
        numbers = [
            per_class[name][kitti_number(name, positions, which)] for name in per_class for which in difficulties
        ]
        defined = [value for value in numbers if value is not None]
        return float(np.mean(defined)) if defined else None

    levels = {**{difficulty: (difficulty,) for difficulty in DIFFICULTIES}, "mean": DIFFICULTIES}
    means = {f"AP_{one}_{level}": mean(one, which) for one in POSITIONS for level, which in levels.items()}
    return {**means, "per_class": per_class}


def _read_objects(annotations: Sequence[Mapping[str, Any]]) -> _Objects:
    rows = [_values(row, at) for at, row in enumerate(annotations)]
    types, truncated, occluded = zip(*rows, strict=True) if rows else ((), (), ())
    return _Objects(np.array(types, object), np.array(truncated, np.float64), np.array(occluded, np.float64))


def _values(row: Mapping[str, Any], at: int) -> tuple[str, float, float]:
    given = row.get("protocol")
    if isinstance(given, Mapping) and isinstance(given.get("type"), str):
        kind = given["type"].lower()
        truncated: Any = given.get("truncated")
        occluded: Any = given.get("occluded")
        if kind == DONT_CARE:
            return kind, 0.0, 0.0
        are_numbers = all(isinstance(value, int | float) for value in (truncated, occluded))
        if are_numbers and 0 <= truncated <= 1 and 0 <= occluded <= 3:
            return kind, float(truncated), float(occluded)
    wanted = '{"type", "truncated": 0 to 1, "occluded": 0 to 3} or {"type": "DontCare"}'
    raise InputError(
        f"annotation {row.get('id', at)} has protocol {given!r:.80}; KITTI's numbers need {wanted}; make the data set "
        "again with `c2d data kitti`"
    )


def _class_numbers(name: str, label: int, objects: _Objects, data: CocoData) -> dict[str, Any]:
    own = objects.types == name.lower()
    rows = np.flatnonzero(own | (objects.types == NEIGHBOURS[name]))
    boxes = data.gt_box[rows]
    # Small detections of other classes take part as well, so classes are separated later.
    pairs = overlapping_pairs(data.dt_box, data.dt_image, boxes, data.gt_image[rows])
    iou = intersection_over_union(pairs, data.dt_box, boxes)
    near = np.flatnonzero(iou > KITTI_IOUS[name])
    dt = pairs.dt[near]
    candidates = Candidates(
        rows[pairs.gt[near]], dt, iou[near], data.dt_score[dt], data.dt_class[dt] == label, data.dt_image[dt]
    )
    inside = _inside_region(objects, data, KITTI_IOUS[name])
    out: dict[str, Any] = dict.fromkeys(kitti_numbers(name))
    counts = {}
    for difficulty in DIFFICULTIES:
        valid = (
            own
            & (data.gt_box[:, 3] > MIN_HEIGHT[difficulty])
            & (objects.occluded <= MAX_OCCLUSION[difficulty])
            & (objects.truncated <= MAX_TRUNCATION[difficulty])
        )
        counts[difficulty] = int(valid.sum())
        if not counts[difficulty]:
            continue
        small = data.dt_box[:, 3] < MIN_HEIGHT[difficulty]
        countable = (data.dt_class == label) & ~small
        precision = _precision(_with_countable(candidates, small), valid, countable, inside, data.dt_score)
        out[kitti_number(name, "R40", difficulty)] = float(precision[1:].mean())
        out[kitti_number(name, "R11", difficulty)] = float(precision[::4].mean())
    return {**out, "objects": counts}


def _inside_region(objects: _Objects, data: CocoData, share: float) -> Array:
    """Return (D,) bool: more than `share` of the detection's own area is inside one DontCare region."""
    rows = np.flatnonzero(objects.types == DONT_CARE)
    pairs = overlapping_pairs(data.dt_box, data.dt_image, data.gt_box[rows], data.gt_image[rows])
    area = data.dt_box[pairs.dt, 2] * data.dt_box[pairs.dt, 3]
    inside = np.zeros(len(data.dt_box), bool)
    inside[pairs.dt[pairs.intersection / area > share]] = True
    return inside


def _with_countable(candidates: Candidates, small: Array) -> Candidates:
    """Return the pairs that matter at a difficulty: of countable detections, and of small ones of any class."""
    is_small = small[candidates.dt]
    kept = np.flatnonzero(candidates.counts | is_small)
    found = candidates.subset(kept)
    return Candidates(found.gt, found.dt, found.iou, found.score, found.counts & ~is_small[kept], found.image)


def _precision(candidates: Candidates, valid: Array, countable: Array, inside: Array, scores: Array) -> Array:
    """Return the precision at the 41 recall positions, (41,) float64.

    Args:
        candidates: of one class and difficulty.
        valid: (G,) bool, objects that count.
        countable: (D,) bool, detections of the class that are not small.
        inside: (D,) bool, detections inside DontCare regions.
        scores: (D,) float64.
    """
    found = match_by_score(candidates)
    right = found[valid[candidates.gt[found]] & candidates.counts[found]]
    thresholds = score_thresholds(candidates.score[right], int(valid.sum()))
    precision = np.zeros(SAMPLES)
    if not len(thresholds):
        return precision
    order, taken = match_by_overlap(candidates, thresholds)
    counts, dt = candidates.counts[order], candidates.dt[order]
    true = (taken & (counts & valid[candidates.gt[order]])).sum(axis=1)
    used = (taken & (counts & ~inside[dt])).sum(axis=1)
    open_scores = np.sort(scores[countable & ~inside])
    false = len(open_scores) - np.searchsorted(open_scores, thresholds, side="left") - used
    precision[: len(thresholds)] = true / np.maximum(true + false, 1)  # no detection at all: 0
    return np.maximum.accumulate(precision[::-1])[::-1]


def score_thresholds(scores: Array, objects: int) -> Array:
    """Return the scores at which recall is nearest to 0, 1/40, ..., 1, falling, (T,) float64 with T <= 41.

    Args:
        scores: (n,) float64, of the true positives.
        objects: number of objects that count.
    """
    falling = np.sort(scores)[::-1]
    kept, position = [], 0.0
    for at, score in enumerate(falling.tolist(), start=1):
        here, following = at / objects, (at + 1) / objects
        if at < len(falling) and following - position < position - here:
            continue  # the next score is nearer to this position
        kept.append(score)
        position += 1 / (SAMPLES - 1)
    return np.array(kept)
