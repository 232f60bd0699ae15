"""Slow, literal boxes: overlap of two boxes by the definition, and boxes from the numbers that a head predicts.

Box by box and coordinate by coordinate, with their graph. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

Box = Sequence[Tensor]


def smaller(a: Tensor, b: Tensor) -> Tensor:
    return a if float(a.detach()) < float(b.detach()) else b


def larger(a: Tensor, b: Tensor) -> Tensor:
    return a if float(a.detach()) > float(b.detach()) else b


def area(box: Box) -> Tensor:
    return (box[2] - box[0]) * (box[3] - box[1])


def shared_area(a: Box, b: Box) -> Tensor:
    width = smaller(a[2], b[2]) - larger(a[0], b[0])
    height = smaller(a[3], b[3]) - larger(a[1], b[1])
    if float(width.detach()) <= 0 or float(height.detach()) <= 0:
        return 0 * (area(a) + area(b))
    return width * height


def iou(a: Box, b: Box) -> Tensor:
    """The shared area over the covered area."""
    both = shared_area(a, b)
    return both / (area(a) + area(b) - both)


def giou(a: Box, b: Box) -> Tensor:
    """The IoU less the uncovered share of the smallest box around both."""
    both = shared_area(a, b)
    covered = area(a) + area(b) - both
    around = (smaller(a[0], b[0]), smaller(a[1], b[1]), larger(a[2], b[2]), larger(a[3], b[3]))
    return both / covered - (area(around) - covered) / area(around)


def of_deltas(anchor: Tensor, raw: Tensor, deviations: Sequence[float]) -> Box:
    """Faster R-CNN's code: shifts of the centre in sides of the anchor, logarithms of the ratios of sides."""
    width, height = anchor[2] - anchor[0], anchor[3] - anchor[1]
    dx, dy, dw, dh = (value * deviation for value, deviation in zip(raw, deviations, strict=True))
    x, y = (anchor[0] + anchor[2]) / 2 + dx * width, (anchor[1] + anchor[3]) / 2 + dy * height
    half_w, half_h = width * dw.exp() / 2, height * dh.exp() / 2
    return x - half_w, y - half_h, x + half_w, y + half_h


def of_distances(point: Tensor, distances: Sequence[Tensor]) -> Box:
    """Distances from a point to the left, upper, right and lower edge."""
    left, top, right, bottom = distances
    return point[0] - left, point[1] - top, point[0] + right, point[1] + bottom


def expected_distances(logits: Tensor, stride: float) -> list[Tensor]:
    """The mean of each edge's distribution over the bins 0, 1, 2, ..., in px; logits of four edges in one row."""
    found = []
    for edge in logits.reshape(4, -1):
        shares = edge.exp() / edge.exp().sum()
        found.append(stride * torch.stack([i * share for i, share in enumerate(shares)]).sum())
    return found
