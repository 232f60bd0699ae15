"""A slow, literal DETRDistill: one loop per sum, nothing shared with the production code; the assignment is SciPy's.

"DETRDistill: A Universal Knowledge Distillation Framework for DETR-families", ICCV 2023, arXiv 2211.10156. Boxes are
lists of four numbers xyxy in px, logits rows of numbers; the dtype is that of the input. The student's maps are adapted
already. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

from scipy.optimize import linear_sum_assignment
from torch import Tensor

Weights = tuple[float, float, float]
"""Of class scores, L1 and GIoU."""


def number(x: Tensor) -> float:
    """The value without its graph."""
    return float(x.detach())


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z))."""
    return 1 / (1 + (-z).exp())


def probabilities(logits: Tensor, kind: str) -> list[Tensor]:
    """Scores of one query, of a softmax with the background last."""
    if kind == "sigmoid":
        return [sigmoid(z) for z in logits]
    powers = [(z - float(logits.max().detach())).exp() for z in logits]
    return [power / sum(powers[1:], powers[0]) for power in powers]


def cxcywh(box: Tensor, size: tuple[int, int]) -> list[Tensor]:
    """Centre and sides as shares of an image of (height, width)."""
    height, width = size
    return [
        (box[0] + box[2]) / 2 / width,
        (box[1] + box[3]) / 2 / height,
        (box[2] - box[0]) / width,
        (box[3] - box[1]) / height,
    ]


def overlap(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """(IoU, GIoU) of two boxes."""
    width = (min(a[2], b[2], key=number) - max(a[0], b[0], key=number)).clamp(min=0)
    height = (min(a[3], b[3], key=number) - max(a[1], b[1], key=number)).clamp(min=0)
    both = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    whole = (max(a[2], b[2], key=number) - min(a[0], b[0], key=number)) * (
        max(a[3], b[3], key=number) - min(a[1], b[1], key=number)
    )
    return both / union, both / union - (whole - union) / whole


def distance(a: Tensor, b: Tensor, size: tuple[int, int]) -> Tensor:
    """L1 of two boxes as shares of the image."""
    parts = [(x - y).abs() for x, y in zip(cxcywh(a, size), cxcywh(b, size), strict=True)]
    return sum(parts[1:], parts[0])


def pairs(
    logits: Tensor,
    boxes: Tensor,
    targets: Sequence[Tensor],
    labels: Sequence[int] | None,
    size: tuple[int, int],
    weights: Weights,
    kind: str,
) -> list[tuple[int, int]]:
    """(query, target) of the assignment with the least cost; without labels boxes alone count."""
    cost = []
    for query in range(len(boxes)):
        row = []
        for index, target in enumerate(targets):
            value = weights[1] * float(distance(boxes[query], target, size).detach())
            value -= weights[2] * float(overlap(boxes[query], target)[1].detach())
            if labels is not None:
                p = probabilities(logits[query].detach(), kind)[labels[index]]
                if kind == "softmax":
                    value -= weights[0] * float(p)
                else:
                    focal = 0.25 * (1 - p) ** 2 * -(p + 1e-12).log() - 0.75 * p**2 * -(1 - p + 1e-12).log()
                    value += weights[0] * float(focal)
            row.append(value)
        cost.append(row)
    return [(int(query), int(target)) for query, target in zip(*linear_sum_assignment(cost), strict=True)]


def class_distance(student: Tensor, teacher: Tensor, kind: str) -> Tensor:
    """Quality focal loss with soft targets, or KL."""
    total = student.sum() * 0
    ours, theirs = probabilities(student, kind), probabilities(teacher.detach(), kind)
    for p, y in zip(ours, theirs, strict=True):
        if kind == "softmax":
            total = total + y * (y.log() - p.log())
        else:
            total = total + (y - p) ** 2 * -(y * p.log() + (1 - y) * (1 - p).log())
    return total


def layer(
    student: tuple[Tensor, Tensor],
    teacher: tuple[Tensor, Tensor],
    truths: Sequence[Tensor],
    labels: Sequence[Sequence[int]],
    sizes: Sequence[tuple[int, int]],
    weights: Weights,
    kind: str,
) -> tuple[Tensor, Tensor]:
    """pos and neg of one decoder layer: logits (B, Q, C) and boxes (B, Q, 4) of both."""
    pos, neg = [], []
    for b, size in enumerate(sizes):
        (z_s, b_s), (z_t, b_t) = (student[0][b], student[1][b]), (teacher[0][b], teacher[1][b])
        matched = (
            [q for q, _ in pairs(z_t, b_t, list(truths[b]), labels[b], size, weights, kind)] if len(truths[b]) else []
        )
        classes = []
        for q in matched:
            p = probabilities(z_t[q], kind)
            foreground = p[:-1] if kind == "softmax" else p
            classes.append(max(range(len(foreground)), key=lambda c: float(foreground[c])))
        if matched:
            for query, target in pairs(z_s, b_s, [b_t[q] for q in matched], classes, size, weights, kind):
                of = matched[target]
                value = weights[0] * class_distance(z_s[query], z_t[of], kind)
                value = value + weights[1] * distance(b_s[query], b_t[of], size)
                pos.append(value + weights[2] * (1 - overlap(b_s[query], b_t[of])[1]))
        others = [q for q in range(len(b_t)) if q not in matched]
        for query, target in pairs(z_s, b_s, [b_t[q] for q in others], None, size, weights, kind):
            value = weights[1] * distance(b_s[query], b_t[others[target]], size)
            neg.append(value + weights[2] * (1 - overlap(b_s[query], b_t[others[target]])[1]))
    zero = student[0].sum() * 0
    means = [sum(part[1:], part[0]) / len(part) if part else zero for part in (pos, neg)]
    return means[0], means[1]


def mask(queries: Sequence[Tensor], quality: Sequence[float], maps: Tensor) -> list[list[float]]:
    """psi of one image and level: the mean of quality times cosine, at least 0."""
    _, height, width = maps.shape
    rows = []
    for y in range(height):
        row = []
        for x in range(width):
            total = 0.0
            cell = maps[:, y, x]
            for query, q in zip(queries, quality, strict=True):
                total += q * float((query * cell).sum() / (query.square().sum() * cell.square().sum()).sqrt())
            row.append(max(total / max(len(quality), 1), 0.0))
        rows.append(row)
    return rows


def feat(student: Tensor, teacher: Tensor, masks: Sequence[list[list[float]]]) -> Tensor:
    """The imitation under psi on one level, maps (B, M, h, w)."""
    batch, channels, height, width = student.shape
    total = student.sum() * 0
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                for c in range(channels):
                    gap = masks[b][y][x] * (student[b, c, y, x] - teacher[b, c, y, x])
                    total = total + gap**2
    return total / (batch * channels * height * width)
