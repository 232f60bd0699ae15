"""A slow, literal FRS: one loop per sum, nothing shared with the production code.

"Distilling Object Detectors with Feature Richness", NeurIPS 2021, arXiv 2111.00674. Every image, cell and channel is
visited by a Python loop, in the dtype of the input. Nothing here adapts a map: the student's are adapted already. The
mask and the teacher carry no gradient. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _number(x: Tensor) -> float:
    return float(x.detach())


def sigmoid(z: Tensor) -> Tensor:
    """1 / (1 + exp(-z))."""
    return 1 / (1 + (-z).exp())


def softmax(z: Tensor) -> Tensor:
    """Plain exponentials over their sum; the maximum is taken out as a constant."""
    e = (z - _number(z.max())).exp()
    return e / e.sum()


def log_sigmoid(z: Tensor) -> Tensor:
    """-log(1 + exp(-z)), without overflow."""
    return -torch.log1p((-z).exp()) if _number(z) >= 0 else z - torch.log1p(z.exp())


def richness(teacher: Tensor, kind: str = "sigmoid", classes: int | None = None) -> Tensor:
    """The mask (B, h, w) of one level: the teacher's greatest score at every cell.

    Args:
        teacher: logits. (B, A * C, h, w) of a sigmoid head, (B, A, h, w) of an RPN, or (B, A * (C + 1), h, w) of a
            softmax head, the channels of one anchor next to each other and its background last.
        kind: "sigmoid", or "softmax": the maximum over anchors of the foreground probabilities.
        classes: C, for a softmax head.
    """
    teacher = teacher.detach()
    batch, channels, height, width = teacher.shape
    mask = teacher.new_zeros((batch, height, width))
    for b in range(batch):
        for row in range(height):
            for column in range(width):
                z = teacher[b, :, row, column]
                if kind == "sigmoid":
                    scores = [_number(sigmoid(z[c])) for c in range(channels)]
                elif kind == "softmax":
                    if classes is None:
                        raise ValueError("a softmax head needs its number of classes")
                    scores = []
                    for first in range(0, channels, classes + 1):
                        p = softmax(z[first : first + classes + 1])
                        scores.extend(_number(p[c]) for c in range(classes))
                else:
                    raise ValueError(f"kind is {kind!r}; it is sigmoid or softmax")
                mask[b, row, column] = max(scores)
    return mask


def _weighted(values: Sequence[tuple[float, Tensor]], zero: Tensor) -> Tensor:
    """Sum of weight times value over the sum of weights; zero when the weights sum to 0."""
    total, weights = zero, 0.0
    for weight, value in values:
        total = total + weight * value
        weights += weight
    return total / weights if weights > 0 else total


def feature_of_level(student: Tensor, teacher: Tensor, mask: Tensor) -> Tensor:
    """Sum over cells of M times the sum over channels of (S - T)^2, over sum M."""
    teacher = teacher.detach()
    zero = student.sum() * 0
    values = []
    for b in range(student.shape[0]):
        for row in range(student.shape[2]):
            for column in range(student.shape[3]):
                square = zero
                for c in range(student.shape[1]):
                    square = square + (student[b, c, row, column] - teacher[b, c, row, column]) ** 2
                values.append((_number(mask[b, row, column]), square))
    return _weighted(values, zero)


def bce(student: Tensor, teacher: Tensor, subtract_entropy: bool = False) -> Tensor:
    """One channel's binary cross-entropy of two logits, the teacher's score being the soft target.

    `subtract_entropy` takes the teacher's own entropy away, so that equal logits give 0.
    """
    teacher = teacher.detach()
    y = sigmoid(teacher)
    value = -(y * log_sigmoid(student) + (1 - y) * log_sigmoid(-student))
    if subtract_entropy:
        value = value + y * log_sigmoid(teacher) + (1 - y) * log_sigmoid(-teacher)
    return value


def classification_of_level(student: Tensor, teacher: Tensor, mask: Tensor, subtract_entropy: bool = False) -> Tensor:
    """Sum over cells of M times the sum over channels of BCE, over sum M, for sigmoid logits (B, channels, h, w)."""
    zero = student.sum() * 0
    values = []
    for b in range(student.shape[0]):
        for row in range(student.shape[2]):
            for column in range(student.shape[3]):
                entropy = zero
                for c in range(student.shape[1]):
                    entropy = entropy + bce(student[b, c, row, column], teacher[b, c, row, column], subtract_entropy)
                values.append((_number(mask[b, row, column]), entropy))
    return _weighted(values, zero)


def l_feat(student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor]) -> Tensor:
    """The feature term, unweighted: the sum over levels. `student` holds the adapted maps, (B, M, h, w) per level."""
    total = student[0].sum() * 0
    for s, t, mask in zip(student, teacher, masks, strict=True):
        total = total + feature_of_level(s, t, mask)
    return total


def l_cls(
    student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor], subtract_entropy: bool = False
) -> Tensor:
    """The classification term, unweighted: the sum over levels of sigmoid logits, (B, channels, h, w) per level."""
    total = student[0].sum() * 0
    for s, t, mask in zip(student, teacher, masks, strict=True):
        total = total + classification_of_level(s, t, mask, subtract_entropy)
    return total


def warm_up(iteration: int, iterations: int = 500) -> float:
    """The factor of both terms: iteration / iterations, then 1."""
    return min(iteration / iterations, 1.0)
