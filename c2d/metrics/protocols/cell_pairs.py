"""Pairs of detections and objects that overlap, without a loop over images."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from c2d.metrics.coco_data import Array

_PAIRS_AT_ONCE = 1_000_000


class Pairs(NamedTuple):
    """Overlapping pairs, rising in detection, then object.

    Attributes:
        dt: (P,) int64, rows of the detections.
        gt: (P,) int64, rows of the objects.
        intersection: (P,) float64, px^2.
    """

    dt: Array
    gt: Array
    intersection: Array


def overlapping_pairs(dt_box: Array, dt_cell: Array, gt_box: Array, gt_cell: Array) -> Pairs:
    """Return the pairs of one cell whose intersection is positive.

    Args:
        dt_box: (D, 4) float64, xywh in px.
        dt_cell: (D,) int64, for example the image.
        gt_box: (G, 4) float64, xywh in px.
        gt_cell: (G,) int64.
    """
    order = np.argsort(gt_cell, kind="stable")
    cells = gt_cell[order]
    first = np.searchsorted(cells, dt_cell, side="left")
    many = np.searchsorted(cells, dt_cell, side="right") - first
    ends = np.cumsum(many)
    parts: list[tuple[Array, Array, Array]] = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    begin = 0
    while begin < len(many):
        done = int(ends[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(ends, done + _PAIRS_AT_ONCE, side="right")))
        count = many[begin:end]
        dt = np.repeat(np.arange(begin, end), count)
        inside = np.arange(len(dt)) - np.repeat(np.cumsum(count) - count, count)
        gt = order[np.repeat(first[begin:end], count) + inside]
        area = intersections(dt_box[dt], gt_box[gt])
        near = np.flatnonzero(area > 0)
        parts.append((dt[near], gt[near], area[near]))
        begin = end
    return Pairs(*(np.concatenate(part) for part in zip(*parts, strict=True)))


def intersections(a: Array, b: Array) -> Array:
    """Return (N,) float64, the area in px^2 that two boxes (N, 4) xywh have in common."""
    low = np.maximum(a[:, :2], b[:, :2])
    high = np.minimum(a[:, :2] + a[:, 2:], b[:, :2] + b[:, 2:])
    width, height = np.clip(high - low, 0, None).T
    return np.asarray(width * height)


def intersection_over_union(pairs: Pairs, dt_box: Array, gt_box: Array) -> Array:
    """Return the IoU of pairs, (P,) float64 in 0-1.

    Args:
        pairs: from `overlapping_pairs`.
        dt_box: its boxes of detections.
        gt_box: its boxes of objects.
    """
    own, other = (boxes[rows, 2] * boxes[rows, 3] for boxes, rows in ((dt_box, pairs.dt), (gt_box, pairs.gt)))
    return np.asarray(pairs.intersection / (own + other - pairs.intersection))
