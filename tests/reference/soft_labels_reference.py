"""Slow, literal losses on soft labels: one loop per sum, nothing shared with the production code.

"Zero-Shot Knowledge Distillation in Deep Networks", ICML 2019, as reconstructed for detectors. A positive has a vector
of logits and the soft label of its object. Autograd runs through the explicit arithmetic, in the dtype of the input. It
imports nothing of the package it checks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def softmax(z: Tensor) -> list[Tensor]:
    """The exponentials over their sum; the maximum is taken out as a constant."""
    powers = [torch.exp(value - float(z.detach().max())) for value in z]
    total = sum(powers[1:], powers[0])
    return [power / total for power in powers]


def kl(target: Sequence[float], p: Sequence[Tensor]) -> Tensor:
    """The sum of q (log q - log p), with 0 log 0 = 0."""
    total = p[0] * 0
    for q, value in zip(target, p, strict=True):
        if q > 0:
            total = total + q * (math.log(q) - torch.log(value))
    return total


def of_softmax_head(z: Tensor, y: Sequence[float], *, background: float = 0.0, T: float = 1.0) -> Tensor:
    """T^2 KL of one positive: C + 1 logits, the background last, and C numbers."""
    target = [(1 - background) * value for value in y] + [background]
    return T**2 * kl(target, softmax(z / T))


def of_sigmoid_head(z: Tensor, y: Sequence[float], *, T: float = 1.0) -> Tensor:
    """T^2 times the sum over the classes of the KL of two outcomes, one positive."""
    total = z.sum() * 0
    for value, q in zip(z, y, strict=True):
        p = 1 / (1 + torch.exp(-value / T))
        total = total + kl([q, 1 - q], [p, 1 - p])
    return T**2 * total


def soft(positives: Sequence[Tensor]) -> Tensor:
    """The mean over the positives; of none, 0."""
    total = torch.zeros((), dtype=torch.float64)
    for value in positives:
        total = total + value
    return total / max(len(positives), 1)
