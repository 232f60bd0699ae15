"""A slow, literal PGD: one loop per sum, nothing shared with the production code.

"Prediction-Guided Distillation for Dense Object Detection", ECCV 2022, arXiv 2203.05469. Every prior, cell and channel
is visited by a Python loop, in the dtype of the input. The student's maps are adapted already. It imports nothing of
the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor

Box = Sequence[float]


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes xyxy."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def inside(point: Sequence[float], box: Box) -> bool:
    """Whether a location lies strictly inside a box."""
    return box[0] < point[0] < box[2] and box[1] < point[1] < box[3]


def regions(
    scores: Sequence[Sequence[float]],
    predicted: Sequence[Box],
    cell: Sequence[int],
    centres: Sequence[Sequence[float]],
    boxes: Sequence[Box],
    labels: Sequence[int],
    K: int,
    xi: float,
) -> tuple[list[float], list[float]]:
    """M_fg and M_bg of all cells of one image.

    Args:
        scores, predicted, cell: per prior its class probabilities, its decoded box, its cell.
        centres: per cell x and y in px.
        boxes, labels: the ground truth.
        K, xi: of the method.
    """
    foreground = [0.0] * len(centres)
    for box, label in zip(boxes, labels, strict=True):
        quality: dict[int, float] = {}
        for prior, place in enumerate(cell):
            if inside(centres[place], box):
                q = scores[prior][label] ** (1 - xi) * iou(predicted[prior], box) ** xi
                quality[place] = max(quality.get(place, 0.0), q)
        ranked = sorted(quality, key=lambda place: (-quality[place], place))
        chosen = [place for place in ranked[:K] if quality[place] > 0]
        if not chosen:
            continue
        n = len(chosen)
        mx = sum(centres[place][0] for place in chosen) / n
        my = sum(centres[place][1] for place in chosen) / n
        xx = sum((centres[place][0] - mx) ** 2 for place in chosen) / n + 0.01
        yy = sum((centres[place][1] - my) ** 2 for place in chosen) / n + 0.01
        xy = sum((centres[place][0] - mx) * (centres[place][1] - my) for place in chosen) / n
        for place in chosen:
            x, y = centres[place][0] - mx, centres[place][1] - my
            det = xx * yy - xy * xy
            # the inverse matrix times the vector, then the product with the vector
            ix, iy = (yy * x - xy * y) / det, (xx * y - xy * x) / det
            foreground[place] = max(foreground[place], math.exp(-(x * ix + y * iy) / 2))
    background = [0.0 if any(inside(point, box) for box in boxes) else 1.0 for point in centres]
    return foreground, background


def softmax(values: Sequence[Tensor]) -> list[Tensor]:
    """Exponentials over their sum."""
    top = max(float(v.detach()) for v in values)
    powers = [(v - top).exp() for v in values]
    total = sum(powers[1:], powers[0])
    return [p / total for p in powers]


def channel_attention(vector: Tensor, T: float) -> list[Tensor]:
    """A of one cell, for its channels (M,)."""
    return [len(vector) * p for p in softmax([v.abs() / T for v in vector])]


def spatial_attention(maps: Tensor, T: float) -> dict[tuple[int, int], Tensor]:
    """P of one image (M, h, w)."""
    places = [(row, col) for row in range(maps.shape[1]) for col in range(maps.shape[2])]
    powers = softmax([maps[:, row, col].abs().mean() / T for row, col in places])
    return {place: len(places) * p for place, p in zip(places, powers, strict=True)}


def cls_attended(student: Tensor, teacher: Tensor, masks: Sequence[dict[tuple[int, int], float]], T: float) -> Tensor:
    """(1/B) sum of M / |M| P A (S - T)^2 over one level, maps (B, M, h, w); the masks are those of each image."""
    total = student.sum() * 0
    for image, mask in enumerate(masks):
        counted = sum(1 for value in mask.values() if value > 0)
        attention = spatial_attention(teacher[image], T)
        for (row, col), value in mask.items():
            if value > 0:
                weights = channel_attention(teacher[image, :, row, col], T)
                for c, weight in enumerate(weights):
                    square = (student[image, c, row, col] - teacher[image, c, row, col]) ** 2
                    total = total + value / counted * attention[(row, col)] * weight * square
    return total / len(masks)


def cls_attention(student: Tensor, teacher: Tensor, T: float) -> Tensor:
    """The distance of both kinds of attention on one level."""
    total = student.sum() * 0
    batch, _, height, width = student.shape
    for image in range(batch):
        ours, theirs = spatial_attention(student[image], T), spatial_attention(teacher[image], T)
        for row, col in ours:
            total = total + (ours[(row, col)] - theirs[(row, col)]).abs() / batch
            a, b = (channel_attention(maps[image, :, row, col], T) for maps in (student, teacher))
            for x, y in zip(a, b, strict=True):
                total = total + (x - y).abs() / (batch * height * width)
    return total


def reg_terms(
    student: Tensor, teacher: Tensor, masks: Sequence[dict[tuple[int, int], float]], T: float
) -> tuple[Tensor, Tensor]:
    """reg_fg and reg_att of one level: means over the cells of all images that are in a region."""
    feature = attention = student.sum() * 0
    cells = 0
    for image, mask in enumerate(masks):
        for (row, col), value in mask.items():
            if value <= 0:
                continue
            cells += 1
            s, t = student[image, :, row, col], teacher[image, :, row, col]
            ours, theirs = channel_attention(s, T), channel_attention(t, T)
            for c in range(len(s)):
                feature = feature + value * theirs[c] * (s[c] - t[c]) ** 2 / len(s)
                attention = attention + (ours[c] - theirs[c]).abs()
    return feature / max(cells, 1), attention / max(cells, 1)
