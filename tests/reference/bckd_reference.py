"""A slow, literal BCKD: location by location and class by class, nothing shared with the production code.

"Bridging Cross-task Protocol Inconsistency for Distillation in Dense Object Detection", ICCV 2023. It imports nothing
of the package it checks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from tests.reference.box_overlap_reference import Box


def probability(z: Tensor) -> Tensor:
    return 1 / (1 + (-z).exp())


def importance(z_s: Tensor, z_t: Tensor) -> Tensor:
    """How far the two scores of one class are apart, with the student's graph."""
    return (probability(z_t.detach()) - probability(z_s)).abs()


def classification(student: Tensor, teacher: Tensor, positives: int) -> Tensor:
    """L_cls of logits (N, C), with K = positives."""
    total = []
    for row_s, row_t in zip(student, teacher, strict=True):
        for z_s, z_t in zip(row_s, row_t, strict=True):
            q, y = probability(z_s), probability(z_t.detach())
            cross_entropy = -(y * q.log() + (1 - y) * (1 - q).log())
            total.append(importance(z_s, z_t) * cross_entropy)
    return torch.stack(total).sum() / positives


def localisation(
    boxes: Sequence[Box],
    target: Sequence[Box],
    student: Tensor,
    teacher: Tensor,
    overlap: Callable[[Box, Box], Tensor],
    positives: int,
) -> Tensor:
    """L_loc: boxes of each location under the greatest difference of a class's scores there."""
    total = []
    for ours, theirs, row_s, row_t in zip(boxes, target, student, teacher, strict=True):
        weight = max(float(importance(z_s.detach(), z_t)) for z_s, z_t in zip(row_s, row_t, strict=True))
        total.append(weight * (1 - overlap(ours, [edge.detach() for edge in theirs])))
    return torch.stack(total).sum() / positives
