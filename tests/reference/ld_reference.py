"""A slow, literal LD: one loop per sum, nothing shared with the production code.

"Localization Distillation for Dense Object Detection", CVPR 2022. Every anchor, ground truth, edge and bin is visited
by a Python loop, in the dtype of the input. Teacher tensors, weights and regions carry no gradient. It imports nothing
of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Box = tuple[float, float, float, float]


def _number(x: Tensor) -> float:
    return float(x.detach())


# ------------------------------------------------------------------------------------------------------------ losses


def softmax(z: Tensor) -> Tensor:
    """Plain exponentials over their sum; the maximum is taken out as a constant."""
    e = (z - _number(z.max())).exp()
    return e / e.sum()


def log_softmax(z: Tensor) -> Tensor:
    """The logits less the logarithm of the sum of their exponentials."""
    top = _number(z.max())
    return z - top - (z - top).exp().sum().log()


def tempered_kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 times the mean over the bins (or classes) of p_t (log p_t - log p_s), for two rows of logits."""
    teacher = teacher.detach()
    p = softmax(teacher / temperature)
    log_p, log_q = log_softmax(teacher / temperature), log_softmax(student / temperature)
    total = student.sum() * 0
    for c in range(len(student)):
        total = total + p[c] * (log_p[c] - log_q[c])
    return temperature**2 * total / len(student)


def localisation(
    student: Tensor, teacher: Tensor, weight: Tensor, temperature: float = 10.0, avg_factor: float = 4.0
) -> Tensor:
    """Sum over locations and their four edges of weight times KL, over `avg_factor`; before the loss weight.

    Args:
        student: (n, 4, bins) logits.
        teacher: (n, 4, bins).
        weight: (n,), taken as a constant.
        temperature: T.
        avg_factor: 4 for the main region, 16 for the VLR.
    """
    total = student.sum() * 0
    for k in range(len(student)):
        for edge in range(student.shape[1]):
            total = total + _number(weight[k]) * tempered_kl(student[k, edge], teacher[k, edge], temperature)
    return total / avg_factor


def main_weights(logits: Tensor) -> Tensor:
    """The student's greatest class score (n,) of the positives' logits (n, C), detached."""
    scores = [max(_number(1 / (1 + (-z).exp())) for z in row) for row in logits.detach()]
    return logits.new_tensor(scores)


def main_region(
    student: Tensor, teacher: Tensor, class_logits: Tensor, temperature: float = 10.0, avg_factor: float = 4.0
) -> Tensor:
    """LD on the positives: edges (n, 4, bins), student's class logits (n, C)."""
    return localisation(student, teacher, main_weights(class_logits), temperature, avg_factor)


def vlr_region(
    student: Tensor, teacher: Tensor, weight: Tensor, temperature: float = 10.0, avg_factor: float = 16.0
) -> Tensor:
    """LD on the VLR: edges (n, 4, bins) of all locations, `weight` (n,) from `vlr_weights`, 0 outside the region."""
    return localisation(student, teacher, weight, temperature, avg_factor)


def classification(student: Sequence[Tensor], teacher: Sequence[Tensor], temperature: float = 2.0) -> Tensor:
    """Class distillation on the positives: softmax KL, mean over classes; a mean per level, the levels summed.

    Args:
        student: one (n_l, C) of logits per level; a level may have none.
        teacher: one (n_l, C) per level.
        temperature: T.
    """
    total = sum((level.sum() * 0 for level in student), torch.zeros((), dtype=student[0].dtype))
    for rows_s, rows_t in zip(student, teacher, strict=True):
        of_level = total * 0
        for k in range(len(rows_s)):
            of_level = of_level + tempered_kl(rows_s[k], rows_t[k], temperature)
        if len(rows_s):
            total = total + of_level / len(rows_s)
    return total


# ------------------------------------------------------------------------------------------------------------ region


def anchors_of_points(points: Tensor, stride: float, scale: float = 8.0) -> Tensor:
    """The square (n, 4) of side scale * stride around each point (n, 2)."""
    half = scale * stride / 2
    boxes = [[float(x) - half, float(y) - half, float(x) + half, float(y) + half] for x, y in points]
    return points.new_tensor(boxes).reshape(len(boxes), 4)


def _box(row: Tensor) -> Box:
    x1, y1, x2, y2 = (float(v) for v in row)
    return x1, y1, x2, y2


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes xyxy."""
    width = max(min(a[2], b[2]) - max(a[0], b[0]), 0.0)
    height = max(min(a[3], b[3]) - max(a[1], b[1]), 0.0)
    common = width * height
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - common
    return common / union if union > 0 else 0.0


def centre_distance_squared(a: Box, b: Box) -> float:
    """Squared distance of the centres of two boxes."""
    return ((a[0] + a[2] - b[0] - b[2]) / 2) ** 2 + ((a[1] + a[3] - b[1] - b[3]) / 2) ** 2


def diou(a: Box, b: Box) -> float:
    """IoU less the squared centre distance over the squared diagonal of the smallest box around both."""
    width = max(a[2], b[2]) - min(a[0], b[0])
    height = max(a[3], b[3]) - min(a[1], b[1])
    diagonal = width**2 + height**2
    return iou(a, b) - (centre_distance_squared(a, b) / diagonal if diagonal > 0 else 0.0)


def released_diou(anchor: Box, truth: Box) -> float:
    """The share of the anchor that the truth covers, less the distance part: what the released code calls DIoU."""
    width = max(min(anchor[2], truth[2]) - max(anchor[0], truth[0]), 0.0)
    height = max(min(anchor[3], truth[3]) - max(anchor[1], truth[1]), 0.0)
    area = (anchor[2] - anchor[0]) * (anchor[3] - anchor[1])
    return width * height / area + diou(anchor, truth) - iou(anchor, truth)


def atss_threshold(anchors: Sequence[Tensor], box: Tensor, top: int = 9) -> float:
    """Mean plus standard deviation of the IoU of one ground truth's candidates.

    Candidates are the `top` anchors of every level whose centres are nearest; the first wins a tie. The deviation has
    n - 1 below; it is 0 for a single candidate.

    Args:
        anchors: one (n_l, 4) per level, of one image.
        box: (4,).
        top: candidates of a level.
    """
    g = _box(box)
    overlaps: list[float] = []
    for level in anchors:
        boxes = [_box(row) for row in level]
        order = sorted(range(len(boxes)), key=lambda k: (centre_distance_squared(boxes[k], g), k))
        overlaps.extend(iou(boxes[k], g) for k in order[:top])
    mean = sum(overlaps) / len(overlaps)
    if len(overlaps) < 2:
        return mean
    variance = sum((v - mean) ** 2 for v in overlaps) / (len(overlaps) - 1)
    return mean + math.sqrt(variance)


def vlr_weights(
    anchors: Sequence[Tensor],
    boxes: Tensor,
    top: int = 9,
    low: float = 0.25,
    measure: Callable[[Box, Box], float] = diou,
) -> Tensor:
    """The weight (sum of n_l,) of every anchor of one image: 0 outside the VLR, its IoU inside.

    An anchor is inside when low * t_j <= d < t_j for a ground truth j; of several, the greatest IoU counts.

    Args:
        anchors: one (n_l, 4) per level.
        boxes: (G, 4).
        top: see `atss_threshold`.
        low: the lower end, as a share of the threshold.
        measure: d of anchor and ground truth.
    """
    thresholds = [atss_threshold(anchors, box, top) for box in boxes]
    weights = []
    for level in anchors:
        for row in level:
            best = 0.0
            for j in range(len(boxes)):
                a, g = _box(row), _box(boxes[j])
                if low * thresholds[j] <= measure(a, g) < thresholds[j]:
                    best = max(best, iou(a, g))
            weights.append(best)
    return torch.tensor(weights, dtype=anchors[0].dtype)
