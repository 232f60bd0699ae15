"""A slow, literal PKD: one loop per sum, nothing shared with the production code.

"PKD: General Distillation Framework for Object Detectors via Pearson Correlation Coefficient", NeurIPS 2022. Maps are
lists with one (B, M, h, w) per level, as many channels on both sides; a student map of another size is resized to the
teacher's. Autograd runs through the explicit arithmetic, in the dtype of the input; the teacher is detached. It
imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Bilinear (B, M, h, w) to (B, M, height, width): pixel i is centred at i + 0.5, borders are repeated."""
    h, w = x.shape[-2:]
    rows = []
    for i in range(height):
        y = min(max((i + 0.5) * h / height - 0.5, 0.0), h - 1.0)
        top = math.floor(y)
        below = min(top + 1, h - 1)
        row = []
        for j in range(width):
            z = min(max((j + 0.5) * w / width - 0.5, 0.0), w - 1.0)
            left = math.floor(z)
            right = min(left + 1, w - 1)
            upper = x[:, :, top, left] * (left + 1 - z) + x[:, :, top, right] * (z - left)
            lower = x[:, :, below, left] * (left + 1 - z) + x[:, :, below, right] * (z - left)
            row.append(upper * (top + 1 - y) + lower * (y - top))
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def standardised(values: Tensor, eps: float = 1e-6) -> Tensor:
    """A vector minus its mean, over (its unbiased standard deviation + eps)."""
    n = len(values)
    mean = values.sum() * 0
    for value in values:
        mean = mean + value
    mean = mean / n
    variance = values.sum() * 0
    for value in values:
        variance = variance + (value - mean) ** 2
    variance = variance / (n - 1)
    if float(variance.detach()) == 0:  # a dead channel: the root has no gradient there
        return (values - mean) / eps
    return (values - mean) / (variance.sqrt() + eps)


def pkd_of_level(student: Tensor, teacher: Tensor, *, eps: float = 1e-6) -> Tensor:
    """Half the mean over all elements of the squared difference of the standardised maps.

    A channel is standardised over all images and positions of the batch together.
    """
    t = teacher.detach()
    batch, channels, height, width = t.shape
    s = student if student.shape[-2:] == t.shape[-2:] else resize(student, height, width)
    total = student.sum() * 0
    for m in range(channels):
        s_hat = standardised(s[:, m].reshape(-1), eps)
        t_hat = standardised(t[:, m].reshape(-1), eps)
        for k in range(batch * height * width):
            total = total + (s_hat[k] - t_hat[k]) ** 2
    return total / (2 * batch * channels * height * width)


def pkd(student: Sequence[Tensor], teacher: Sequence[Tensor], *, eps: float = 1e-6) -> Tensor:
    """The sum over the levels of `pkd_of_level`, unweighted."""
    total = student[0].sum() * 0
    for s, t in zip(student, teacher, strict=True):
        total = total + pkd_of_level(s, t, eps=eps)
    return total
