"""A slow, literal Chen et al.: one loop per sum, nothing shared with the production code.

"Learning Efficient Object Detection Models with Knowledge Distillation", NIPS 2017: the soft classification, the
bounded regression and the hint, for the RoI head and the RPN. Every row, class, coordinate and element is visited by a
Python loop, in the dtype of the input. Nothing here adapts a map: the student's are adapted already. Teacher tensors
carry no gradient. It imports nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def _number(x: Tensor) -> float:
    return float(x.detach())


def softmax(z: Tensor) -> Tensor:
    """Plain exponentials over their sum; the maximum is taken out as a constant."""
    e = (z - _number(z.max())).exp()
    return e / e.sum()


def log_softmax(z: Tensor) -> Tensor:
    """The logits less the logarithm of the sum of their exponentials."""
    top = _number(z.max())
    return z - top - (z - top).exp().sum().log()


def weighted_cross_entropy(teacher: Tensor, log_student: Tensor, weights: Sequence[float]) -> Tensor:
    """- sum_c w_c p_t,c log p_s,c of one row of probabilities and one of log-probabilities."""
    total = log_student.sum() * 0
    for c in range(len(weights)):
        total = total - weights[c] * teacher[c] * log_student[c]
    return total


def soft_classification(
    student: Tensor,
    teacher: Tensor,
    background_weight: float = 1.5,
    temperature: float = 1.0,
    average: float | None = None,
) -> Tensor:
    """L_soft of the RoI head, unweighted. No factor T^2.

    Args:
        student: (n, C + 1) logits, background last.
        teacher: (n, C + 1).
        background_weight: w of the background; 1 for every other class.
        temperature: both logits are divided by it.
        average: what the sum is divided by; n by default.
    """
    teacher = teacher.detach()
    weights = [1.0] * (student.shape[1] - 1) + [background_weight]
    total = student.sum() * 0
    for k in range(len(student)):
        p, log_q = softmax(teacher[k] / temperature), log_softmax(student[k] / temperature)
        total = total + weighted_cross_entropy(p, log_q, weights)
    return _averaged(total, len(student), average)


def soft_objectness(
    student: Tensor,
    teacher: Tensor,
    background_weight: float = 1.5,
    temperature: float = 1.0,
    average: float | None = None,
) -> Tensor:
    """L_soft of an RPN with one logit per anchor (n,), as the two classes [1 - p, p]: background, object."""
    teacher = teacher.detach()
    weights = [background_weight, 1.0]
    total = student.sum() * 0
    for k in range(len(student)):
        z_student, z_teacher = student[k] / temperature, teacher[k] / temperature
        zero = torch.zeros_like(z_teacher)
        # softmax([0, z]) is [1 - sigmoid(z), sigmoid(z)]
        p = softmax(torch.stack([zero, z_teacher]))
        log_q = log_softmax(torch.stack([zero, z_student]))
        total = total + weighted_cross_entropy(p, log_q, weights)
    return _averaged(total, len(student), average)


def classification(hard: Tensor, soft: Tensor, mu: float = 0.5) -> Tensor:
    """mu L_hard + (1 - mu) L_soft."""
    return mu * hard + (1 - mu) * soft


def square(a: Tensor, b: Tensor) -> Tensor:
    """|| a - b ||^2 of two (4,)."""
    total = a[0] * 0
    for c in range(len(a)):
        total = total + (a[c] - b[c]) ** 2
    return total


def bounded_regression(
    student: Tensor, teacher: Tensor, target: Tensor, margin: float, average: float | None = None
) -> Tensor:
    """L_b, unweighted: the student's squared error where, with the margin, it is greater than the teacher's.

    The comparison itself is not differentiated.

    Args:
        student: (n, 4) deltas of the rows that regress.
        teacher: (n, 4).
        target: (n, 4).
        margin: m.
        average: what the sum is divided by; n by default.
    """
    teacher, target = teacher.detach(), target.detach()
    total = student.sum() * 0
    for k in range(len(student)):
        error_student, error_teacher = square(student[k], target[k]), square(teacher[k], target[k])
        if _number(error_student) + margin > _number(error_teacher):
            total = total + error_student
    return _averaged(total, len(student), average)


def regression(hard: Tensor, bounded: Tensor, nu: float = 0.5) -> Tensor:
    """L_sL1 + nu L_b."""
    return hard + nu * bounded


def hint_of_level(student: Tensor, teacher: Tensor, factor: float = 0.5) -> Tensor:
    """`factor` times the mean over all elements of (S - T)^2, for (B, M, h, w)."""
    teacher = teacher.detach()
    total = student.sum() * 0
    for b in range(student.shape[0]):
        for c in range(student.shape[1]):
            for row in range(student.shape[2]):
                for column in range(student.shape[3]):
                    total = total + (student[b, c, row, column] - teacher[b, c, row, column]) ** 2
    return factor * total / student.numel()


def hint(
    student: Sequence[Tensor], teacher: Sequence[Tensor], factor: float = 0.5, over_levels: str = "mean"
) -> Tensor:
    """The hint, before its weight gamma, over one or more levels.

    The source says only "L2"; a half of the mean square, averaged over levels, is 0.5 for a difference of 1 everywhere,
    as the hint of FitNets is.
    """
    total = student[0].sum() * 0
    for s, t in zip(student, teacher, strict=True):
        total = total + hint_of_level(s, t, factor)
    if over_levels == "sum":
        return total
    if over_levels != "mean":
        raise ValueError(f"over_levels is {over_levels!r}; it is mean or sum")
    return total / len(student)


def _averaged(total: Tensor, rows: int, average: float | None) -> Tensor:
    divisor = rows if average is None else average
    return total / divisor if divisor else total
