"""A slow, literal MGD: one loop per sum, nothing shared with the production code.

"Masked Generative Distillation", ECCV 2022. Maps are lists with one (B, M, h, w) per level; the student's are already
aligned. The random mask is given: (B, h, w) per level, 0 where a cell is zeroed for all channels and 1 where it is
kept. Autograd runs through the explicit arithmetic, in the dtype of the input; the teacher is detached. It imports
nothing of the package it checks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Generator:
    """The weights of conv3x3 - ReLU - conv3x3 of one level.

    Attributes:
        first_weight: (M, M, 3, 3), output channel first.
        first_bias: (M,).
        second_weight: (M, M, 3, 3).
        second_bias: (M,).
    """

    first_weight: Tensor
    first_bias: Tensor
    second_weight: Tensor
    second_bias: Tensor


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """(M, h, w) to (O, h, w): stride 1, one ring of zeros around the map."""
    height, width = x.shape[-2:]
    padded = torch.zeros(x.shape[0], height + 2, width + 2, dtype=x.dtype, device=x.device)
    padded[:, 1 : height + 1, 1 : width + 1] = x
    outputs = []
    for o in range(weight.shape[0]):
        value = x[0] * 0 + bias[o]
        for m in range(x.shape[0]):
            for i in range(3):
                for j in range(3):
                    value = value + weight[o, m, i, j] * padded[m, i : i + height, j : j + width]
        outputs.append(value)
    return torch.stack(outputs)


def generate(x: Tensor, generator: Generator) -> Tensor:
    """Gen of one (M, h, w)."""
    hidden = conv3x3(x, generator.first_weight, generator.first_bias)
    hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
    return conv3x3(hidden, generator.second_weight, generator.second_bias)


def mgd_of_level(student: Tensor, teacher: Tensor, mask: Tensor, generator: Generator) -> Tensor:
    """1 / B times the sum over all elements of (Gen(mask S) - T)^2."""
    t = teacher.detach()
    batch, channels, height, width = t.shape
    total = student.sum() * 0
    for b in range(batch):
        masked = torch.stack([student[b, m] * mask[b].to(student.dtype) for m in range(channels)])
        generated = generate(masked, generator)
        for m in range(channels):
            for y in range(height):
                for x in range(width):
                    total = total + (generated[m, y, x] - t[b, m, y, x]) ** 2
    return total / batch


def mgd(
    student: Sequence[Tensor], teacher: Sequence[Tensor], masks: Sequence[Tensor], generators: Sequence[Generator]
) -> Tensor:
    """The sum over the levels of `mgd_of_level`, unweighted."""
    total = student[0].sum() * 0
    for s, t, mask, generator in zip(student, teacher, masks, generators, strict=True):
        total = total + mgd_of_level(s, t, mask, generator)
    return total
